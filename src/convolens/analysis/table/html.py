"""The table of layers as one HTML file that needs nothing else."""

from html import escape

from convolens.analysis.summarize import Graph
from convolens.analysis.table.how import how, how_text
from convolens.analysis.table.lines import Column, Line, Lines, lines_of

STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd; --paper: #fff;
  --fold: #f3f5f8; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --soft: #a0a0a0; --line: #3a3d42; --paper: #17191c; --fold: #21252b;
    --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.about { color: var(--soft); margin: 0 0 1.2rem; }
.drawing { overflow-x: auto; margin: 1rem 0; }
.drawing svg { display: block; max-width: none; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr));
  gap: .6rem 1.2rem; margin: 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; position: sticky; top: 0;
  background: var(--paper); }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:first-child { white-space: normal; overflow-wrap: anywhere;
  padding-left: calc(.6rem + var(--in, 0rem)); }
.num { text-align: right; }
.fold td { background: var(--fold); font-weight: 600; }
.inner td:first-child { border-left: 3px solid var(--accent); }
summary { cursor: pointer; margin: 1.5rem 0 .5rem; color: var(--accent); }
pre { overflow-x: auto; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; }
.warning { color: #d55e00; }
@media (max-width: 720px) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody { display: block; }
  tr { display: flex; flex-wrap: wrap; gap: 0 .9rem; padding: .45rem .3rem;
    border-bottom: 1px solid var(--line); padding-left: calc(.3rem + var(--in, 0rem)); }
  td { border: 0; padding: 0; }
  td:first-child { flex: 1 0 100%; font-weight: 600; padding: 0; }
  td.none { display: none; }
  td[data-label]:not(:nth-child(2))::before { content: attr(data-label) " "; color: var(--soft);
    font-weight: 400; font-size: .8rem; }
  .fold { background: var(--fold); } .inner { border-left: 3px solid var(--accent); }
  .inner td:first-child { border-left: 0; font-weight: 500; }
}
"""


def html(graph: Graph, *, drawing: str = "") -> str:
    """A page with the drawing, the totals, the table and the arithmetic behind each number.

    It reads well on a phone, follows the system's light or dark colours and has no script.

    Args:
        graph: what `summarize` gave.
        drawing: an SVG to stand above the table; nothing by default.
    Returns: the whole document.
    """
    folded, whole = lines_of(graph), lines_of(graph, fold=False)
    is_folded = len(folded.lines) < len(whole.lines)
    name, _, about = folded.title.rpartition(": ")
    every = (
        f"<details>\n<summary>All {len(whole.lines)} layers, one by one</summary>\n"
        f"{_table(whole)}\n</details>\n"
        if is_folded
        else ""
    )
    figure = f'<div class="drawing">{drawing}</div>\n' if drawing else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(name)}</h1>\n<p class="about">{escape(about)}</p>\n'
        f"{figure}<dl>\n{_totals(folded)}\n</dl>\n"
        f"<h2>Layers</h2>\n{_table(folded)}\n{_remarks(folded)}{every}"
        "<details>\n<summary>How each number comes about</summary>\n"
        f"<pre>{escape(how_text(how(graph)))}</pre>\n</details>\n</body>\n</html>\n"
    )


def _totals(lines: Lines) -> str:
    return "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in lines.totals
    )


def _remarks(lines: Lines) -> str:
    kinds = ["warning" if remark.startswith("warning") else "about" for remark in lines.remarks]
    return "".join(
        f'<p class="{kind}">{escape(remark)}</p>\n'
        for kind, remark in zip(kinds, lines.remarks, strict=True)
    )


def _table(lines: Lines) -> str:
    head = "".join(f"<th{_number(c)}>{escape(c.title)}</th>" for c in lines.columns)
    body = "\n".join(_row(line, lines.columns) for line in lines.lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _row(line: Line, columns: tuple[Column, ...]) -> str:
    cells = []
    for index, (cell, column) in enumerate(zip(line.cells, columns, strict=True)):
        label = f' data-label="{escape(column.title)}"' if index else ""
        names = " ".join(
            word
            for word, holds in (("num", column.align == "right"), ("none", cell in ("", "–")))
            if holds
        )
        kind = f' class="{names}"' if names else ""
        cells.append(f"<td{label}{kind}>{escape(cell)}</td>")
    kind = " ".join(
        w for w, holds in (("fold", line.role == "fold"), ("inner", line.depth)) if holds
    )
    indent = f' style="--in:{line.depth}rem"' if line.depth else ""
    return f"<tr{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}{indent}>{''.join(cells)}</tr>"


def _number(column: Column) -> str:
    return ' class="num"' if column.align == "right" else ""
