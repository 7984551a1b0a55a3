"""`convolens summary`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from convolens.cli.sizes import Batch, Input, Model, Optimizer, sizes_of
from convolens.cli.table import show
from convolens.cli.words import Json
from convolens.errors import ConfigError, UnavailableError

if TYPE_CHECKING:  # PyTorch takes seconds to import, and `--help` needs none of it
    from convolens.analysis.summarize import Graph


def summary(
    model: Model,
    layer: Annotated[
        str | None, typer.Argument(metavar="LAYER", help="With --how: this layer alone.")
    ] = None,
    sizes: Input = None,
    batch: Batch = 1,
    optimizer: Optimizer = "sgd",
    how: Annotated[
        bool, typer.Option("--how", help="Show how each number comes about, of all or of LAYER.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Do not fold repeated blocks.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw the network's volumes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every number of a network before it runs."""
    if layer is not None and not how:
        raise ConfigError(f"{layer} is one word too many", "A layer is named with --how.")
    if as_json + as_markdown + how > 1:
        raise ConfigError("--json, --markdown and --how exclude one another")
    size = sizes_of(sizes)
    from convolens.workbench.summary import summarize

    graph = summarize(model, size, batch=batch, optimizer=cast("Any", optimizer))
    drawing = _drawing(graph) if html is not None or svg is not None else ""
    if svg is not None:
        _write(svg, drawing)
    if html is not None:
        from convolens.analysis.table.html import html as page_of

        _write(html, page_of(graph, drawing=drawing))
    if as_json:
        from convolens.analysis.table.as_json import as_json as tree_of

        print(json.dumps(tree_of(graph)))
    elif as_markdown:
        from convolens.analysis.table.markdown import markdown

        print(markdown(graph, not every), end="")
    elif how:
        from convolens.analysis.table.how import how as explained
        from convolens.analysis.table.how import how_text

        print(how_text(explained(graph, layer)))
    elif html is None and svg is None:
        from convolens.analysis.table.lines import lines_of

        show(lines_of(graph, not every))


def _drawing(graph: "Graph") -> str:
    from convolens.visual.network import draw_network
    from convolens.visual.volumes import volumes_of

    return draw_network(volumes_of(graph), title=graph.model)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{file} cannot be written: {error.strerror}") from error
    typer.echo(f"written: {file}", err=True)
