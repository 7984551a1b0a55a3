"""`convolens predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convolens.cli.words import Device, Json, RunPath, Tta

if TYPE_CHECKING:  # PyTorch takes seconds to import, and `--help` needs none of it
    from convolens.workbench.predict import Prediction
    from convolens.workbench.predict_boxes import BoxPrediction
    from convolens.workbench.predict_masks import MaskPrediction


def predict(
    run: RunPath,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures.")],
    top: Annotated[int, typer.Option("--top", help="Labels for each picture.")] = 5,
    score: Annotated[
        float, typer.Option("--score", help="Least score of an object, from 0 to 1.")
    ] = 0.25,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to draw masks or boxes on the pictures."),
    ] = None,
    tta: Tta = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say what pictures show: labels, masks or boxes, as the Run was trained to."""
    from convolens.workbench.draw_predictions import draw_predictions
    from convolens.workbench.predict import Prediction
    from convolens.workbench.predict_boxes import BoxPrediction
    from convolens.workbench.predict_masks import MaskPrediction
    from convolens.workbench.run import Run

    opened = Run.open(run)
    found = opened.predict(*images, top=top, score=score, device=device, tta=tta)
    files = draw_predictions(opened, found, out) if out is not None else [()] * len(found)
    trees, texts = [], []
    for prediction, drawn in zip(found, files, strict=True):
        if isinstance(prediction, Prediction):
            tree, text = _labels(prediction)
        elif isinstance(prediction, BoxPrediction):
            tree, text = _boxes(prediction)
        elif isinstance(prediction, MaskPrediction):
            tree, text = _mask(prediction)
        if drawn:
            tree["files"] = [str(file) for file in drawn]
            text += f"\n  drawn: {', '.join(map(str, drawn))}"
        trees.append(tree)
        texts.append(text)
    if as_json:
        print(json.dumps({"run": str(opened.path), "predictions": trees}))
    else:
        print("\n".join(texts))


def _labels(found: "Prediction") -> tuple[dict[str, Any], str]:
    note = "  (light and dark swapped, as the network was trained)"
    width = max(len(name) for name, _ in found.labels)
    lines = [found.image + note * found.inverted]
    lines += [f"  {name:<{width}}  {value:7.2%}" for name, value in found.labels]
    tree = {
        "image": found.image,
        "inverted": found.inverted,
        "labels": [{"label": name, "probability": value} for name, value in found.labels],
    }
    return tree, "\n".join(lines)


def _mask(found: "MaskPrediction") -> tuple[dict[str, Any], str]:
    width = max(map(len, found.shares))
    lines = [found.image]
    lines += [
        f"  {name:<{width}}  {value:7.2%} of the pixels" for name, value in found.shares.items()
    ]
    tree = {"image": found.image, "size": list(found.mask.shape), "shares": found.shares}
    return tree, "\n".join(lines)


def _boxes(found: "BoxPrediction") -> tuple[dict[str, Any], str]:
    width = max((len(one.label) for one in found.detections), default=0)
    lines = [found.image] + ["  nothing found"] * (not found.detections)
    for one in found.detections:
        box = ", ".join(f"{value:.1f}" for value in one.box)
        lines.append(f"  {one.label:<{width}}  {one.score:7.2%}  {box}")
    tree = {
        "image": found.image,
        "size": list(found.size),
        "objects": [
            {"label": one.label, "score": one.score, "box": list(one.box)}
            for one in found.detections
        ],
    }
    return tree, "\n".join(lines)
