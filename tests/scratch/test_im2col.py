import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.scratch import im2col as module
from convolens.scratch.im2col import blocks, col2im, im2col, pad, windows


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, int], dict[str, int]]:
    """A shape (N, C, H, W), a window that fits, and how it slides."""
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sliding = {
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, 2)),
        "dilation": draw(st.integers(1, 3)),
    }
    reach = [sliding["dilation"] * (k - 1) + 1 - 2 * sliding["padding"] for k in kernel]
    sides = [max(1, r) + draw(st.integers(0, 5)) for r in reach]
    return (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sides), kernel, sliding


@given(geometries(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_im2col_and_col2im_are_unfold_and_fold(
    geometry: tuple[tuple[int, ...], tuple[int, int], dict[str, int]], turned: bool
) -> None:
    shape, kernel, sliding = geometry
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    if turned:  # the same shape, stored the other way round and read backwards
        x = np.asfortranarray(x)[:, :, ::-1]
    columns = im2col(x, kernel, **sliding)
    expected = F.unfold(torch.from_numpy(x.copy()), kernel, **sliding)
    np.testing.assert_array_equal(columns, expected.numpy())
    back = col2im(columns, (shape[2], shape[3]), kernel, **sliding)
    folded = F.fold(expected, shape[2:], kernel, **sliding)
    np.testing.assert_allclose(back, folded.numpy(), rtol=1e-12)


@given(geometries())
@settings(max_examples=40, deadline=None)
def test_col2im_is_the_transpose_of_im2col(
    geometry: tuple[tuple[int, ...], tuple[int, int], dict[str, int]],
) -> None:
    """⟨im2col(x), c⟩ = ⟨x, col2im(c)⟩ for every x and c."""
    shape, kernel, sliding = geometry
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    columns = im2col(x, kernel, **sliding)
    c = rng.standard_normal(columns.shape)
    back = col2im(c, (shape[2], shape[3]), kernel, **sliding)
    assert np.isclose((columns * c).sum(), (x * back).sum())


def test_windows_copy_nothing() -> None:
    x = np.zeros((2, 3, 8, 8), np.float32)
    view = windows(x, (3, 3), stride=2)
    assert np.shares_memory(view, x)
    assert view.shape == (2, 3, 3, 3, 3, 3)


def test_columns_of_single_pixels_are_the_picture_itself() -> None:
    x = np.zeros((2, 3, 8, 8))
    assert np.shares_memory(im2col(x, (1, 1)), x)


def test_the_size_of_the_book() -> None:
    """Section 7.4.3: ten pictures of 3×7×7, 5×5 windows: 90 columns of 75 numbers."""
    columns = im2col(np.zeros((10, 3, 7, 7)), (5, 5))
    assert columns.shape == (10, 75, 9)


def test_padding_is_zeros_around_the_picture() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    np.testing.assert_array_equal(pad(x, 2), np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)]))
    assert pad(x, 0) is x


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 5000))
@settings(max_examples=60, deadline=None)
def test_blocks_cover_everything_once_and_keep_the_bound(N: int, H: int, block_bytes: int) -> None:
    taps = np.zeros((N, 2, 1, 1, H, 3))
    row_bytes = taps.nbytes // (N * H)
    seen = np.zeros((N, H), int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block_bytes)
        for pictures, rows in blocks(taps):
            seen[pictures, rows] += 1
            part = taps[pictures, ..., rows, :]
            assert part.nbytes <= max(block_bytes, row_bytes)
    assert (seen == 1).all()


def test_what_does_not_fit_is_named_with_the_arithmetic() -> None:
    with pytest.raises(ShapeError) as caught:
        im2col(np.zeros((1, 1, 4, 4)), (5, 5))
    assert str(caught.value) == (
        "im2col on x (1, 1, 4, 4): a window of 5 px does not fit into 4 px with 0 px of padding: "
        "4 + 2·0 − 1·(5 − 1) − 1 = -1 < 0"
    )
    with pytest.raises(ShapeError) as caught:
        col2im(np.zeros((1, 9, 5)), (4, 4), (3, 3))
    assert str(caught.value) == (
        "columns of 3×3 windows in 4×4 px are (N, C·9, 2·2 = 4), received (1, 9, 5)"
    )
    with pytest.raises(ShapeError, match=r"^im2col expected x \(N, C, H, W\), received \(4, 4\)$"):
        im2col(np.zeros((4, 4)), (3, 3))
