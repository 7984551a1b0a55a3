"""What a report is made of, before anything is written as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["plain", "soft", "warning"]
Side = Literal["left", "right"]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph.

    Args:
        tone: "soft" is smaller and paler, "warning" is for what a person must not overlook.
    """

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Numbers with their names, side by side."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text to be copied as it stands."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A number with a bar behind it.

    Args:
        share: of the cell's width, from 0 to 1.
    """

    text: str
    share: float


Cell = str | Bar


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table.

    Args:
        depth: how far the first cell is indented.
        is_heading: whether the row stands for those below it.
    """

    cells: tuple[Cell, ...]
    depth: int = 0
    is_heading: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns.

    Args:
        about: what the table is of, for people who cannot see it.
        columns: title and side of each.
    """

    about: str
    columns: tuple[tuple[str, Side], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that stands inside the page.

    Args:
        png: the file's bytes.
        size: width and height on the page [px].
        alt: what it shows, for people who cannot see it.
        caption: what it says.
        look_for: what a reader should look for; empty where the caption says so already.
    """

    png: bytes = field(repr=False)
    size: tuple[int, int]
    alt: str
    caption: str
    look_for: str = ""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG of our own making, which is put into the page as it is."""

    svg: str = field(repr=False)
    caption: str


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The title of what follows within a section."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Parts that are shown when a reader asks for them."""

    title: str
    parts: "tuple[Part, ...]"


Part = Text | Facts | Code | Table | Picture | Drawing | Heading | Fold


@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of the report."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report.

    Args:
        title: what it is of.
        lead: what came out, in one or two sentences.
        foot: who wrote it.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    foot: str


def rows(cells: Sequence[Sequence[Cell]]) -> tuple[Row, ...]:
    """Plain rows of a table."""
    return tuple(Row(cells=tuple(row)) for row in cells)
