"""`convolens look`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convolens.cli.words import DataRoot, Device, Json, RunPath

if TYPE_CHECKING:  # PyTorch takes seconds to import, and `--help` needs none of it
    from convolens.workbench.look import Look, RunLook, TaskLook


def look(
    run: RunPath,
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGE]", help="A picture; without one, what the network has learned."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the figures go; by default into the Run.")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            help="A layer whose maps, or patches and ascents, are drawn; may be repeated.",
        ),
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option("--channel", help="Without a picture: of these layers; may be repeated."),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="What saliency is for: a class's name or number."),
    ] = None,
    detection: Annotated[
        int | None,
        typer.Option("--detection", metavar="K", help="Of a detector; 0 is the surest."),
    ] = None,
    data_root: DataRoot = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw what a network sees in a picture; without one, what it has learned to look for."""
    from convolens.workbench.look import Look, RunLook, TaskLook
    from convolens.workbench.look import look as work

    found = work(
        run,
        image,
        out=out,
        layers=layer or (),
        channels=channel or (),
        class_name=class_name,
        detection=detection,
        data_root=data_root,
        device=device,
    )
    if as_json:
        tree = {"run": str(run), **_tree(found)}
        files = [{"file": str(s.file), "caption": s.caption} for s in found.files]
        print(json.dumps({**tree, "files": files}))
        return
    if isinstance(found, Look):
        name, probability = found.predicted
        print(f"{found.image}: {name} ({probability:.2%}); saliency is for {found.asked}.")
    if isinstance(found, TaskLook):
        about = "; ".join(found.asked) or "nothing"
        print(f"{found.image}: {found.said}; saliency is for {about}.")
    for shown in found.files:
        print(f"{shown.file}\n  {shown.caption}")
    for sentence in found.missing if isinstance(found, RunLook) else ():
        print(f"convolens: {sentence}", file=sys.stderr)


def _tree(found: "Look | TaskLook | RunLook") -> dict[str, Any]:
    from convolens.workbench.look import Look, TaskLook

    if isinstance(found, TaskLook):
        said = {"image": found.image, "task": found.task, "said": found.said}
        return {**said, "asked": found.asked}
    return _of_picture(found) if isinstance(found, Look) else _of_run(found)


def _of_picture(found: "Look") -> dict[str, Any]:
    name, probability = found.predicted
    return {
        "image": found.image,
        "predicted": {"label": name, "probability": probability},
        "class": found.asked,
        "layer": found.layer,
        "unit": found.unit,
        "rows": found.rows,
        "cols": found.cols,
        "completeness_error": found.completeness_error,
    }


def _of_run(found: "RunLook") -> dict[str, Any]:
    return {"image": None, "layers": found.layers, "missing": found.missing}
