"""Regions of alike pixels, from the edges of the pixel grid in order of their weight.

Source: Felzenszwalb and Huttenlocher (2004), Efficient graph-based image segmentation, IJCV 59.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NUM_PASSES = 8
STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to a pixel's eight neighbours, each pair once


def segment(pixels: Floats, *, scale: float, smallest: int, sigma: float = 0.8) -> Ints:
    """Joins two regions where their edge is no heavier than min(Int(C) + k / |C|) of both.

    Int(C) is the heaviest edge inside a region. Regions that are too small then join the neighbour
    of their lightest edge.

    Source: Felzenszwalb and Huttenlocher (2004), algorithm 1 and section 3.1.
    Args:
        pixels: (H, W, C), 0 to 255.
        scale: k; the larger, the larger the regions.
        smallest: least pixels of a region.
        sigma: deviation of the Gaussian that smooths the picture first [px].
    Returns: (H, W), the region of each pixel, 0 to R − 1 in the order of their first pixels.
    Example:
        >>> picture = np.zeros((8, 8, 3), np.float32)
        >>> picture[2:6, 3:7] = 255
        >>> int(segment(picture, scale=50, smallest=4, sigma=0).max())
        1
    """
    height, width = pixels.shape[:2]
    first, second, weights = _edges(smoothed(pixels, sigma))
    order = np.argsort(weights, kind="stable")
    first, second, weights = first[order], second[order], weights[order]
    parents = np.arange(height * width)
    parents = _join_alike(parents, first, second, weights, scale)
    parents = _join_small(parents, first, second, smallest)
    _, labels = np.unique(parents, return_inverse=True)
    return labels.reshape(height, width).astype(np.int64)


def smoothed(pixels: Floats, sigma: float) -> Floats:
    """The picture (H, W, C) under a Gaussian of 2·⌈4σ⌉ + 1 taps, its border repeated outwards."""
    if sigma <= 0:
        return pixels
    reach = int(np.ceil(4 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        room = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded, length = np.pad(pixels, room, mode="edge"), pixels.shape[axis]
        pixels = sum(
            tap * padded.take(range(i, i + length), axis=axis) for i, tap in enumerate(taps)
        )
    return pixels


def _edges(pixels: Floats) -> tuple[Ints, Ints, Floats]:
    """Both ends of every edge, and the distance of their colours."""
    height, width = pixels.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    first, second, weights = [], [], []
    for down, right in STEPS:
        here = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        there = (slice(down, height), slice(max(0, right), width + min(0, right)))
        first.append(index[here].ravel())
        second.append(index[there].ravel())
        weights.append(np.sqrt(((pixels[here] - pixels[there]) ** 2).sum(axis=-1)).ravel())
    return np.concatenate(first), np.concatenate(second), np.concatenate(weights)


def _join_alike(parents: Ints, first: Ints, second: Ints, weights: Floats, scale: float) -> Ints:
    sizes, limits = np.ones(len(parents), np.int64), np.full(len(parents), float(scale))
    for part in np.array_split(np.arange(len(weights)), NUM_PASSES):
        if len(part) == 0:
            continue
        a, b, weight = parents[first[part]], parents[second[part]], weights[part]
        # A region whose limit is below an edge is final, for no later edge is lighter.
        open_ = (a != b) & (weight[0] <= np.minimum(limits[a], limits[b]))
        parents, sizes, limits = _pass(
            parents, sizes, limits, (a[open_], b[open_], weight[open_]), scale
        )
    return parents


def _pass(
    parents: Ints,
    sizes: Ints,
    limits: NDArray[np.float64],
    edges: tuple[Ints, Ints, Floats],
    scale: float,
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    # Plain lists: the edges go one after the other, and an item of a list is read sooner than one
    # of an array.
    parent, size, limit = parents.tolist(), sizes.tolist(), limits.tolist()
    for a, b, weight in zip(*(e.tolist() for e in edges), strict=True):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        if a != b and weight <= limit[a] and weight <= limit[b]:
            if b < a:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            limit[a] = weight + scale / size[a]
    return _roots(np.array(parent)), np.array(size), np.array(limit)


def _join_small(parents: Ints, first: Ints, second: Ints, smallest: int) -> Ints:
    sizes = np.bincount(parents, minlength=len(parents)).tolist()
    between = parents[first] != parents[second]
    first, second = parents[first[between]], parents[second[between]]
    parent = parents.tolist()
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        if a != b and (sizes[a] < smallest or sizes[b] < smallest):
            if b < a:
                a, b = b, a
            parent[b] = a
            sizes[a] += sizes[b]
    return _roots(np.array(parent))


def _roots(parents: Ints) -> Ints:
    """Every pixel's region; the region of a pixel is the first pixel of it."""
    while True:
        above = parents[parents]
        if np.array_equal(above, parents):
            return parents
        parents = above
