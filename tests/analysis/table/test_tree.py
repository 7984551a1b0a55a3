from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from convolens.analysis.summarize import Graph, summarize
from convolens.analysis.table.tree import Block, Leaf, Node, Repeat, folded, rows_below, tree_of

NAMES = ["resnet18", "resnet50", "densenet121", "mobilenet_v2", "vgg11", "shufflenet_v2_x1_0"]


def repeats(node: Node) -> Iterator[Repeat]:
    if isinstance(node, Repeat):
        yield node
    if not isinstance(node, Leaf):
        for child in node.nodes if isinstance(node, Repeat) else node.children:
            yield from repeats(child)


def first_names(repeat: Repeat) -> list[str]:
    return [rows_below([node])[0].name for node in repeat.nodes]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_in_the_tree_once(torchvision_graph, name: str) -> None:
    graph = torchvision_graph(name)
    tree = tree_of(graph)
    assert rows_below([tree]) == list(graph.rows)
    assert Counter(row.name for row in rows_below([folded(tree)])) == Counter(
        row.name for row in graph.rows
    )


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_fold_run_in_its_blocks_in_order(torchvision_graph, name: str) -> None:
    for repeat in repeats(folded(tree_of(torchvision_graph(name)))):
        for row in (rows_below([node]) for node in repeat.nodes if isinstance(node, Leaf)):
            ends = [one.operations[-1] for one in row if one.operations]
            assert ends == sorted(ends)
            assert len(row) % repeat.times == 0


@pytest.mark.parametrize(
    ("name", "times"),
    [("resnet18", [2]), ("resnet50", [2, 3, 5, 2]), ("densenet121", [6, 12, 24, 16])],
)
def test_blocks_of_the_papers_are_found(torchvision_graph, name: str, times: list[int]) -> None:
    assert [r.times for r in repeats(folded(tree_of(torchvision_graph(name))))] == times


def test_layers_in_a_row_fold_as_a_pattern() -> None:
    layers = [
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(3)
    ]
    flat = nn.Sequential(*[layer for group in layers for layer in group])
    (repeat,) = repeats(folded(tree_of(summarize(flat, (8, 9, 9)))))
    assert (repeat.times, first_names(repeat)) == (3, ["0", "1", "2"])


@pytest.mark.parametrize(
    "second",
    [
        nn.Conv2d(8, 8, 5, padding=2),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
    ],
)
def test_blocks_with_other_windows_are_not_alike(second: nn.Module) -> None:
    first = nn.Conv2d(8, 8, 3, padding=1)
    net = nn.Sequential(*[nn.Sequential(conv, nn.ReLU(), nn.ReLU()) for conv in (first, second)])
    assert not list(repeats(folded(tree_of(summarize(net, (8, 9, 9))))))


def test_a_module_that_is_called_twice_stands_there_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block(self.block(x))

    graph: Graph = summarize(Twice(), (4, 8, 8))
    tree = tree_of(graph)
    assert [node.paths for node in tree.children if isinstance(node, Block)] == [("block",)] * 2
    assert [row.params for row in rows_below([tree]) if row.kind == "Conv2d"] == [148, 0]
