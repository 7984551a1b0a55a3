"""What a Run says of a picture: labels, or masks and boxes drawn on it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from convolens.web.scene import Pixels, Scene
from convolens.workbench.draw_predictions import draw_predictions
from convolens.workbench.predict import Prediction
from convolens.workbench.predict_boxes import BoxPrediction

MOST_FACTS = 12


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said, and shown.

    Args:
        facts: a name and a number each.
        pictures: the picture with what was found in it; none where a Run gives labels.
    """

    facts: tuple[tuple[str, str], ...]
    pictures: tuple[Pixels, ...] = ()


def answer_of(scene: Scene) -> Answer:
    """What the Run's network says of the scene's picture, as `convolens predict` has it."""
    if scene.labels:
        return Answer(facts=tuple((label, _percent(share)) for label, share in scene.labels))
    run = scene.opened.run
    with tempfile.TemporaryDirectory(prefix="convolens-app-") as folder:
        file = Path(folder) / "picture.png"
        Image.fromarray(scene.colour).save(file)
        found = run.predict(file, device="cpu")
        prediction = found[0]
        if isinstance(prediction, Prediction):
            return Answer(facts=tuple((name, _percent(p)) for name, p in prediction.labels))
        # Of a mask, the file of bare numbers is for programs.
        (files,) = draw_predictions(run.task, found, Path(folder))
        shown = [path for path in files if not path.stem.endswith("_mask")]
        pictures = tuple(np.asarray(Image.open(path).convert("RGB")) for path in shown)
    if isinstance(prediction, BoxPrediction):
        facts = [(one.label, _percent(one.score)) for one in prediction.detections]
        facts = facts or [("nothing", "of a score of 25 % or more")]
    else:
        facts = [(name, f"{_percent(s)} of the pixels") for name, s in prediction.shares.items()]
    return Answer(facts=tuple(facts[:MOST_FACTS]), pictures=pictures)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
