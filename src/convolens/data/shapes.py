"""`shapes`: coloured figures on textured grounds, drawn by code, with targets for every task.

Each picture holds one to four figures of the eight classes of `outlines.py`. Its label is the class
of the largest figure; every other one shows at most 60 % of the pixels that the largest shows.
"""

import numpy as np
import torch

from convolens.data.base import Dataset, MemoryPictures, Split
from convolens.data.drawing import Scene, draw_scene
from convolens.data.outlines import OUTLINES
from convolens.data.picture import PictureFormat
from convolens.errors import ConfigError

SHAPES_FORMAT = PictureFormat(channels=3, size=(64, 64), fit="stretch")
SHAPES_CLASSES = tuple(outline.name for outline in OUTLINES)

_LEAST_SIDE = 16
_TRAIN, _TEST = 0, 1


def load_shapes(
    *,
    format: PictureFormat = SHAPES_FORMAT,
    seed: int = 0,
    num_train: int = 2000,
    num_test: int = 500,
) -> Dataset:
    """Draws the dataset; picture i depends on the seed, the split, the format and i alone.

    Targets of a split of N pictures, the largest figure first among the M of a picture:
    "label" int64 (N,); "boxes" a list of float32 (M, 4), xyxy around the visible pixels, the second
    corner after the last pixel; "box_labels" a list of int64 (M,); "masks" uint8 (N, H, W), 0 for
    the background and 1 + class elsewhere; "instances" uint8 (N, H, W), 0 for the background and
    1 + place in "boxes" elsewhere; "keypoints" a list of float32 (M, 5, 3), x, y and 1 where the
    point is seen: the centre, then top, right, bottom and left of the figure as it is tilted;
    "caption" a list of str.

    Args:
        format: channels 1 or 3, and a size of at least 16 px; `fit` only concerns other pictures.
        seed: at least 0.
        num_train: at least 1; each block of eight pictures holds every label once.
        num_test: at least 1; drawn from other random numbers than the training pictures.
    Raises:
        ConfigError: when a value is out of its range.
    Example:
        >>> shapes = load_shapes(num_train=8, num_test=8)
        >>> shapes.train.pictures.batch(torch.arange(8)).shape
        torch.Size([8, 3, 64, 64])
    """
    if format.channels not in (1, 3):
        raise ConfigError(f"shapes are drawn in 1 or 3 channels, received {format.channels}")
    if min(format.size) < _LEAST_SIDE:
        raise ConfigError(
            f"shapes need a size of at least {_LEAST_SIDE} px, "
            f"received {format.size[0]}×{format.size[1]}"
        )
    for name, value, least in (
        ("seed", seed, 0),
        ("num_train", num_train, 1),
        ("num_test", num_test, 1),
    ):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, received {value}")
    return Dataset(
        name="shapes",
        class_names=SHAPES_CLASSES,
        format=format,
        train=_draw_split("train", _TRAIN, seed, num_train, format),
        val=None,
        test=_draw_split("test", _TEST, seed, num_test, format),
        tasks=("classify", "segment", "detect"),
        mask_names=("background", *SHAPES_CLASSES),
    )


def _draw_split(name: str, stream: int, seed: int, count: int, form: PictureFormat) -> Split:
    scenes = [
        draw_scene(_generator(seed, stream, i), label, channels=form.channels, size=form.size)
        for i, label in enumerate(_labels(seed, stream, count))
    ]
    instances = np.stack([scene.instances for scene in scenes])
    return Split(
        pictures=MemoryPictures(torch.from_numpy(np.stack([scene.pixels for scene in scenes]))),
        targets={
            "label": torch.tensor([int(scene.classes[0]) for scene in scenes]),
            "boxes": [torch.from_numpy(scene.boxes) for scene in scenes],
            "box_labels": [torch.from_numpy(scene.classes) for scene in scenes],
            "masks": torch.from_numpy(np.stack([_mask(scene) for scene in scenes])),
            "instances": torch.from_numpy(instances),
            "keypoints": [torch.from_numpy(scene.keypoints) for scene in scenes],
            "caption": [scene.caption for scene in scenes],
        },
        names=[f"{name} {i}" for i in range(count)],
    )


def _labels(seed: int, stream: int, count: int) -> list[int]:
    """Every class once in each block of pictures, in random order."""
    kinds = len(SHAPES_CLASSES)
    labels: list[int] = []
    for block in range(-(-count // kinds)):
        order = np.argsort(_generator(seed, stream, block, 1).random(kinds))
        labels.extend(order.tolist())
    return labels[:count]


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _mask(scene: Scene) -> np.ndarray:
    return np.concatenate([[0], 1 + scene.classes]).astype(np.uint8)[scene.instances]
