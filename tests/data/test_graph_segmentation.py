import numpy as np
import pytest
from numpy.typing import NDArray

from convolens.data import graph_segmentation
from convolens.data.graph_segmentation import segment, smoothed


def plainly(pixels: NDArray[np.float32], scale: float, smallest: int) -> NDArray[np.int64]:
    """Algorithm 1 as it is written, edge by edge."""
    height, width = pixels.shape[:2]
    edges = []
    for number, (down, right) in enumerate(graph_segmentation.STEPS):
        for y in range(height):
            for x in range(width):
                if y + down < height and 0 <= x + right < width:
                    weight = np.sqrt(((pixels[y, x] - pixels[y + down, x + right]) ** 2).sum())
                    place = (number, y, x)
                    edges.append((weight, place, y * width + x, (y + down) * width + x + right))
    edges.sort()
    region = list(range(height * width))
    inside = [0.0] * len(region)

    def join(a: int, b: int) -> None:
        for i, r in enumerate(region):
            if r == b:
                region[i] = a

    for weight, _, p, q in edges:
        a, b = region[p], region[q]
        limits = [inside[r] + scale / region.count(r) for r in (a, b)]
        if a != b and weight <= min(limits):
            join(a, b)
            inside[a] = weight
    for _, _, p, q in edges:
        a, b = region[p], region[q]
        if a != b and min(region.count(a), region.count(b)) < smallest:
            join(a, b)
    _, first = np.unique(region, return_index=True)
    order = {region[i]: n for n, i in enumerate(sorted(first))}
    return np.array([order[r] for r in region]).reshape(height, width)


@pytest.mark.parametrize("seed", range(4))
def test_the_papers_algorithm_gives_the_same_regions(seed: int) -> None:
    source = np.random.default_rng(seed)
    pixels = source.integers(0, 60, (9, 11, 3)).astype(np.float32)
    pixels[2:6, 3:9] += 90
    own = segment(pixels, scale=80, smallest=4, sigma=0)
    assert np.array_equal(own, plainly(pixels, 80, 4))


def test_every_region_is_large_enough_and_connected() -> None:
    from scipy.ndimage import label

    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.float32)
    labels = segment(pixels, scale=100, smallest=12)
    assert np.bincount(labels.ravel()).min() >= 12
    for region in range(labels.max() + 1):
        assert label(labels == region, structure=np.ones((3, 3)))[1] == 1


def test_the_gaussian_is_scipys() -> None:
    from scipy.ndimage import gaussian_filter

    pixels = np.random.default_rng(0).random((12, 9, 3)).astype(np.float32)
    expected = gaussian_filter(pixels, (0.8, 0.8, 0), mode="nearest")
    np.testing.assert_allclose(smoothed(pixels, 0.8), expected, atol=1e-4)


def test_one_pixel_is_one_region() -> None:
    assert segment(np.zeros((1, 1, 3), np.float32), scale=50, smallest=4).tolist() == [[0]]
