"""`convolens look`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from convolens.cli.words import Device, Json, RunPath


def look(
    run: RunPath,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the figures go; by default into the Run.")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", help="A layer whose feature maps are drawn; may be repeated."),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="What saliency is for: a class's name or number."),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw what a network sees in a picture: filters, feature maps, saliency, receptive field."""
    from convolens.workbench.look import look as work

    found = work(run, image, out=out, layers=layer or (), class_name=class_name, device=device)
    name, probability = found.predicted
    if as_json:
        tree = {
            "run": str(run),
            "image": found.image,
            "predicted": {"label": name, "probability": probability},
            "class": found.asked,
            "layer": found.layer,
            "unit": found.unit,
            "rows": found.rows,
            "cols": found.cols,
            "completeness_error": found.completeness_error,
            "files": [{"file": str(s.file), "caption": s.caption} for s in found.files],
        }
        print(json.dumps(tree))
        return
    print(f"{found.image}: {name} ({probability:.2%}); saliency is for {found.asked}.")
    for shown in found.files:
        print(f"{shown.file}\n  {shown.caption}")
