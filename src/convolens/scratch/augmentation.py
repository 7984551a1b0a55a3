"""Augmentation: each time a picture is shown it looks a little different."""

from collections.abc import Callable

import numpy as np

from convolens.errors import ConfigError
from convolens.scratch.layer import Array

Augment = Callable[[Array, np.random.Generator], Array]


def shifts(most: int) -> Augment:
    """Moves each picture by up to `most` pixels down or up, and right or left.

    What comes in at the edge repeats the picture's outermost row or column.

    Source: Saito (2016), Deep Learning from Scratch, section 8.1.2, data augmentation.
    Args:
        most: the greatest distance; every whole number from −most to most is as likely [px].
    Shape: x (N, C, H, W) -> the same
    Raises:
        ConfigError: when the distance is less than 0.
    Example:
        >>> x = np.arange(4.0).reshape(1, 1, 1, 4)
        >>> shifts(1)(x, np.random.default_rng(2))[0, 0, 0]
        array([1., 2., 3., 3.])
    """
    if most < 0:
        raise ConfigError(f"pictures are shifted by at least 0 px, received {most}")

    def augment(x: Array, rng: np.random.Generator) -> Array:
        N, _, H, W = x.shape
        down, right = rng.integers(-most, most + 1, (2, N, 1))
        rows = np.clip(np.arange(H) - down, 0, H - 1)  # the row that each row shows
        columns = np.clip(np.arange(W) - right, 0, W - 1)
        pictures = np.arange(N)[:, None, None]
        # The axis of channels ends up last where whole arrays index around it.
        moved: Array = x[pictures, :, rows[:, :, None], columns[:, None, :]]
        return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))

    return augment
