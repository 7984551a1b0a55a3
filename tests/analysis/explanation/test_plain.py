"""Explanations as text."""

import re

import torch
from torch import nn

from convolens.analysis.explanation import explain_unit, text_of


def lines_of(net: nn.Module, x: torch.Tensor, layer: str, *unit: int, depth: int = 1) -> list[str]:
    return text_of(explain_unit(net, x, layer, unit, depth=depth)).splitlines()


def test_patch_kernel_and_products_stand_side_by_side() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 2, padding=1), nn.ReLU())
    net[0].weight.data = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    net[0].bias.data = torch.tensor([-5.0])
    x = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]])
    lines = lines_of(net, x, "0", 0, 0, 1)
    assert lines[0] == "0, unit (0, 0, 1): convolution 2×2"
    assert lines[1] == "  depends on rows 0 to 0 and columns 0 to 1 of the image"
    assert lines[2] == "  channel 0 of input, products sum to 110"
    cells = [re.split(r"\s*\|\s*|\s+", line.strip()) for line in lines[4:6]]
    assert cells[0] == ["[0]", "[0]", "1", "2", "0", "0"]
    assert cells[1] == ["10", "20", "3", "4", "30", "80"]
    assert lines[6:] == [
        "sum                110",
        "bias               + -5 = 105",
        "computed           105 in float64",
        "network            105, which differs by 0",
        "then 1: max(0, 105) = 105",
    ]


def test_of_many_channels_the_strongest_are_shown_and_the_rest_summed() -> None:
    net = nn.Sequential(nn.Conv2d(5, 1, 1, bias=False))
    net[0].weight.data = torch.tensor([1.0, -4.0, 2.0, 0.5, -0.25]).view(1, 5, 1, 1)
    lines = lines_of(net, torch.ones(1, 5, 2, 2), "0", 0, 0, 0)
    shown = [line.strip() for line in lines if "channel" in line]
    assert shown == [
        "channel 1 of input, products sum to -4",
        "channel 2 of input, products sum to 2",
        "channel 0 of input, products sum to 1",
        "the other 2 channels: 0.25",
    ]


def test_a_vector_is_a_list_of_its_strongest_terms() -> None:
    net = nn.Sequential(nn.Linear(10, 1, bias=False), nn.Linear(1, 1, bias=False))
    net[0].weight.data = torch.arange(10.0).view(1, 10)
    lines = lines_of(net, torch.ones(1, 10), "0", 0)
    assert lines[1] == "  depends on rows 0 to 0 and columns 0 to 9 of the image"
    assert lines[2] == "  1 × 9 = 9   input (9)"
    assert lines[10] == "  the other 2 terms: 1"


def test_no_cell_runs_into_the_next() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 1, 5))
    net[0].weight.data *= 10.0 ** torch.randint(-9, 9, (1, 1, 5, 5))
    lines = lines_of(net, torch.randn(1, 1, 5, 5), "0", 0, 0, 0)
    rows = [line for line in lines if line.count("|") == 2][1:]
    assert len(rows) == 5
    assert all(len(block.split()) == 5 for row in rows for block in row.split("|"))


def test_what_is_unfolded_is_indented_and_what_has_no_rule_says_so() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2))
    lines = lines_of(net, torch.ones(1, 1, 2, 2), "1", 0, 0, 0, depth=2)
    assert "  1. of its strongest terms:" in lines
    assert "    0, unit (0, 0, 0): convolution 1×1" in lines
    lines = lines_of(nn.Sequential(nn.Softshrink()), torch.ones(1, 2), "0", 1)
    assert "  there is no explanation for aten.softshrink; its inputs:" in lines
    assert "    input (2): 1 here, 1 to 1" in lines
