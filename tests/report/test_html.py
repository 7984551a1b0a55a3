from html.parser import HTMLParser

import pytest

from convolens.report.html import html
from convolens.report.parts import (
    Bar,
    Code,
    Drawing,
    Facts,
    Fold,
    Heading,
    Part,
    Picture,
    Report,
    Row,
    Section,
    Table,
    Text,
    rows,
)

NASTY = "<script>alert(1)</script> & \"quotes\" 'ticks' </td> ☃"
EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source"}


class Reader(HTMLParser):
    """Holds every tag, attribute and text, and whether each tag is closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(*parts: Part) -> str:
    section = Section(title=NASTY, parts=parts)
    return html(Report(title=NASTY, lead=NASTY, sections=(section,), foot=NASTY))


PARTS: list[Part] = [
    Text(text=NASTY),
    Text(text=NASTY, tone="warning"),
    Heading(text=NASTY),
    Code(text=NASTY),
    Facts(items=((NASTY, NASTY),)),
    Table(
        about=NASTY,
        columns=((NASTY, "left"), (NASTY, "right")),
        rows=(Row(cells=(NASTY, Bar(text=NASTY, share=0.5)), depth=2, is_heading=True),),
    ),
    Picture(png=b"png", size=(4, 2), alt=NASTY, caption=NASTY, look_for=NASTY),
    Drawing(svg="<svg><title>a drawing</title></svg>", caption=NASTY),
    Fold(title=NASTY, parts=(Text(text=NASTY),)),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_every_text_of_every_part_is_escaped(part: Part) -> None:
    bare, reader = Reader(page_of()), Reader(page_of(part))
    assert reader.open == []
    assert "script" not in reader.tags
    shown = sum(text.count(NASTY) for text in reader.texts)
    shown += sum((value or "").count(NASTY) for _, value in reader.attributes)
    before = sum(text.count(NASTY) for text in bare.texts)
    expected = repr(part).count("☃") - (2 if isinstance(part, Fold) else 0)
    assert shown - before >= max(1, expected)


def test_a_page_may_ask_for_nothing() -> None:
    page = page_of(*PARTS)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_headings_go_down_one_step_at_a_time() -> None:
    reader = Reader(page_of(*PARTS))
    levels = [int(tag[1]) for tag in reader.tags if tag in {"h1", "h2", "h3"}]
    assert levels == [1, 2, 3]


def test_chapters_can_be_gone_to() -> None:
    sections = tuple(Section(title=f"part {i}", parts=()) for i in range(3))
    reader = Reader(html(Report(title="", lead="", sections=sections, foot="")))
    targets = [value for name, value in reader.attributes if name == "href" and value != "data:,"]
    anchors = [f"#{value}" for name, value in reader.attributes if name == "id"]
    assert targets == anchors
    assert len(set(anchors)) == 3


def test_a_bar_stays_within_its_cell() -> None:
    table = Table(
        about="",
        columns=(("", "right"),),
        rows=rows([[Bar(text="", share=share)] for share in (-1.0, 0.25, 7.0)]),
    )
    page = page_of(table)
    assert [page.count(f"--share:{share}") for share in ("0.0000", "0.2500", "1.0000")] == [1, 1, 1]


def test_a_table_scrolls_in_a_box_that_the_keyboard_reaches() -> None:
    page = page_of(Table(about="layers", columns=(("name", "left"),), rows=()))
    assert '<div class="box" role="region" aria-label="layers" tabindex="0">' in page
    assert ".box { overflow-x: auto;" in page
