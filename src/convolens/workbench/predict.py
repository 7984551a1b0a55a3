"""`predict`: what a network says of pictures that a person has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from convolens.data.picture import PictureFormat, read_as
from convolens.errors import DataError
from convolens.tasks.classify import Classify
from convolens.train.plan import Plan

BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network says of one picture.

    Args:
        image: the file.
        labels: (class name, probability), the most probable first.
        inverted: whether light and dark were swapped, because the network was trained on
            light ink on a dark ground and the picture is the other way round.
    """

    image: str
    labels: tuple[tuple[str, float], ...]
    inverted: bool = False

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0][0]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return self.labels[0][1]


def predict_pictures(
    network: nn.Module,
    task: Classify,
    plan: Plan,
    format: PictureFormat,
    images: Sequence[Path],
    top: int,
) -> list[Prediction]:
    """The most probable labels of each picture.

    Raises:
        DataError: when a picture cannot be read, or `top` is less than 1.
    """
    if top < 1:
        raise DataError(f"top must be at least 1, received {top}")
    found: list[Prediction] = []
    for start in range(0, len(images), BATCH_SIZE):
        part = images[start : start + BATCH_SIZE]
        fitted = [read_as(path, format) for path in part]
        pixels = torch.stack([pixels for pixels, _ in fitted]).to(plan.device)
        inputs = task.inputs(pixels)
        with torch.inference_mode(), plan.autocast():
            logits = network(plan.arrange(inputs))
        best = logits.float().softmax(dim=1).topk(min(top, len(task.class_names)), dim=1)
        for path, (_, inverted), values, indices in zip(
            part, fitted, best.values.tolist(), best.indices.tolist(), strict=True
        ):
            labels = tuple((task.class_names[i], p) for i, p in zip(indices, values, strict=True))
            found.append(Prediction(image=str(path), labels=labels, inverted=inverted))
    return found
