"""The table of layers as Markdown."""

import re
from html import escape

from convolens.analysis.summarize import Graph
from convolens.analysis.table.lines import Lines, lines_of

# What Markdown would read as more than a character, in a cell of a table.
SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")
INDENT = "&nbsp;&nbsp;"


def markdown(graph: Graph, fold: bool = True) -> str:
    """The heading, the table of layers, the totals and the remarks as GitHub's Markdown.

    Args:
        graph: what `summarize` gave.
        fold: whether blocks that are alike are shown once.
    Returns: the text, with a newline at its end.
    """
    return markdown_of(lines_of(graph, fold))


def markdown_of(lines: Lines) -> str:
    """Any table as Markdown.

    Args:
        lines: the table.
    Returns: the text, with a newline at its end.
    """
    head = [_escaped(column.title) or " " for column in lines.columns]
    marks = ["---:" if column.align == "right" else "---" for column in lines.columns]
    parts = [f"## {_escaped(lines.title)}", ""]
    parts += [_row(head), _row(marks)]
    for line in lines.lines:
        first, *rest = [_escaped(cell) for cell in line.cells]
        cells = [INDENT * line.depth + first, *rest]
        parts.append(_row([f"**{c}**" if line.role == "fold" and c else c for c in cells]))
    if lines.totals:
        parts += ["", "| | |", "|---|---|"]
        parts += [_row([_escaped(name), _escaped(value)]) for name, value in lines.totals]
    if lines.remarks:
        parts += ["", *(f"- {_escaped(remark)}" for remark in lines.remarks)]
    return "\n".join(parts) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return SPECIAL.sub(r"\\\1", escape(text, quote=False)).replace("\n", " ")
