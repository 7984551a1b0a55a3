"""`predict` with a detector: the objects of a person's picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convolens.data.picture import PictureFormat, fit_picture, read_picture
from convolens.data.placement import placement_of
from convolens.data.selective_search import proposals_of
from convolens.errors import ConfigError
from convolens.tasks.detect import Detect
from convolens.train.plan import Plan
from convolens.workbench.proposals import needs_proposals

SCORE = 0.25  # the least score of a detection that a person is shown


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object.

    Args:
        label: its class.
        score: from 0 to 1.
        box: x0, y0, x1, y1 in pixels of the picture itself.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class BoxPrediction:
    """The objects of one picture.

    Args:
        image: the file.
        size: (h, w) of the picture [px].
        detections: the surest first.
    """

    image: str
    size: tuple[int, int]
    detections: tuple[Detection, ...]


def predict_boxes(
    network: nn.Module,
    task: Detect,
    plan: Plan,
    format: PictureFormat,
    images: Sequence[Path],
    score: float = SCORE,
) -> list[BoxPrediction]:
    """The objects of each picture, in its own pixels.

    Args:
        score: the least score of what is given.
    Raises:
        ConfigError: when the score is not from 0 to 1.
        DataError: when a picture cannot be read.
    """
    if not 0 <= score <= 1:
        raise ConfigError(f"score must lie between 0 and 1, received {score}")
    found = []
    for path in images:
        picture = read_picture(path)
        size = (picture.height, picture.width)
        pixels = fit_picture(picture, format)
        rows = detect(network, task, plan, pixels[None], score)[0]
        rows = rows[rows[:, 5] >= 0]
        boxes = placement_of(size, format).boxes_out(rows[:, :4].double())
        limit = torch.tensor([size[1], size[0]] * 2, dtype=torch.float64)
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        found.append(
            BoxPrediction(
                image=str(path),
                size=size,
                detections=tuple(
                    Detection(label=task.class_names[int(label)], score=value, box=tuple(box))
                    for box, value, label in zip(
                        boxes.tolist(), rows[:, 4].tolist(), rows[:, 5].tolist(), strict=True
                    )
                ),
            )
        )
    return found


def detect(network: nn.Module, task: Detect, plan: Plan, pixels: Tensor, score: float) -> Tensor:
    """The detections in pictures of the Run's own format.

    Shape: pixels uint8 (B, C, H, W) -> (B, most, 6), as the network's outputs give them, on the CPU
    """
    inputs = task.inputs(pixels.to(plan.device))
    given = {}
    if needs_proposals(network):
        boxes = proposals_of(pixels)
        given["proposals"] = torch.nn.utils.rnn.pad_sequence(
            boxes, batch_first=True, padding_value=float("nan")
        ).to(plan.device)
    with torch.inference_mode():
        with plan.autocast():
            outputs = network(plan.arrange(inputs))
        found: Tensor = outputs.detections(score=score, iou=task.iou, most=task.most, **given)
    return found.float().cpu()
