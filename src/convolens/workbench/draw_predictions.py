"""Predicted masks and boxes drawn on a person's pictures, as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convolens.data.picture import read_picture
from convolens.errors import ConfigError
from convolens.tasks.base import Task
from convolens.tasks.segment import Segment
from convolens.train.files import write_bytes
from convolens.visual.boxes import draw_boxes
from convolens.visual.figure import Figure, png_bytes
from convolens.visual.overlay import class_colours, label_png, legend, overlaid
from convolens.workbench.predict import Prediction
from convolens.workbench.predict_boxes import BoxPrediction
from convolens.workbench.predict_masks import MaskPrediction


def draw_predictions(
    task: Task,
    predictions: Sequence[Prediction] | Sequence[MaskPrediction] | Sequence[BoxPrediction],
    out: Path,
) -> list[tuple[Path, ...]]:
    """Writes the drawings of each picture into a folder; masks are of the picture's own size.

    Of a mask: NAME_overlay.png, NAME_mask.png, whose values are the classes' places, and once for
    all `legend.png`; of boxes: NAME_boxes.png.

    Returns: the files of each picture.
    Raises:
        ConfigError: when the task is to classify, or two pictures would have the same file.
    """
    out.mkdir(parents=True, exist_ok=True)
    stems = [Path(prediction.image).stem for prediction in predictions]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ConfigError(
            f"--out {out}: two pictures are called {twice[0]}", "Predict them one after the other."
        )
    written: list[tuple[Path, ...]] = []
    for stem, prediction in zip(stems, predictions, strict=True):
        if isinstance(prediction, MaskPrediction):
            written.append(_draw_mask(task, prediction, out, stem))
        elif isinstance(prediction, BoxPrediction):
            written.append(_draw_boxes(task, prediction, out, stem))
        else:
            raise ConfigError("--out draws masks and boxes; this network gives labels")
    return written


def _picture(path: str) -> NDArray[np.uint8]:
    """RGB (3, h, w)."""
    pixels = np.asarray(read_picture(path).convert("RGB"))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _draw_mask(task: Task, found: MaskPrediction, out: Path, stem: str) -> tuple[Path, ...]:
    given = task.colours if isinstance(task, Segment) else ()
    colours = class_colours(found.class_names, given)
    labels = found.mask.numpy()
    overlay, mask, key = (
        out / name for name in (f"{stem}_overlay.png", f"{stem}_mask.png", "legend.png")
    )
    drawn = overlaid(_picture(found.image), labels, colours)
    write_bytes(overlay, png_bytes(Figure(name="overlay", caption="", pixels=drawn)))
    write_bytes(mask, label_png(labels, colours))
    entries = legend(found.class_names, colours)
    write_bytes(key, png_bytes(Figure(name="legend", caption="", pixels=entries)))
    return overlay, mask, key


def _draw_boxes(task: Task, found: BoxPrediction, out: Path, stem: str) -> tuple[Path, ...]:
    names = task.class_names
    file = out / f"{stem}_boxes.png"
    drawn = draw_boxes(
        _picture(found.image),
        np.array([one.box for one in found.detections], np.float64).reshape(-1, 4),
        np.array([names.index(one.label) for one in found.detections], np.int64),
        names,
        scores=np.array([one.score for one in found.detections], np.float64),
    )
    write_bytes(file, png_bytes(drawn))
    return (file,)
