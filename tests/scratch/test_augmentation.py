import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convolens.errors import ConfigError
from convolens.scratch.augmentation import shifts


@given(
    most=st.integers(0, 3),
    size=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 100),
)
def test_every_picture_is_moved_as_a_window_on_its_padded_self(
    most: int, size: tuple[int, int, int, int], seed: int
) -> None:
    x = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    moved = shifts(most)(x, np.random.default_rng(seed))
    assert (moved.shape, moved.dtype) == (x.shape, x.dtype)
    height, width = size[2:]
    for before, after in zip(x, moved, strict=True):
        padded = np.pad(before, [(0, 0), (most, most), (most, most)], mode="edge")
        views = [
            padded[:, i : i + height, j : j + width]
            for i in range(2 * most + 1)
            for j in range(2 * most + 1)
        ]
        assert any(np.array_equal(after, view) for view in views)


def test_every_distance_is_as_likely() -> None:
    x = np.zeros((9000, 1, 5, 5))
    x[:, :, 2, 2] = 1
    where = shifts(1)(x, np.random.default_rng(0)).sum(axis=(0, 1))
    np.testing.assert_allclose(where[1:4, 1:4], 1000, atol=5 * 1000**0.5)
    assert where.sum() == 9000


def test_a_negative_distance_is_named() -> None:
    with pytest.raises(ConfigError, match="shifted by at least 0 px, received -1"):
        shifts(-1)
