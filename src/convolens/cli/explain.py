"""`convolens explain`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from convolens.cli.words import Json, RunPath
from convolens.errors import ConfigError


def explain(
    run: RunPath,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.")],
    layer: Annotated[str, typer.Option("--layer", help="A layer, as `summary` names it.")],
    unit: Annotated[
        str, typer.Option("--unit", metavar="C,Y,X", help="Its unit; C alone for a vector.")
    ],
    depth: Annotated[
        int, typer.Option("--depth", help="2 explains the strongest terms too, and so on.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG|SVG", help="Draw it into this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the arithmetic behind one unit: patch, kernel, products, sum and what follows."""
    place = unit_of(unit)
    from convolens.analysis.explanation import as_json as tree_of
    from convolens.analysis.explanation import text_of
    from convolens.workbench.explain import check_drawing, draw_explanation
    from convolens.workbench.explain import explain as work
    from convolens.workbench.run import Run

    if out is not None:
        check_drawing(out)
    opened = Run.open(run)
    found = work(opened, image, layer=layer, unit=place, depth=depth)
    if out is not None:
        draw_explanation(found, opened, image, out)
    if as_json:
        tree = {"run": str(opened.path), "image": str(image), **tree_of(found)}
        print(json.dumps({**tree, "out": str(out)} if out is not None else tree))
        return
    print(text_of(found))
    if out is not None:
        print(f"drawn in {out}")


def unit_of(word: str) -> tuple[int, ...]:
    """The numbers of "C,Y,X".

    Example:
        >>> unit_of("0, 10,12")
        (0, 10, 12)
    """
    try:
        return tuple(int(part) for part in word.split(","))
    except ValueError:
        raise ConfigError(
            f"--unit must be C,Y,X in whole numbers, received {word!r}",
            "For example: --unit 0,10,12",
        ) from None
