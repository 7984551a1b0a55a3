"""A report as one HTML file that needs nothing else: no script, no request, no font."""

from base64 import b64encode
from html import escape
from typing import assert_never

from convolens.report.parts import (
    Bar,
    Cell,
    Code,
    Drawing,
    Facts,
    Fold,
    Heading,
    Part,
    Picture,
    Report,
    Section,
    Table,
    Text,
)
from convolens.report.style import STYLE

# A page that came by mail may ask for nothing and run nothing, whatever a class is called.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html(report: Report) -> str:
    """The page: every text escaped, every picture inside, light or dark as the reader's system.

    Args:
        report: what it shows.
    Returns: the whole document.
    Example:
        >>> page = html(Report(title="a<b", lead="", sections=(), foot=""))
        >>> "<h1>a&lt;b</h1>" in page, "<script" in page
        (True, False)
    """
    links = "\n".join(
        f'<li><a href="#{_anchor(number)}">{escape(section.title)}</a></li>'
        for number, section in enumerate(report.sections, 1)
    )
    body = "\n".join(_section(number, s) for number, s in enumerate(report.sections, 1))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{escape(report.title)}</h1>\n<p class="lead">{escape(report.lead)}</p>\n'
        f'<nav aria-label="Chapters">\n<ul>\n{links}\n</ul>\n</nav>\n</header>\n'
        f"<main>\n{body}\n</main>\n<footer>{escape(report.foot)}</footer>\n</body>\n</html>\n"
    )


def _anchor(number: int) -> str:
    return f"chapter-{number}"


def _section(number: int, section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    name = f"{_anchor(number)}"
    return f'<section id="{name}">\n<h2>{escape(section.title)}</h2>\n{parts}\n</section>'


def _part(part: Part) -> str:
    match part:
        case Text():
            kind = "" if part.tone == "plain" else f' class="{part.tone}"'
            return f"<p{kind}>{escape(part.text)}</p>"
        case Heading():
            return f"<h3>{escape(part.text)}</h3>"
        case Code():
            return f"<pre>{escape(part.text)}</pre>"
        case Facts():
            items = "\n".join(
                f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
                for name, value in part.items
            )
            return f"<dl>\n{items}\n</dl>"
        case Table():
            return _table(part)
        case Picture():
            return _picture(part)
        case Drawing():
            return (
                f'<figure>\n<div class="drawing" tabindex="0">{part.svg}</div>\n'
                f"<figcaption>{escape(part.caption)}</figcaption>\n</figure>"
            )
        case Fold():
            inner = "\n".join(_part(inner) for inner in part.parts)
            title = escape(part.title)
            return f"<details>\n<summary>{title}</summary>\n{inner}\n</details>"
        case _:
            assert_never(part)


def _picture(part: Picture) -> str:
    width, height = part.size
    data = b64encode(part.png).decode("ascii")
    look = f" <b>Look for</b> {escape(part.look_for)}" if part.look_for else ""
    return (
        f'<figure>\n<div class="sheet" style="--wide:{width}px" tabindex="0">'
        f'<img width="{width}" height="{height}" alt="{escape(part.alt)}" '
        f'src="data:image/png;base64,{data}"></div>\n'
        f"<figcaption>{escape(part.caption)}{look}</figcaption>\n</figure>"
    )


def _table(table: Table) -> str:
    sides = [side for _, side in table.columns]
    head = "".join(
        f'<th scope="col"{_side(side)}>{escape(title)}</th>' for title, side in table.columns
    )
    lines = []
    for row in table.rows:
        cells = "".join(_cell(cell, side) for cell, side in zip(row.cells, sides, strict=True))
        kind = ' class="fold"' if row.is_heading else ""
        indent = f' style="--in:{row.depth}rem"' if row.depth else ""
        lines.append(f"<tr{kind}{indent}>{cells}</tr>")
    body = "\n".join(lines)
    about = escape(table.about)
    return (
        f'<div class="box" role="region" aria-label="{about}" tabindex="0">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _cell(cell: Cell, side: str) -> str:
    if isinstance(cell, Bar):
        share = min(1.0, max(0.0, cell.share))
        return f'<td class="num bar" style="--share:{share:.4f}">{escape(cell.text)}</td>'
    return f"<td{_side(side)}>{escape(cell)}</td>"


def _side(side: str) -> str:
    return ' class="num"' if side == "right" else ""
