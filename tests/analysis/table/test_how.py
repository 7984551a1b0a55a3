import math
import re
from fractions import Fraction

import pytest
import torch
from torch import nn

from convolens.analysis.summarize import Graph, summarize
from convolens.analysis.table import How, how, how_text
from convolens.errors import ConfigError

SIGNS = {"·": "*", "−": "-", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")"}
NAMES = {"F": Fraction, "floor": math.floor, "ceil": math.ceil, "max": max}


def worth(expression: str) -> Fraction:
    """What a person gets who computes the expression."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", expression)
    assert re.fullmatch(r"[\d\s+/()max,·−⌊⌋⌈⌉]+", plain), expression
    for sign, code in SIGNS.items():
        plain = plain.replace(sign, code)
    return Fraction(eval(re.sub(r"\d+", r"F(\g<0>)", plain), {"__builtins__": {}}, NAMES))


def check(graph: Graph) -> int:
    """Every expression comes to its number, and the numbers are the table's; how many there are."""
    checked = 0
    for one in how(graph):
        row = graph.by_name[one.name]
        for step in one.steps:
            if step.arithmetic:
                checked += 1
                assert worth(step.arithmetic) == worth(step.value), f"{one.name}: {step}"
        numbers = {step.what: step.value for step in one.steps}
        assert numbers.get("params", "0") == f"{row.params:,}"
        assert numbers.get("MACs", "0") == f"{row.macs:,}"
        assert numbers.get("FLOPs", "0") == f"{row.flops:,}"
        saved = [value for what, value in numbers.items() if what.startswith("saved")]
        assert (saved or ["0"]) == [f"{row.saved_bytes:,}"]
    return checked


def steps(explained: How) -> dict[str, str]:
    return {step.what: f"{step.arithmetic} = {step.value}" for step in explained.steps}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "name",
    ["alexnet", "resnet18", "googlenet", "densenet121", "mobilenet_v3_small", "shufflenet_v2_x1_0"],
)
def test_every_expression_comes_to_its_number(torchvision_graph, name: str, batch: int) -> None:
    graph = torchvision_graph(name, batch)
    assert check(graph) > 2 * len(graph.rows)


def test_attention_too(torchvision_graph) -> None:
    assert check(torchvision_graph("vit_b_16")) > 250


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(6, 4, 3, stride=2, padding=1, dilation=2, groups=2), (6, 17, 20)),
        (nn.Conv2d(6, 6, (1, 7), padding=(0, 3), groups=6, bias=False), (6, 9, 9)),
        (nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1, output_padding=1, groups=2), (6, 5, 7)),
        (nn.ConvTranspose2d(3, 4, 3, dilation=2), (3, 5, 5)),
        (nn.Conv1d(3, 8, 5, stride=3), (3, 31)),
        (nn.Conv3d(2, 4, 3, padding=1), (2, 5, 6, 7)),
        (nn.MaxPool2d(3, 2, ceil_mode=True), (4, 12, 13)),
        (nn.MaxPool2d(2, 3, padding=1, ceil_mode=True), (4, 6, 6)),
        (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), (4, 11, 12)),
        (nn.MaxPool1d(3), (4, 12)),
        (nn.AvgPool3d(2), (4, 4, 6, 8)),
        (nn.AdaptiveAvgPool2d(3), (4, 7, 9)),
        (nn.GroupNorm(2, 4), (4, 5, 5)),
        (nn.LayerNorm(5), (4, 5)),
        (nn.Linear(5, 3), (4, 5)),
        (nn.LSTM(5, 3, batch_first=True), (7, 5)),
        (nn.PReLU(4), (4, 5, 5)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (4, 5, 5)),
    ],
    ids=str,
)
def test_all_kinds_of_layers(layer: nn.Module, size: tuple[int, ...]) -> None:
    check(summarize(nn.Sequential(layer), size, batch=3))


def test_the_first_layer_of_alexnet_as_on_a_blackboard() -> None:
    graph = summarize(nn.Sequential(nn.Conv2d(3, 96, 11, stride=4)), (3, 227, 227))
    assert steps(how(graph, "0")[0]) == {
        "height and width": "(227 + 2·0 − 11)/4 + 1 = 55",
        "params": "11·11·3·96 + 96 = 34,944",
        "MACs": "11·11·3·96·55·55 = 105,415,200",
        "FLOPs": "2·105,415,200 + 96·55·55 = 211,120,800",
        "saved bytes, its input": "3·227·227·4 = 618,348",
        "field": "1 + (11 − 1)·1 = 11",
        "field's stride": "1·4 = 4",
        "field's start": "0 − 0·1 = 0",
    }


def test_a_rest_is_rounded_and_groups_divide_the_channels() -> None:
    net = nn.Sequential(nn.Conv2d(3, 96, 11, 4, 2), nn.Conv2d(96, 256, 5, padding=2, groups=2))
    first, second = how(summarize(net, (3, 224, 224)))
    assert steps(first)["height and width"] == "⌊(224 + 2·2 − 11)/4⌋ + 1 = 55"
    assert steps(second)["params"] == "5·5·(96/2)·256 + 256 = 307,456"
    assert steps(second)["field"] == "11 + (5 − 1)·4 = 27"


def test_ceil_mode_leaves_out_a_window_that_begins_in_the_padding() -> None:
    net = nn.Sequential(nn.MaxPool2d(2, 3, padding=1, ceil_mode=True))
    (one,) = how(summarize(net, (4, 6, 6)))
    assert steps(one)["height and width"] == "(6 + 2·1 − 2)/3 + 1 = 3"
    net = nn.Sequential(nn.MaxPool2d(2, 3, padding=1, ceil_mode=True))
    (one,) = how(summarize(net, (4, 5, 5)))
    assert steps(one)["height and width"] == "⌈(5 + 2·1 − 2)/3⌉ + 1 − 1 = 2"


def test_a_branch_with_the_larger_field_decides() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.five = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 5, padding=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.one(x), self.five(x)], 1)

    assert steps(how(summarize(Branches(), (1, 8, 8)), "cat")[0])["field"] == "max(1, 5) = 5"


def test_shared_parameters_count_where_they_are_first_used() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    first, second = how(summarize(nn.Sequential(conv, nn.Sequential(conv)), (4, 8, 8)))
    assert "params" in steps(first)
    assert "params" not in steps(second)


def test_equal_terms_stand_there_once() -> None:
    (one,) = how(summarize(nn.Sequential(nn.RNN(8, 4, batch_first=True)), (7, 8)))
    assert steps(one)["MACs"] == "7·4·4 + 7·8·4 = 336"
    assert steps(one)["FLOPs"].startswith("7·(2·16 + 4) + ")


def test_a_module_stands_for_its_rows_and_a_wrong_name_is_explained(torchvision_graph) -> None:
    graph = torchvision_graph("resnet18")
    assert [one.name for one in how(graph, "layer1.0")][:2] == ["layer1.0.conv1", "layer1.0.bn1"]
    with pytest.raises(
        ConfigError, match=r"resnet18 has no layer named 'con1'\nDid you mean conv1"
    ):
        how(graph, "con1")


def test_the_text(golden, small_graph: Graph) -> None:
    golden("small_how.txt", how_text(how(small_graph)) + "\n")
