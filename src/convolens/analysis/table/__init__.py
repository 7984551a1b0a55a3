"""What a person reads of a Graph: tables, documents and the arithmetic behind each number."""

from convolens.analysis.table.as_json import as_json
from convolens.analysis.table.compare import compare_totals
from convolens.analysis.table.how import How, how, how_text
from convolens.analysis.table.html import html
from convolens.analysis.table.lines import Column, Line, Lines, lines_of
from convolens.analysis.table.markdown import markdown, markdown_of
from convolens.analysis.table.plain import fitted, text
from convolens.analysis.table.window import Step

__all__ = [
    "Column",
    "How",
    "Line",
    "Lines",
    "Step",
    "as_json",
    "compare_totals",
    "fitted",
    "how",
    "how_text",
    "html",
    "lines_of",
    "markdown",
    "markdown_of",
    "text",
]
