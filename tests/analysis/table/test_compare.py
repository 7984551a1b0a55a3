import pytest
from torch import nn

from convolens.analysis.summarize import Graph, summarize
from convolens.analysis.table import Lines, compare_totals, text
from convolens.errors import ConfigError


def stack(*kernels: int) -> Graph:
    layers = [nn.Conv2d(64, 64, k, padding=k // 2, bias=False) for k in kernels]
    return summarize(nn.Sequential(*layers), (64, 56, 56), name="-".join(map(str, kernels)))


def cells(lines: Lines, label: str) -> tuple[str, ...]:
    return next(line.cells[1:] for line in lines.lines if line.cells[0] == label)


def test_three_layers_of_3_against_one_of_7() -> None:
    lines = compare_totals([stack(7), stack(3, 3, 3)])
    assert cells(lines, "params") == ("200,704", "110,592 (×0.55)")  # 49·C² and 27·C²
    assert cells(lines, "MACs") == ("629.4 M", "346.8 M (×0.55)")
    assert cells(lines, "receptive field") == ("7 /1", "7 /1")
    assert lines.remarks == (
        "layers of 7 → 3-3-3:",
        "  Conv2d 64×56×56: 1 → 3, params 200,704 → 110,592",
    )


def test_the_same_network_has_nothing_that_differs() -> None:
    lines = compare_totals([stack(3), stack(3)])
    assert lines.remarks == ("3 and 3 have the same layers",)
    assert cells(lines, "FLOPs")[0] == cells(lines, "FLOPs")[1]


def test_one_network_is_not_enough() -> None:
    with pytest.raises(ConfigError, match="two networks or more, received 1"):
        compare_totals([stack(3)])


def test_the_text(golden, torchvision_graph) -> None:
    graphs = [torchvision_graph(name) for name in ("resnet18", "resnet50", "densenet121")]
    shown = text(compare_totals(graphs), 100)
    assert max(map(len, shown.splitlines())) <= 100
    golden("compare.txt", shown + "\n")
