"""`convolens predict`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convolens.cli.words import Device, Json, Tta
from convolens.errors import ConfigError

if TYPE_CHECKING:  # PyTorch takes seconds to import, and `--help` needs none of it
    from convolens.workbench.predict import Prediction
    from convolens.workbench.predict_boxes import BoxPrediction
    from convolens.workbench.predict_masks import MaskPrediction

    Predictions = list[Prediction] | list[MaskPrediction] | list[BoxPrediction]


Words = Annotated[
    list[Path],
    typer.Argument(
        metavar="[RUN] IMAGE...",
        help="A folder that `train` has left, and pictures; with --model, pictures alone.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="A pretrained network: torchvision:NAME, or one of ours."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="default|imagenet|FILE",
        help="With --model: torchvision's best, or a file.",
        show_default="default",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAME,NAME,…",
        help="With --model: the classes of a file.",
        show_default="torchvision's",
    ),
]
Score = Annotated[float, typer.Option("--score", help="Least score of an object, from 0 to 1.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where to draw masks or boxes on the pictures."),
]


def predict(
    words: Words,
    model: Model = None,
    weights: Weights = None,
    classes: Classes = None,
    top: Annotated[int, typer.Option("--top", help="Labels for each picture.")] = 5,
    score: Score = 0.25,
    out: Out = None,
    tta: Tta = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say what pictures show: labels, masks or boxes, as the Run or the network was trained to."""
    from convolens.workbench.draw_predictions import draw_predictions
    from convolens.workbench.predict_pretrained import DEFAULT, pretrained
    from convolens.workbench.run import Run

    found: Predictions
    if model is None:
        _check_words(words, weights, classes)
        run = Run.open(words[0])
        head, task = {"run": str(run.path)}, run.task
        found = run.predict(*words[1:], top=top, score=score, device=device, tta=tta)
    else:
        names = [] if classes is None else [name.strip() for name in classes.split(",")]
        net = pretrained(model, weights=weights or DEFAULT, classes=names, device=device)
        head = {"model": model, "weights": net.weights}
        found = net.predict(*words, top=top, score=score, tta=tta or "none")
        task = net.task
    files = draw_predictions(task, found, out) if out is not None else [()] * len(found)
    _print(head, found, files, as_json=as_json)


def _print(
    head: Mapping[str, str],
    found: "Sequence[Prediction | MaskPrediction | BoxPrediction]",
    files: Sequence[Sequence[Path]],
    *,
    as_json: bool,
) -> None:
    shown = [_shown(one, drawn) for one, drawn in zip(found, files, strict=True)]
    if as_json:
        print(json.dumps({**head, "predictions": [tree for tree, _ in shown]}))
    else:
        print("\n".join(text for _, text in shown))


def _check_words(words: list[Path], weights: str | None, classes: str | None) -> None:
    """Raises ConfigError where the words for a Run are wrong."""
    if weights is not None or classes is not None:
        option = "--classes" if weights is None else "--weights"
        raise ConfigError(
            f"{option} goes with --model; a Run has its own",
            "For torchvision's network: convolens predict --model torchvision:NAME IMAGE...",
        )
    if len(words) < 2:
        raise ConfigError(
            "Missing argument 'IMAGE...'",
            "Expected a Run and pictures, or --model and pictures. See: convolens predict --help",
        )


def _shown(
    found: "Prediction | MaskPrediction | BoxPrediction", drawn: Sequence[Path]
) -> tuple[dict[str, Any], str]:
    """A prediction as JSON and in words."""
    from convolens.workbench.predict import Prediction
    from convolens.workbench.predict_boxes import BoxPrediction

    if isinstance(found, Prediction):
        tree, text = _labels(found)
    elif isinstance(found, BoxPrediction):
        tree, text = _boxes(found)
    else:
        tree, text = _mask(found)
    if drawn:
        tree["files"] = [str(file) for file in drawn]
        text += f"\n  drawn: {', '.join(map(str, drawn))}"
    return tree, text


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
