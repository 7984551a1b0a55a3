"""A table on the terminal: in colour where it is one, plain text otherwise."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # both are imported where they are needed: `--help` must not wait for them
    from rich.console import Console

    from convolens.analysis.table.lines import Lines

PLAIN_WIDTH = 100


def show(lines: "Lines") -> None:
    """Prints a table in the terminal's width."""
    if not sys.stdout.isatty():
        from convolens.analysis.table.plain import text

        print(text(lines, PLAIN_WIDTH))
        return
    from rich.console import Console

    _show_in_colour(lines, Console(highlight=False))


def _show_in_colour(lines: "Lines", console: "Console") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from convolens.analysis.table.plain import fitted

    table = fitted(lines, console.width)
    drawn = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for column in table.columns:
        drawn.add_column(Text(column.title), justify=column.align, no_wrap=True)
    for line in table.lines:
        style = "bold" if line.role == "fold" else None
        drawn.add_row(*[Text(cell) for cell in line.cells], style=style)
    console.print(Text(table.title, style="bold"))
    console.print(drawn)
    label = max((len(name) for name, _ in table.totals), default=0)
    for name, value in table.totals:
        console.print(Text.assemble((f"{name:<{label}}  ", "dim"), value))
    for remark in table.remarks:
        is_warning = remark.startswith("warning")
        console.print(Text(remark, style="yellow" if is_warning else "dim"))
