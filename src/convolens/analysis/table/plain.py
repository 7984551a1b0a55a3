"""A table as plain text that fits a width."""

from dataclasses import replace
from textwrap import wrap

from convolens.analysis.table.lines import Column, Line, Lines

GAP = "  "
INDENT = "  "


def fitted(lines: Lines, width: int) -> Lines:
    """The table in at most `width` characters, as far as it goes.

    Names and types are cut in their middle, down to 14 and 10 characters. Where that is not
    enough, columns go: FLOPs, saved, field, type. What is left is never cut.

    Args:
        lines: the table.
        width: characters of a line.
    Returns: the table with cells as they are to be shown, names indented.
    """
    kept = list(range(len(lines.columns)))
    indented = [_indented(line) for line in lines.lines]
    while True:
        columns = [lines.columns[i] for i in kept]
        rows = [[cells[i] for i in kept] for cells in indented]
        widths = [
            max(len(text) for text in (column.title, *(row[i] for row in rows)))
            for i, column in enumerate(columns)
        ]
        wide = _narrowed(widths, columns, width)
        leaving = [i for i in kept if lines.columns[i].leaves]
        if wide is not None or not leaving:
            break
        kept.remove(min(leaving, key=lambda i: lines.columns[i].leaves))
    widths = wide or [min(w, c.least or w) for w, c in zip(widths, columns, strict=True)]
    cut = [
        Line(
            cells=tuple(_cut(text, w) for text, w in zip(row, widths, strict=True)),
            depth=line.depth,
            role=line.role,
        )
        for line, row in zip(lines.lines, rows, strict=True)
    ]
    return replace(lines, columns=tuple(columns), lines=tuple(cut))


def text(lines: Lines, width: int = 100) -> str:
    """The table as plain text.

    Args:
        lines: the table.
        width: characters of a line; see `fitted`.
    Returns: lines of text, without one at the end.
    """
    table = fitted(lines, width)
    widths = [
        max(len(c) for c in (column.title, *(line.cells[i] for line in table.lines)))
        for i, column in enumerate(table.columns)
    ]
    rule = "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
    body = [_joined([column.title for column in table.columns], table.columns, widths), rule]
    body += [_joined(line.cells, table.columns, widths) for line in table.lines]
    body.append(rule)
    label = max((len(name) for name, _ in table.totals), default=0)
    for name, value in table.totals:
        body += _wrapped(f"{name:<{label}}{GAP}", value, width)
    for remark in table.remarks:
        body += _wrapped("", remark, width)
    return "\n".join([*_wrapped("", table.title, width), *body])


def _indented(line: Line) -> list[str]:
    return [INDENT * line.depth + line.cells[0], *line.cells[1:]]


def _narrowed(widths: list[int], columns: list[Column], width: int) -> list[int] | None:
    """The widths with the widest column cut first; None where it cannot fit."""
    narrow = list(widths)
    while sum(narrow) + len(GAP) * (len(narrow) - 1) > width:
        open_ones = [i for i, c in enumerate(columns) if c.least and narrow[i] > c.least]
        if not open_ones:
            return None
        narrow[max(open_ones, key=lambda i: narrow[i])] -= 1
    return narrow


def _cut(text: str, width: int) -> str:
    """The text without its middle; the end, where names differ and ×3 stands, is kept longer."""
    if len(text) <= width:
        return text
    indent = len(text) - len(text.lstrip())
    head = max(min(indent + 2, width - 2), (width - 1) // 3)
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _joined(
    cells: tuple[str, ...] | list[str], columns: tuple[Column, ...], widths: list[int]
) -> str:
    parts = [
        cell.ljust(w) if column.align == "left" else cell.rjust(w)
        for cell, column, w in zip(cells, columns, widths, strict=True)
    ]
    return GAP.join(parts).rstrip()


def _wrapped(label: str, value: str, width: int) -> list[str]:
    return wrap(
        f"{label}{value}",
        max(width, len(label) + 20),
        subsequent_indent=" " * (len(label) or 2),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )
