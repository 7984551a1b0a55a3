from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.scratch import im2col
from convolens.scratch.convolution import (
    Convolution,
    TransposedConvolution,
    naive_transposed_conv2d,
)
from convolens.scratch.gradient import check_gradient


@dataclass(frozen=True, kw_only=True)
class Case:
    """A convolution that fits: arrays in float64 and how the window slides."""

    x: np.ndarray
    W: np.ndarray
    b: np.ndarray
    sliding: dict[str, int]
    block_bytes: int


@st.composite
def cases(draw: st.DrawFn, *, transposed: bool = False) -> Case:
    N, G, C, n_maps = (draw(st.integers(1, 3)) for _ in range(4))  # C and maps of each group
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    stride, dilation, padding = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        draw(st.integers(0, 2)),
    )
    sliding = {"stride": stride, "padding": padding, "dilation": dilation, "groups": G}
    if transposed:
        sliding["output_padding"] = draw(st.integers(0, stride - 1))
        least = [1 + -(-max(0, 2 * padding - dilation * (k - 1)) // stride) for k in kernel]
        shape = (G * C, n_maps, *kernel)
    else:
        least = [max(1, dilation * (k - 1) + 1 - 2 * padding) for k in kernel]
        shape = (G * n_maps, C, *kernel)
    H, W = (size + draw(st.integers(0, 4)) for size in least)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal((N, G * C, 2 * H, W))
    views = {
        "contiguous": x[:, :, :H].copy(),
        "strided": x[:, :, ::2],
        "backward": x[:, :, H - 1 :: -1],
    }
    return Case(
        x=views[draw(st.sampled_from(sorted(views)))],
        W=rng.standard_normal(shape),
        b=rng.standard_normal(G * n_maps),
        sliding=sliding,
        block_bytes=draw(st.sampled_from((1, 1000, 1 << 20))),
    )


def in_torch(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]


def compare(
    layer: Convolution | TransposedConvolution,
    case: Case,
    expected: torch.Tensor,
    leaves: list[torch.Tensor],
) -> None:
    """Values and all three gradients, with the columns cut into blocks of the case's size."""
    dout = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    expected.backward(torch.from_numpy(dout))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "BLOCK_BYTES", case.block_bytes)
        out = layer.forward(case.x)
        dx = layer.backward(dout)
    close = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(out, expected.detach().numpy(), **close)
    for mine, leaf in zip((dx, layer.grads["W"], layer.grads["b"]), leaves, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(mine, leaf.grad.numpy(), **close)


@given(cases())
@settings(max_examples=80, deadline=None)
def test_convolution_against_torch(case: Case) -> None:
    leaves = in_torch(case.x, case.W, case.b)
    layer = Convolution(case.W, case.b, **case.sliding)
    compare(layer, case, F.conv2d(*leaves, **case.sliding), leaves)


@given(cases(transposed=True))
@settings(max_examples=80, deadline=None)
def test_transposed_convolution_against_torch(case: Case) -> None:
    leaves = in_torch(case.x, case.W, case.b)
    layer = TransposedConvolution(case.W, case.b, **case.sliding)
    compare(layer, case, F.conv_transpose2d(*leaves, **case.sliding), leaves)


@given(cases(transposed=True))
@settings(max_examples=20, deadline=None)
def test_transposed_convolution_against_its_naive_twin(case: Case) -> None:
    layer = TransposedConvolution(case.W, case.b, **case.sliding)
    twin = naive_transposed_conv2d(case.x, case.W, case.b, **case.sliding)
    np.testing.assert_allclose(layer.forward(case.x), twin, atol=1e-10)


@pytest.mark.parametrize(
    "sliding",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}, {"groups": 2, "stride": 3}],
    ids=str,
)
def test_gradients_against_differences(sliding: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal((2, 4, 6, 5)), rng.standard_normal(4)
    W = rng.standard_normal((4, 4 // sliding.get("groups", 1), 3, 2))
    for layer in (Convolution(W, b, **sliding), TransposedConvolution(W, b, **sliding)):
        errors = check_gradient(layer, x)
        assert set(errors) == {"x", "W", "b"}
        assert max(errors.values()) < 1e-7


def test_float32_is_right_to_its_digits() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 8, 12, 12)).astype(np.float32)
    W = rng.standard_normal((16, 8, 3, 3)).astype(np.float32)
    exact = Convolution(W.astype(np.float64), padding=1).forward(x.astype(np.float64))
    np.testing.assert_allclose(Convolution(W, padding=1).forward(x), exact, atol=3e-5)


def test_without_a_bias_there_is_none_to_learn() -> None:
    for layer in (Convolution(np.ones((2, 2, 1, 1))), TransposedConvolution(np.ones((2, 2, 1, 1)))):
        layer.backward(layer.forward(np.ones((1, 2, 3, 3))))
        assert layer.params.keys() == layer.grads.keys() == {"W"}


def test_the_first_layer_can_leave_out_the_gradient_of_the_pictures() -> None:
    rng = np.random.default_rng(0)
    layer = Convolution(rng.standard_normal((3, 1, 2, 2)), np.zeros(3))
    out = layer.forward(rng.standard_normal((2, 1, 4, 4)))
    layer.backward(out)
    both = dict(layer.grads)
    layer.grads.clear()
    layer.backward_params(out)
    assert all(np.array_equal(layer.grads[k], both[k]) for k in ("W", "b"))


def test_the_books_example_with_stride() -> None:
    """Figure 7-7: 7×7 with a 3×3 filter and stride 2 gives 3×3, first 15, 17."""
    row = [1, 2, 3, 0]
    picture = np.array([[row[(x - y) % 4] for x in range(7)] for y in range(7)], np.float64)
    filters = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2.0]]).reshape(1, 1, 3, 3)
    out = Convolution(filters, stride=2).forward(picture.reshape(1, 1, 7, 7))
    assert out.shape == (1, 1, 3, 3)
    assert out[0, 0, 0, :2].tolist() == [15, 17]


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (
            lambda: Convolution(np.ones((2, 3, 3, 3))),
            (1, 4, 8, 8),
            "convolution with W (2, 3, 3, 3) and 1 groups reads 3·1 = 3 channels, received 4 in x "
            "(1, 4, 8, 8)",
        ),
        (
            lambda: Convolution(np.ones((2, 3, 3, 3)), dilation=2),
            (1, 3, 8, 4),
            "convolution on x (1, 3, 8, 4): a window of 5 px does not fit into 4 px with 0 px of "
            "padding: 4 + 2·0 − 2·(3 − 1) − 1 = -1 < 0",
        ),
        (
            lambda: Convolution(np.ones((2, 3, 3, 3)), stride=0),
            (1, 3, 8, 8),
            "stride must be a whole number of at least 1, received 0",
        ),
        (
            lambda: TransposedConvolution(np.ones((2, 3, 2, 2)), padding=2),
            (1, 2, 3, 3),
            "transposed convolution on x (1, 2, 3, 3) leaves nothing: (3 − 1)·1 − 2·2 + 1·(2 − 1) "
            "+ 1 + 0 = 0 < 1",
        ),
        (
            lambda: TransposedConvolution(np.ones((2, 3, 2, 2))),
            (1, 3, 3, 3),
            "transposed convolution with W (2, 3, 2, 2) reads 2 channels, received 3 in x "
            "(1, 3, 3, 3)",
        ),
        (
            lambda: Convolution(np.ones((2, 3, 3))),
            (1, 3, 8, 8),
            "W must be (maps, channels, K_h, K_w), none of them 0, received (2, 3, 3)",
        ),
        (
            lambda: Convolution(np.ones((5, 3, 3, 3)), groups=2),
            (1, 6, 8, 8),
            "2 groups do not divide 5 maps: 5 / 2 of W (5, 3, 3, 3)",
        ),
        (
            lambda: Convolution(np.ones((2, 3, 3, 3)), np.ones(3)),
            (1, 3, 8, 8),
            "b must be (2,), one number per map, received (3,)",
        ),
        (
            lambda: TransposedConvolution(np.ones((2, 3, 2, 2)), stride=2, output_padding=2),
            (1, 2, 3, 3),
            "output_padding must be at least 0 and less than the stride 2, received 2",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_arithmetic(
    make: type[Convolution], x: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        make().forward(np.ones(x))
    assert str(caught.value) == message


@pytest.mark.parametrize("layer", [Convolution, TransposedConvolution])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"padding": -1}, "padding must be a whole number of at least 0, received -1"),
        ({"stride": 0}, "stride must be a whole number of at least 1, received 0"),
        ({"dilation": 0}, "dilation must be a whole number of at least 1, received 0"),
        ({"stride": 1.5}, "stride must be a whole number of at least 1, received 1.5"),
    ],
)
def test_a_window_that_cannot_slide_is_named(layer: type, words: dict, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        layer(np.ones((2, 2, 3, 3)), **words)
    assert str(caught.value) == message


def test_filters_that_are_none_are_named() -> None:
    with pytest.raises(ShapeError, match=r"none of them 0, received \(0, 2, 3, 3\)"):
        Convolution(np.ones((0, 2, 3, 3)))
