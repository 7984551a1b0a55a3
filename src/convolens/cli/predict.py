"""`convolens predict`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from convolens.cli.words import Device, Json, RunPath, Tta


def predict(
    run: RunPath,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures.")],
    top: Annotated[int, typer.Option("--top", help="Labels for each picture.")] = 5,
    tta: Tta = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say what pictures show, with probabilities."""
    from convolens.workbench.run import Run

    opened = Run.open(run)
    predictions = opened.predict(*images, top=top, device=device, tta=tta)
    if as_json:
        found = [
            {
                "image": p.image,
                "inverted": p.inverted,
                "labels": [{"label": name, "probability": value} for name, value in p.labels],
            }
            for p in predictions
        ]
        print(json.dumps({"run": str(opened.path), "predictions": found}))
        return
    for prediction in predictions:
        note = "  (light and dark swapped, as the network was trained)"
        print(prediction.image + note * prediction.inverted)
        width = max(len(name) for name, _ in prediction.labels)
        for name, value in prediction.labels:
            print(f"  {name:<{width}}  {value:7.2%}")
