"""Selective search: boxes that may hold an object, from grouping alike regions step by step.

Source: Uijlings, van de Sande, Gevers, Smeulders (2013), Selective search for object recognition,
IJCV 104; the first regions are those of Felzenszwalb and Huttenlocher (2004), Efficient graph-based
image segmentation, IJCV 59.
"""

import heapq
import importlib
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convolens.data.graph_segmentation import Floats, Ints, segment, smoothed
from convolens.errors import ConfigError, ShapeError, UnavailableError

Method = Literal["own", "opencv"]
SCALES = (50, 100)  # k of the segmentation: the paper's fast setting
COLOUR_BINS, TEXTURE_BINS, NUM_DIRECTIONS = 25, 10, 8
LEAST_SIDE_PX = 4
SRGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32
)


def proposals_of(pixels: Tensor, *, most: int = 2000, method: Method = "own") -> list[Tensor]:
    """Boxes that may hold an object, of every picture: those of `selective_search`.

    Args:
        pixels: uint8 (N, C, H, W) with 1 or 3 channels.
        most: boxes of a picture.
        method: "own", or "opencv" for the fast mode of OpenCV's contributed module.
    Returns: N tensors float32 (P_i, 4), xyxy, the second corner after the last pixel.
    Raises:
        ShapeError: when the pictures are of another form.
        ConfigError: when there is no such method.
        UnavailableError: when OpenCV's contributed module is not installed.
    """
    if pixels.ndim != 4 or pixels.dtype != torch.uint8 or pixels.shape[1] not in (1, 3):
        raise ShapeError(
            "selective search reads uint8 pictures (N, C, H, W) of 1 or 3 channels, "
            f"received {pixels.dtype} of shape {tuple(pixels.shape)}"
        )
    if method not in get_args(Method):
        raise ConfigError(f"method must be one of own, opencv, received {method!r}")
    search = _opencv_search if method == "opencv" else selective_search
    found = []
    for picture in pixels:
        rgb = picture.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        found.append(torch.from_numpy(search(rgb, most=most)))
    return found


def selective_search(rgb: NDArray[np.uint8], *, most: int = 2000) -> Floats:
    """The boxes of all regions that arise while the most alike neighbours are merged.

    Source: Uijlings et al. (2013), algorithm 1 and the fast setting of section 5.2: colour spaces
        HSV and Lab, two scales of first regions, with and without the similarity of colour.
    Args:
        rgb: uint8 (H, W, 3).
        most: boxes.
    Returns: float32 (P, 4), xyxy, the likeliest first; the same for the same picture always.
    Deviates: the smallest first region has k·H·W / (375·500) pixels and not k, so that small
        pictures have some; the order's random numbers are always the same ones.
    """
    chance = np.random.default_rng(0)
    boxes, order = [], []
    for space in (_hsv(rgb), _lab(rgb)):
        texture = _gradients(space)
        for scale in SCALES:
            smallest = max(4, round(scale * rgb.shape[0] * rgb.shape[1] / (375 * 500)))
            labels = segment(space, scale=scale, smallest=smallest)
            by_texture = _histograms(texture, labels, bins=TEXTURE_BINS)
            by_colour = _histograms(space, labels, bins=COLOUR_BINS)
            for colour in (by_colour, by_colour[:, :0]):
                own = _group(labels, colour, by_texture)
                boxes.append(own)
                # Section 4: the last merged come first, disturbed by chance.
                order.append(np.arange(len(own), 0, -1) * chance.random(len(own)))
    every, ranks = np.concatenate(boxes), np.concatenate(order)
    large = ((every[:, 2:] - every[:, :2]) >= LEAST_SIDE_PX).all(axis=1)
    every = every[large][np.argsort(ranks[large], kind="stable")]
    _, first = np.unique(every, axis=0, return_index=True)
    return every[np.sort(first)][:most].astype(np.float32)


def _group(labels: Ints, colour: Floats, texture: Floats) -> Ints:
    """Boxes of the R first regions, then of each merged one: (2·R − 1, 4).

    Of the four similarities, size and fill add up to 2 − box / picture, where box is the area of
    the box around both regions (equations 5 and 6).
    """
    count, area = len(texture), labels.size
    histograms = np.zeros((2 * count - 1, colour.shape[1] + texture.shape[1]), np.float32)
    histograms[:count] = np.hstack((colour, texture))
    boxes, sizes = np.zeros((2 * count - 1, 4), np.int64), np.zeros(2 * count - 1, np.float32)
    boxes[:count], sizes[:count] = _boxes(labels, count), np.bincount(labels.ravel())
    neighbours: list[set[int]] = [set() for _ in range(2 * count - 1)]
    for i, j in _borders(labels).tolist():
        neighbours[i].add(j)
        neighbours[j].add(i)

    def pairs(i: int, others: list[int]) -> Iterator[tuple[float, int, int]]:
        """(−similarity, i, j) for every j of others."""
        shared = np.minimum(histograms[i], histograms[others]).sum(axis=1)
        last = np.maximum(boxes[i, 2:], boxes[others, 2:])
        box = (last - np.minimum(boxes[i, :2], boxes[others, :2])).prod(axis=1)
        return zip((box / area - 2 - shared).tolist(), [i] * len(others), others, strict=True)

    queue = [p for i in range(count) for p in pairs(i, sorted(n for n in neighbours[i] if n > i))]
    heapq.heapify(queue)
    alive, new = bytearray([1]) * (2 * count - 1), count
    while queue:
        _, i, j = heapq.heappop(queue)
        if not (alive[i] and alive[j]):
            continue
        alive[i] = alive[j] = 0
        sizes[new] = sizes[i] + sizes[j]
        histograms[new] = (sizes[i] * histograms[i] + sizes[j] * histograms[j]) / sizes[new]
        boxes[new, :2] = np.minimum(boxes[i, :2], boxes[j, :2])
        boxes[new, 2:] = np.maximum(boxes[i, 2:], boxes[j, 2:])
        neighbours[new] = {n for n in neighbours[i] | neighbours[j] if alive[n]}
        for n in neighbours[new]:
            neighbours[n].add(new)
        for pair in pairs(new, sorted(neighbours[new])):
            heapq.heappush(queue, pair)
        new += 1
    return boxes[:new]


def _boxes(labels: Ints, count: int) -> Ints:
    """The box around every region, (R, 4)."""
    height, width = labels.shape
    boxes = np.empty((count, 4), np.int64)
    for axis, length in ((0, width), (1, height)):
        along = np.broadcast_to(
            np.arange(length) if axis == 0 else np.arange(length)[:, None], labels.shape
        )
        first, last = np.full(count, length), np.zeros(count, np.int64)
        np.minimum.at(first, labels.ravel(), along.ravel())
        np.maximum.at(last, labels.ravel(), along.ravel() + 1)
        boxes[:, axis], boxes[:, axis + 2] = first, last
    return boxes


def _borders(labels: Ints) -> Ints:
    """Every pair of regions with neighbouring pixels, once, the smaller number first."""
    ends = [
        np.stack((a.ravel(), b.ravel()), axis=1)
        for a, b in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    ]
    pairs = np.sort(np.concatenate(ends), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _histograms(values: Floats, labels: Ints, *, bins: int) -> Floats:
    """Per region, the histograms (R, C·bins) of values (H, W, C) in 0…255; each row adds to 1."""
    count, channels = int(labels.max()) + 1, values.shape[-1]
    found = np.empty((count, channels, bins), np.float32)
    level = np.clip(values * (bins / 256), 0, bins - 1).astype(np.int64)
    for c in range(channels):
        index = (labels * bins + level[..., c]).ravel()
        found[:, c] = np.bincount(index, minlength=count * bins).reshape(count, bins)
    flat: Floats = found.reshape(count, -1)
    flat /= flat.sum(axis=1, keepdims=True)
    return flat


def _gradients(pixels: Floats) -> Floats:
    """(H, W, 8·C) in 0…255: what rises towards each of eight directions, under a Gaussian of 1."""
    soft = smoothed(pixels, 1.0)
    down, right = np.gradient(soft, axis=(0, 1))
    turns = np.arange(NUM_DIRECTIONS) * (2 * np.pi / NUM_DIRECTIONS)
    rises = [np.maximum(0, np.cos(t) * right + np.sin(t) * down) for t in turns]
    together = np.concatenate(rises, axis=-1)
    return together * np.float32(255 / max(float(together.max()), 1e-6))


def _hsv(rgb: NDArray[np.uint8]) -> Floats:
    return np.asarray(Image.fromarray(rgb).convert("HSV"), dtype=np.float32)


def _lab(rgb: NDArray[np.uint8]) -> Floats:
    """CIE L*a*b* under the white of sRGB, moved and stretched to 0…255."""
    part = rgb.astype(np.float32) / 255
    linear = np.where(part > 0.04045, ((part + 0.055) / 1.055) ** 2.4, part / 12.92)
    xyz = linear @ (SRGB_TO_XYZ / SRGB_TO_XYZ.sum(axis=1, keepdims=True)).T
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    lab = np.stack((2.55 * (116 * y - 16), 500 * (x - y) + 128, 200 * (y - z) + 128), axis=-1)
    return lab.astype(np.float32)


def _opencv_search(rgb: NDArray[np.uint8], *, most: int = 2000) -> Floats:
    """The fast mode of OpenCV's contributed module."""
    cv2 = _opencv()
    cv2.setRNGSeed(0)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(rgb[..., ::-1].copy())
    search.switchToSelectiveSearchFast()
    boxes: Floats = search.process()[:most].astype(np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _opencv() -> Any:
    try:
        module: Any = importlib.import_module("cv2")
        module.ximgproc  # noqa: B018  only the contributed modules have it
    except (ImportError, AttributeError) as error:
        raise UnavailableError(
            "OpenCV's contributed module, which has its selective search, is not installed",
            "Install convolens[selective-search], or use method=own.",
        ) from error
    return module
