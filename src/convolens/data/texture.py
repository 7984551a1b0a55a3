"""Backgrounds drawn by code: noise at three scales over a gradient or stripes."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def draw_texture(
    rng: np.random.Generator, colour: NDArray[np.float32], size: tuple[int, int], *, depth: float
) -> tuple[Plane, Plane]:
    """Spreads one colour over a picture, unevenly: colour + Σ direction·field.

    Only additions, multiplications and comparisons are used, so that every machine computes the
    same bytes.

    Args:
        rng: where the random numbers come from.
        colour: (C,), 0..255.
        size: (H, W) [px].
        depth: how far the texture may move a colour, about [grey levels].
    Shape:   -> (C, H, W) and (H, W)
    Returns: the background, and its finest noise field (−1..1), with which figures are shaded.
    """
    height, width = size
    coarse, fine = smooth_noise(rng, size, 4), smooth_noise(rng, size, 14)
    fields = (_bands(rng, size), coarse, fine)
    directions = rng.random((3, len(colour)))
    brightness = rng.random(3)
    grain = np.frombuffer(rng.bytes(len(colour) * height * width), dtype=np.uint8)
    # −0.2·depth to 0.2·depth, independently for every pixel and channel.
    canvas = grain.reshape(len(colour), height, width) * np.float32(0.4 * depth / 255)
    canvas += (colour - np.float32(0.2 * depth))[:, None, None]
    for field, direction, light, share in zip(
        fields, directions, brightness, (0.5, 0.6, 0.5), strict=True
    ):
        # Two thirds of each field lighten and darken; the rest shifts the tint.
        step = share * depth * ((4 * light - 2) / 3 + (2 * direction - 1) / 3)
        canvas += step.astype(np.float32)[:, None, None] * field
    return canvas, fine


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Plane:
    """Random values on a grid of `cells` by `cells`, interpolated linearly; −1..1."""
    knots: Plane = np.float32(2) * rng.random((cells, cells), dtype=np.float32) - np.float32(1)
    (top, down), (left, right) = _knots(size[0], cells), _knots(size[1], cells)
    rows = knots[top] + (knots[top + 1] - knots[top]) * down[:, None]
    noise: Plane = rows[:, left] + (rows[:, left + 1] - rows[:, left]) * right
    return noise


def _bands(rng: np.random.Generator, size: tuple[int, int]) -> Plane:
    """A gradient, or stripes of up to six periods, in a random direction; −1..1."""
    down, right, periods, offset = rng.random(4).tolist()
    y, x = _ramp(size[0]), _ramp(size[1])
    ramp = np.float32(2 * down - 1) * y[:, None] + np.float32(2 * right - 1) * x
    if periods < 0.5:
        return ramp
    phase = ramp * np.float32(8 * periods - 2) + np.float32(offset)
    # A triangle wave: smooth enough, and exact on every machine, as a sine is not.
    stripes: Plane = np.abs((phase - np.floor(phase)) * 4 - 2) - np.float32(1)
    return stripes


@lru_cache(maxsize=64)
def _ramp(length: int) -> Plane:
    return ((np.arange(length) + 0.5) / length * 2 - 1).astype(np.float32)


@lru_cache(maxsize=64)
def _knots(length: int, cells: int) -> tuple[NDArray[np.intp], Plane]:
    """For each pixel the knot before it, and how far it is on the way to the next."""
    place = (np.arange(length) + 0.5) / length * (cells - 1)
    before = place.astype(np.intp)
    return before, (place - before).astype(np.float32)
