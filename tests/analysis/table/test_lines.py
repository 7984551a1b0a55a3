import re

import pytest
from torch import nn

from convolens.analysis.field import Textbook
from convolens.analysis.summarize import Graph, summarize
from convolens.analysis.table import fitted, lines_of, text
from convolens.analysis.table.lines import field_text


def cells(graph: Graph, name: str, **options: bool) -> tuple[str, ...]:
    lines = lines_of(graph, **options).lines
    return next(line.cells for line in lines if line.cells[0] == name)


def test_the_first_layer_of_alexnet() -> None:
    graph = summarize(nn.Sequential(nn.Conv2d(3, 96, 11, stride=4)), (3, 227, 227))
    assert cells(graph, "0") == (
        *("0", "Conv2d", "96×55×55", "34,944", "105.4 M", "211.1 M", "604 KiB", "11 /4"),
    )


def test_a_fold_adds_up_and_its_lines_are_of_each(small_graph: Graph) -> None:
    lines = lines_of(small_graph).lines
    at = next(i for i, line in enumerate(lines) if line.role == "fold")
    heading, below = lines[at], lines[at + 1 : at + 5]
    assert heading.cells[:2] == ("blocks.0–2", "Residual ×3")
    assert heading.cells[3] == f"{3 * (16 * 16 * 9 + 32):,}"
    assert [line.cells[0] for line in below] == ["conv", "norm", "add", "relu"]
    assert below[0].cells[3] == "2,304"
    assert below[0].cells[7] == "9…17 /2"  # 5 + 2·2 after the first block, 5 + 6·2 after the third
    assert heading.cells[7] == "17 /2"


def test_without_folding_every_row_has_its_line(small_graph: Graph) -> None:
    lines = lines_of(small_graph, fold=False).lines
    assert [line.cells[0] for line in lines] == [row.name for row in small_graph.rows]
    assert {line.depth for line in lines} == {0}


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "mobilenet_v2", "vit_b_16"])
def test_what_stands_at_the_left_adds_up_to_the_whole(torchvision_graph, name: str) -> None:
    graph = torchvision_graph(name)
    lines = [line for line in lines_of(graph).lines if line.depth == 0]
    exact = [line.cells[3].replace(",", "") for line in lines if "," in line.cells[3]]
    rough = [float(line.cells[3][:-2]) * 1e6 for line in lines if line.cells[3].endswith(" M")]
    small = [line.cells[3] for line in lines if line.cells[3].isdigit()]
    total = sum(map(int, (*exact, *small))) + sum(rough)
    assert total == pytest.approx(graph.totals.params, rel=5e-4)


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 160])
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "googlenet"])
def test_the_table_fits(torchvision_graph, name: str, width: int) -> None:
    lines = lines_of(torchvision_graph(name))
    shown = text(lines, width).splitlines()
    assert max(map(len, shown)) <= width
    kept = [column.title for column in fitted(lines, width).columns]
    assert {"layer", "output", "params", "MACs"} <= set(kept)
    # Columns go in the stated order: one that is gone takes all before it along.
    order = ["FLOPs", "saved", "field", "type"]
    gone = [title not in kept for title in order]
    assert gone == sorted(gone, reverse=True)


def test_wide_enough_a_table_is_not_cut(small_graph: Graph) -> None:
    lines = lines_of(small_graph)
    assert len(fitted(lines, 200).columns) == 8
    assert "…" not in "".join(line.cells[0] + line.cells[1] for line in fitted(lines, 200).lines)


def test_the_whole_text(golden, small_graph: Graph) -> None:
    golden("small.txt", text(lines_of(small_graph), 100) + "\n")
    golden("small_narrow.txt", text(lines_of(small_graph), 60) + "\n")


def test_bars_show_a_layers_part_of_the_macs() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1), nn.ReLU())
    bars = [line.cells[-1] for line in lines_of(summarize(net, (1, 8, 8)), bars=True).lines]
    assert bars == ["█████", "██████████", ""]


def test_unread_pixels_unused_parameters_and_unknown_operations_are_said() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, stride=2)
            self.spare = nn.Linear(3, 3)

        def forward(self, x):
            return self.conv(x).logcumsumexp(1)

    remarks = lines_of(summarize(Odd(), (1, 8, 8))).remarks
    assert "warning: the FLOPs of aten.logcumsumexp are not counted" in remarks
    assert "warning: the pass does not read spare.weight, spare.bias" in remarks
    assert (
        "warning: no window of conv reads 1 row and 1 column of its 8×8: 15 pixels of each channel"
    ) in remarks


def test_a_network_of_one_layer_has_a_name() -> None:
    assert lines_of(summarize(nn.Linear(3, 2), (3,))).lines[0].cells[:2] == ("(network)", "Linear")


def test_fields_without_a_textbook_form_have_none() -> None:
    one = Textbook((3, 5), (1, 2), (0, -1))
    assert field_text([one]) == "3×5 /1×2"
    assert field_text([one, None]) == "–"
    assert field_text([]) == "–"


def test_every_line_has_a_cell_for_every_column(torchvision_graph) -> None:
    lines = lines_of(torchvision_graph("densenet121"), bars=True)
    assert {len(line.cells) for line in lines.lines} == {len(lines.columns)}
    assert not any(re.search(r"\s{2}", cell) for line in lines.lines for cell in line.cells)
