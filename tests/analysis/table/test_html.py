import re
from html.parser import HTMLParser

import pytest
from torch import nn

from convolens.analysis.summarize import Graph, summarize
from convolens.analysis.table import html

ALONE = {"meta", "br"}


class Tags(HTMLParser):
    """Fails where a tag is closed that is not the one last opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(document: str) -> Tags:
    tags = Tags()
    tags.feed(document)
    tags.close()
    assert tags.open == []
    return tags


def test_the_document(golden, small_graph: Graph) -> None:
    golden("small.html", html(small_graph, drawing="<svg></svg>"))


@pytest.mark.parametrize("name", ["alexnet", "resnet50"])
def test_it_is_well_formed_and_alone(torchvision_graph, name: str) -> None:
    document = html(torchvision_graph(name))
    tags = read(document)
    assert "script" not in tags.seen
    assert not re.search(r"https?://|src=|@import|url\(", document)
    assert tags.seen.count("details") == (1 if name == "alexnet" else 2)


def test_names_cannot_become_tags() -> None:
    net = nn.Sequential()
    net.add_module('<script>"&', nn.ReLU())
    document = html(summarize(net, (3, 4, 4), name="</style><b>"))
    tags = read(document)
    assert not {"script", "b"} & set(tags.seen)
    assert '<script>"&' in tags.words


def test_cells_say_what_they_are_on_a_narrow_screen(small_graph: Graph) -> None:
    document = html(small_graph)
    assert '<td data-label="params" class="num">1,216</td>' in document
