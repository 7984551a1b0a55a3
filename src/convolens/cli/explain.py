"""`convolens explain`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convolens.cli.words import Json, RunPath
from convolens.errors import ConfigError

if TYPE_CHECKING:  # PyTorch takes seconds to import, and `--help` needs none of it
    from convolens.analysis.explanation import Explanation
    from convolens.workbench.explain_detection import DetectionExplanation


def explain(
    run: RunPath,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.")],
    layer: Annotated[
        str | None, typer.Option("--layer", help="A layer, as `summary` names it.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", metavar="C,Y,X", help="Its unit; C alone for a vector.")
    ] = None,
    detection: Annotated[
        int | None,
        typer.Option(
            "--detection", metavar="K", help="Of a detector, in their place; 0 is the surest."
        ),
    ] = None,
    depth: Annotated[
        int, typer.Option("--depth", help="2 explains the strongest terms too, and so on.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG|SVG", help="Draw it into this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the arithmetic behind one unit, or behind one detection."""
    place = () if unit is None else unit_of(unit)
    _check_asked(layer, unit, detection)
    from convolens.workbench.explain import check_drawing, draw_explanation
    from convolens.workbench.explain import explain as work
    from convolens.workbench.run import Run

    if out is not None:
        check_drawing(out)
    opened = Run.open(run)
    found: Explanation | DetectionExplanation
    if detection is not None:
        found = work(opened, image, detection=detection)
    else:
        found = work(opened, image, layer=layer or "", unit=place, depth=depth)
    if out is not None:
        draw_explanation(found, opened, image, out)
    if as_json:
        tree = {"run": str(opened.path), "image": str(image), **_tree(found)}
        print(json.dumps({**tree, "out": str(out)} if out is not None else tree))
        return
    print(_text(found))
    if out is not None:
        print(f"drawn in {out}")


def _check_asked(layer: str | None, unit: str | None, detection: int | None) -> None:
    if detection is not None:
        if layer is not None or unit is not None:
            raise ConfigError("--detection stands in the place of --layer and --unit")
        return
    for word, value in (("--layer", layer), ("--unit", unit)):
        if value is None:
            raise ConfigError(
                f"Missing option '{word}'.",
                "Give --layer and --unit, or --detection of a detector.",
            )


def _tree(found: "Explanation | DetectionExplanation") -> dict[str, Any]:
    from convolens.analysis.explanation import Explanation
    from convolens.analysis.explanation import as_json as tree_of
    from convolens.workbench.detection_words import detection_as_json

    return tree_of(found) if isinstance(found, Explanation) else detection_as_json(found)


def _text(found: "Explanation | DetectionExplanation") -> str:
    from convolens.analysis.explanation import Explanation, text_of
    from convolens.workbench.detection_words import detection_text

    return text_of(found) if isinstance(found, Explanation) else detection_text(found)


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
