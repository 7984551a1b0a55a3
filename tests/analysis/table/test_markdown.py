from torch import nn

from convolens.analysis.summarize import Graph, summarize
from convolens.analysis.table import markdown


def test_the_document(golden, small_graph: Graph) -> None:
    golden("small.md", markdown(small_graph))


def test_every_row_of_a_table_has_as_many_cells_as_its_heading(torchvision_graph) -> None:
    for block in markdown(torchvision_graph("densenet121")).split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") - line.count("\\|") for line in lines}) == 1


def test_names_cannot_become_markup() -> None:
    net = nn.Sequential()
    net.add_module("a|b_<img src=x>*`", nn.ReLU())
    text = markdown(summarize(net, (3, 4, 4), name="[x](javascript:1)"))
    assert "a\\|b\\_&lt;img src=x&gt;\\*\\`" in text
    assert "## \\[x\\](javascript:1)" in text
