"""Every layer against PyTorch, values and gradients, on edge shapes and odd memory layouts."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from convolens.scratch.activations import (
    ELU,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from convolens.scratch.affine import Affine, Flatten
from convolens.scratch.conv2d import conv2d
from convolens.scratch.convolution import Convolution, TransposedConvolution
from convolens.scratch.dropout import Dropout
from convolens.scratch.fft import fft_conv2d
from convolens.scratch.im2col import col2im, im2col
from convolens.scratch.layer import Layer
from convolens.scratch.losses import SoftmaxWithLoss, SquaredError, SVMLoss
from convolens.scratch.normalization import BatchNormalization, LocalResponseNorm
from convolens.scratch.pooling import AveragePooling, MaxPooling
from convolens.scratch.winograd import winograd_conv2d

Array = np.ndarray
# The same function in torch, of x and of the layer's parameters by name.
Twin = Callable[[Tensor, dict[str, Tensor]], Tensor]

FEW = settings(max_examples=40, deadline=None)
DTYPES = st.sampled_from((np.float32, np.float64))
LAYOUTS = st.sampled_from(
    ("C", "Fortran", "reversed", "every second", "channels last", "stretched")
)
SEEDS = st.integers(0, 2**16)
SIDES = st.integers(1, 9)


def laid_out(x: Array, layout: str) -> Array:
    """The same numbers, otherwise in memory; all of these are views or copies a user may have."""
    if layout == "Fortran":
        return np.asfortranarray(x)
    if layout == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    if layout == "every second":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "channels last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "stretched":  # one picture repeated with stride 0, and not writable
        return np.broadcast_to(x[:1], x.shape)
    return np.ascontiguousarray(x)


def numbers(
    shape: tuple[int, ...], dtype: type, seed: int, layout: str = "C", ties: bool = False
) -> Array:
    """Normal numbers; with `ties` whole ones of which many are equal."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, shape) if ties else rng.standard_normal(shape)
    return laid_out(x.astype(dtype), layout)


def close(ours: Array, theirs: Tensor, what: str) -> None:
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape, what
    assert ours.dtype == expected.dtype, what
    error = 1e-10 if ours.dtype == np.float64 else 3e-5
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(ours, expected, rtol=error, atol=error * scale, err_msg=what)


def compare(
    layer: Layer, twin: Twin, x: Array, *, training: bool = True, seed: int = 1, layout: str = "C"
) -> None:
    """One forward and one backward pass: y, dx and every parameter's gradient are torch's.

    What was handed in is left as it was, and a second pass leaves the first one's result alone.
    """
    tensors = {name: torch.tensor(value.copy()) for name, value in layer.params.items()}
    tensors["x"] = torch.tensor(np.array(x, order="C"))
    for tensor in tensors.values():
        tensor.requires_grad_()
    expected = twin(tensors["x"], {k: v for k, v in tensors.items() if k != "x"})
    kept = {name: value.copy() for name, value in {"x": x, **layer.params}.items()}
    y = layer.forward(x, training=training)
    close(y, expected, "y")
    dout = numbers(tuple(expected.shape), x.dtype.type, seed, layout if y.ndim > 1 else "C")
    kept |= {"dout": dout.copy(), "y": y.copy()}
    expected.backward(torch.tensor(np.array(dout, order="C")))
    dx = layer.backward(dout)
    gradients = {"x": dx, **{name: layer.grads[name] for name in layer.params}}
    assert set(layer.grads) == set(layer.params)
    for name, gradient in gradients.items():
        their = tensors[name].grad
        close(gradient, torch.zeros_like(tensors[name]) if their is None else their, f"d{name}")
    again = {name: value.copy() for name, value in gradients.items()}
    layer.forward(np.ones_like(x), training=training)
    layer.backward(np.ones_like(dout))
    for name, value in {"x": x, "dout": dout, "y": y, **layer.params}.items():
        assert np.array_equal(value, kept[name]), f"{name} was changed"
    for name, value in gradients.items():
        assert np.array_equal(value, again[name]), f"d{name} was overwritten by the next pass"


@st.composite
def convolutions(draw: st.DrawFn, *, transposed: bool = False) -> tuple[Layer, Twin, Array, str]:
    """A convolution with its torch twin, an input, and the layout of dout."""
    groups = draw(st.sampled_from((1, 1, 2, 3, 4)))
    in_group, out_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride, dilation = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, 5))
    dtype, seed = draw(DTYPES), draw(SEEDS)
    size = draw(SIDES), draw(SIDES)
    shape = (draw(st.integers(1, 3)), groups * in_group, *size)
    x = numbers(shape, dtype, seed, draw(LAYOUTS))
    first, second = (in_group * groups, out_group) if transposed else (out_group * groups, in_group)
    W = numbers(
        (first, second, *kernel), dtype, seed + 1, draw(LAYOUTS.filter(lambda k: k != "stretched"))
    )
    b = numbers((out_group * groups,), dtype, seed + 2) if draw(st.booleans()) else None
    slide = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    reach = [dilation * (k - 1) + 1 for k in kernel]
    if not transposed:
        assume(all(s + 2 * padding >= r for s, r in zip(size, reach, strict=True)))

        def twin(x: Tensor, p: dict[str, Tensor]) -> Tensor:
            return F.conv2d(x, p["W"], p.get("b"), **slide)

        return Convolution(W, b, **slide), twin, x, draw(LAYOUTS)
    more = draw(st.integers(0, stride - 1))
    # torch wants less than the stride or the dilation, and a size that is left.
    left = [(s - 1) * stride - 2 * padding + r + more for s, r in zip(size, reach, strict=True)]
    assume(min(left) >= 1)

    def twin_back(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        return F.conv_transpose2d(x, p["W"], p.get("b"), output_padding=more, **slide)

    return TransposedConvolution(W, b, output_padding=more, **slide), twin_back, x, draw(LAYOUTS)


@settings(max_examples=150, deadline=None)
@given(convolutions(), SEEDS)
def test_convolution(case: tuple[Layer, Twin, Array, str], seed: int) -> None:
    layer, twin, x, layout = case
    compare(layer, twin, x, seed=seed, layout=layout)


@settings(max_examples=150, deadline=None)
@given(convolutions(transposed=True), SEEDS)
def test_transposed_convolution(case: tuple[Layer, Twin, Array, str], seed: int) -> None:
    layer, twin, x, layout = case
    compare(layer, twin, x, seed=seed, layout=layout)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "weights", "slide"),
    [
        ((1, 1, 1, 1), (1, 1, 1, 1), {}),
        ((1, 1, 1, 1), (2, 1, 3, 3), {"padding": 1}),
        ((2, 3, 7, 5), (3, 1, 3, 3), {"groups": 3, "padding": 2, "dilation": 2}),
        ((2, 3, 7, 5), (6, 1, 1, 1), {"groups": 3, "stride": 4}),
        ((1, 2, 9, 9), (2, 2, 2, 2), {"stride": 5}),
        ((1, 2, 1, 9), (2, 2, 1, 9), {"stride": 7}),
        ((3, 2, 4, 4), (2, 2, 2, 2), {"padding": 6, "dilation": 5}),
        # More columns than a block holds: of one picture, and of several.
        ((3, 16, 40, 40), (8, 16, 5, 5), {"padding": 2}),
        ((70, 8, 12, 12), (4, 8, 3, 3), {"padding": 1}),
        ((2, 64, 30, 70), (4, 16, 7, 7), {"groups": 4, "padding": 3}),
    ],
)
def test_convolution_at_the_edges(
    shape: tuple[int, ...], weights: tuple[int, ...], slide: dict[str, int], dtype: type
) -> None:
    layer = Convolution(numbers(weights, dtype, 1), numbers(weights[:1], dtype, 2), **slide)
    compare(
        layer,
        lambda x, p: F.conv2d(x, p["W"], p["b"], **slide),
        numbers(shape, dtype, 0, "Fortran"),
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda *p: Convolution(p[0], p[1]),
        lambda *p: TransposedConvolution(p[0], p[1]),
        lambda *p: PReLU(p[1]),
        lambda *p: BatchNormalization(p[1], p[1].copy()),
    ],
)
def test_the_dtype_follows_the_input(make: Callable[..., Layer]) -> None:
    for dtype, other in ((np.float32, np.float64), (np.float64, np.float32)):
        layer = make(numbers((2, 2, 2, 2), other, 0), numbers((2,), other, 1))
        y = layer.forward(numbers((3, 2, 4, 4), dtype, 2), training=True)
        assert y.dtype == dtype
        assert layer.backward(np.ones_like(y)).dtype == dtype


def test_an_update_of_the_parameters_in_place_is_seen() -> None:
    layer = Convolution(numbers((2, 1, 3, 3), np.float64, 0), np.zeros(2))
    x = numbers((1, 1, 5, 5), np.float64, 1)
    before = layer.forward(x)
    layer.params["W"] *= 2
    assert np.allclose(layer.forward(x), 2 * before)


@FEW
@given(
    size=st.tuples(SIDES, SIDES),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 3),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    dtype=DTYPES,
    layout=LAYOUTS,
    seed=SEEDS,
)
def test_convolution_by_fft_and_by_winograd(
    size: tuple[int, int],
    channels: tuple[int, int, int],
    padding: int,
    kernel: tuple[int, int],
    dtype: type,
    layout: str,
    seed: int,
) -> None:
    N, C, K = channels
    x = numbers((N, C, *size), dtype, seed, layout)
    for sides, convolve in ((kernel, fft_conv2d), ((3, 3), winograd_conv2d), (kernel, conv2d)):
        if min(s + 2 * padding - k for s, k in zip(size, sides, strict=True)) < 0:
            continue
        W = numbers((K, C, *sides), dtype, seed + 1, "reversed")
        their = F.conv2d(
            torch.tensor(np.array(x, order="C")), torch.tensor(W.copy()), padding=padding
        )
        close(convolve(x, W, padding=padding), their, convolve.__name__)


@FEW
@given(
    size=st.tuples(SIDES, SIDES),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    slide=st.fixed_dictionaries(
        {"stride": st.integers(1, 5), "padding": st.integers(0, 4), "dilation": st.integers(1, 3)}
    ),
    dtype=DTYPES,
    layout=LAYOUTS,
    seed=SEEDS,
)
def test_unfolding_and_folding(
    size: tuple[int, int],
    kernel: tuple[int, int],
    slide: dict[str, int],
    dtype: type,
    layout: str,
    seed: int,
) -> None:
    reach = [slide["dilation"] * (k - 1) + 1 for k in kernel]
    assume(all(s + 2 * slide["padding"] >= r for s, r in zip(size, reach, strict=True)))
    x = numbers((2, 3, *size), dtype, seed, layout)
    columns = F.unfold(torch.tensor(np.array(x, order="C")), kernel, **slide)
    close(im2col(x, kernel, **slide), columns, "columns")
    back = numbers(tuple(columns.shape), dtype, seed + 1, layout)
    their = F.fold(torch.tensor(np.array(back, order="C")), size, kernel, **slide)
    close(col2im(back, size, kernel, **slide), their, "picture")


@settings(max_examples=120, deadline=None)
@given(
    pool=st.sampled_from((MaxPooling, AveragePooling)),
    window=st.integers(1, 5),
    stride=st.one_of(st.none(), st.integers(1, 7)),
    padding=st.integers(0, 2),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), SIDES, SIDES),
    dtype=DTYPES,
    layouts=st.tuples(LAYOUTS, LAYOUTS),
    ties=st.booleans(),
    shift=st.sampled_from((0.0, -100.0)),
    seed=SEEDS,
)
def test_pooling(
    pool: type,
    window: int,
    stride: int | None,
    padding: int,
    shape: tuple[int, int, int, int],
    dtype: type,
    layouts: tuple[str, str],
    ties: bool,
    shift: float,
    seed: int,
) -> None:
    assume(2 * padding <= window <= min(shape[2:]) + 2 * padding)
    x = numbers(shape, dtype, seed, ties=ties) + dtype(shift)
    function = F.max_pool2d if pool is MaxPooling else F.avg_pool2d
    compare(
        pool(window, stride=stride, padding=padding),
        lambda x, _: function(x, window, stride, padding),
        laid_out(x, layouts[0]),
        seed=seed + 1,
        layout=layouts[1],
    )


@FEW
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), DTYPES, LAYOUTS, LAYOUTS, SEEDS)
def test_affine(N: int, D: int, M: int, dtype: type, layout: str, other: str, seed: int) -> None:
    W = numbers((D, M), dtype, seed, "every second")
    compare(
        Affine(W, numbers((M,), dtype, seed + 1)),
        lambda x, p: x @ p["W"] + p["b"],
        numbers((N, D), dtype, seed + 2, layout),
        layout=other,
    )


@FEW
@given(st.tuples(st.integers(1, 3), st.integers(1, 4), SIDES, SIDES), DTYPES, LAYOUTS, LAYOUTS)
def test_flatten(shape: tuple[int, ...], dtype: type, layout: str, other: str) -> None:
    compare(Flatten(), lambda x, _: x.flatten(1), numbers(shape, dtype, 0, layout), layout=other)


ACTIVATIONS: dict[str, tuple[Callable[[], Layer], Callable[[Tensor], Tensor]]] = {
    "sigmoid": (Sigmoid, torch.sigmoid),
    "tanh": (Tanh, torch.tanh),
    "relu": (ReLU, F.relu),
    "leaky": (lambda: LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2)),
    "leaky negative": (lambda: LeakyReLU(-0.3), lambda x: F.leaky_relu(x, -0.3)),
    "elu": (lambda: ELU(1.7), lambda x: F.elu(x, 1.7)),
    "softmax": (Softmax, lambda x: torch.softmax(x, 1)),
    "maxout 1": (lambda: Maxout(1), lambda x: x),
    "maxout 3": (lambda: Maxout(3), lambda x: x.unflatten(1, (-1, 3)).amax(2)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@settings(max_examples=25, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 4), st.integers(1, 3).map(lambda m: 3 * m)),
        st.tuples(st.integers(1, 2), st.just(6), SIDES, SIDES),
    ),
    scale=st.sampled_from((1e-6, 1.0, 30.0, 1e4)),
    dtype=DTYPES,
    layouts=st.tuples(LAYOUTS, LAYOUTS),
    seed=SEEDS,
)
def test_activations(
    name: str,
    shape: tuple[int, ...],
    scale: float,
    dtype: type,
    layouts: tuple[str, str],
    seed: int,
) -> None:
    ours, theirs = ACTIVATIONS[name]
    x = numbers(shape, dtype, seed) * dtype(scale)
    compare(ours(), lambda x, _: theirs(x), laid_out(x, layouts[0]), seed=seed, layout=layouts[1])


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_of_extreme_numbers(name: str, dtype: type) -> None:
    limit = float(np.finfo(dtype).max) / 4
    x = np.array([[0.0, -0.0, 1000.0], [-1000.0, limit, -limit], [100.0, 88.0, -88.0]], dtype)
    ours, theirs = ACTIVATIONS[name]
    layer = ours()
    close(layer.forward(x), theirs(torch.tensor(x)), "y")
    assert np.isfinite(layer.backward(np.ones_like(layer.forward(x)))).all()


def test_of_equal_pieces_maxout_sends_the_gradient_to_the_first() -> None:
    layer = Maxout(2)
    layer.forward(np.array([[3.0, 3.0, 1.0, 2.0]]))
    assert layer.backward(np.array([[5.0, 7.0]])).tolist() == [[5.0, 0.0, 0.0, 7.0]]


@FEW
@given(
    channels=st.integers(1, 4),
    shared=st.booleans(),
    size=st.one_of(st.just(()), st.tuples(SIDES, SIDES)),
    dtype=DTYPES,
    layouts=st.tuples(LAYOUTS, LAYOUTS),
    seed=SEEDS,
)
def test_prelu(
    channels: int,
    shared: bool,
    size: tuple[int, ...],
    dtype: type,
    layouts: tuple[str, str],
    seed: int,
) -> None:
    compare(
        PReLU(numbers((1 if shared else channels,), dtype, seed)),
        lambda x, p: F.prelu(x, p["a"]),
        numbers((2, channels, *size), dtype, seed + 1, layouts[0]),
        layout=layouts[1],
    )


@settings(max_examples=80, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 5), st.integers(1, 4)),
        st.tuples(st.integers(1, 3), st.integers(1, 4), SIDES, SIDES),
    ),
    training=st.booleans(),
    momentum=st.sampled_from((0.0, 0.1, 0.9, 1.0)),
    eps=st.sampled_from((1e-5, 1e-3, 1.0)),
    shift=st.sampled_from((0.0, 50.0)),
    dtype=DTYPES,
    layouts=st.tuples(LAYOUTS, LAYOUTS),
    seed=SEEDS,
)
def test_batch_normalization(
    shape: tuple[int, ...],
    training: bool,
    momentum: float,
    eps: float,
    shift: float,
    dtype: type,
    layouts: tuple[str, str],
    seed: int,
) -> None:
    assume(np.prod(shape) // shape[1] > 1)
    # Rounding is divided by √(σ² + ε): pictures that are all alike make it large in float32.
    assume(dtype is np.float64 or (shift == 0.0 and "stretched" not in layouts[:1]))
    C = shape[1]
    layer = BatchNormalization(
        numbers((C,), dtype, seed), numbers((C,), dtype, seed + 1), momentum=momentum, eps=eps
    )
    x = laid_out(numbers(shape, dtype, seed + 2) + dtype(shift), layouts[0])
    mean, var = torch.zeros(C, dtype=torch.tensor(x[:1].copy()).dtype), None
    var = torch.ones_like(mean)
    if not training:  # statistics of other pictures
        layer.forward(numbers((7, *shape[1:]), dtype, seed + 3), training=True)
        mean, var = (torch.tensor(v.copy()) for v in (layer.running_mean, layer.running_var))
    statistics = mean.clone(), var.clone()
    expected = F.batch_norm(
        torch.tensor(np.array(x, order="C")), *statistics, None, None, training, momentum, eps
    )
    assert expected.shape == shape
    layer.forward(x, training=training)
    close(layer.running_mean, statistics[0], "running_mean")
    close(layer.running_var, statistics[1], "running_var")
    compare(
        layer,
        lambda x, p: F.batch_norm(
            x, mean.clone(), var.clone(), p["gamma"], p["beta"], training, momentum, eps
        ),
        x,
        training=training,
        layout=layouts[1],
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_a_channel_without_variance_is_its_shift(value: float) -> None:
    layer = BatchNormalization(np.full(3, 2.0), np.array([1.0, -1.0, 0.0]))
    x = np.full((4, 3, 2, 2), value)
    assert layer.forward(x, training=True).transpose(1, 0, 2, 3).reshape(3, -1).tolist() == [
        [1.0] * 16,
        [-1.0] * 16,
        [0.0] * 16,
    ]
    assert np.isfinite(layer.backward(np.ones(x.shape))).all()


def test_a_batch_of_one_picture_is_normalized_over_its_pixels() -> None:
    layer = BatchNormalization(np.ones(2), np.zeros(2))
    compare(
        layer,
        lambda x, p: F.batch_norm(x, None, None, p["gamma"], p["beta"], True),
        numbers((1, 2, 3, 3), np.float64, 0),
    )


@FEW
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 3), st.integers(1, 9)),
        st.tuples(st.integers(1, 2), st.integers(1, 9), SIDES, SIDES),
    ),
    size=st.sampled_from((1, 3, 5, 7, 21)),
    constants=st.tuples(st.floats(1e-4, 2.0), st.floats(0.1, 2.0), st.floats(0.5, 3.0)),
    dtype=DTYPES,
    layouts=st.tuples(LAYOUTS, LAYOUTS),
    seed=SEEDS,
)
def test_local_response_norm(
    shape: tuple[int, ...],
    size: int,
    constants: tuple[float, float, float],
    dtype: type,
    layouts: tuple[str, str],
    seed: int,
) -> None:
    alpha, beta, k = constants

    def twin(x: Tensor, _: dict[str, Tensor]) -> Tensor:
        volume = x if x.ndim > 2 else x[..., None]  # torch needs an axis behind the channels
        return F.local_response_norm(volume, size, alpha * size, beta, k).reshape(x.shape)

    compare(
        LocalResponseNorm(size, alpha=alpha, beta=beta, k=k),
        twin,
        numbers(shape, dtype, seed, layouts[0]),
        layout=layouts[1],
    )


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_drops_its_share_and_keeps_the_expectation(dtype: type, paper: bool) -> None:
    layer = Dropout(0.3, rng=np.random.default_rng(0), paper=paper)
    x = laid_out(np.full((200, 500), 2.0, dtype), "Fortran")
    y = layer.forward(x, training=True)
    kept = 2.0 if paper else 2.0 / 0.7
    assert y.dtype == dtype
    assert np.isclose(y[y != 0], kept).all()
    # 100,000 draws: the share strays by √(0.3·0.7/1e5) = 0.0014; four times that is allowed.
    assert abs((y == 0).mean() - 0.3) < 0.006
    assert np.allclose(layer.backward(np.ones_like(x)), y / 2.0)
    assert not np.array_equal(y, layer.forward(x, training=True))
    test = layer.forward(x)
    assert np.allclose(test, 1.4 if paper else 2.0)
    assert np.allclose(layer.backward(np.ones_like(x)), 0.7 if paper else 1.0)


@FEW
@given(
    N=st.integers(1, 5),
    K=st.integers(2, 7),
    scale=st.sampled_from((1e-3, 1.0, 100.0, 1e6)),
    one_hot=st.booleans(),
    label_dtype=st.sampled_from((np.uint8, np.int32, np.int64)),
    dtype=DTYPES,
    layout=LAYOUTS,
    seed=SEEDS,
)
def test_losses(
    N: int,
    K: int,
    scale: float,
    one_hot: bool,
    label_dtype: type,
    dtype: type,
    layout: str,
    seed: int,
) -> None:
    scores = laid_out(numbers((N, K), dtype, seed) * dtype(scale), layout)
    labels = np.random.default_rng(seed).integers(0, K, N).astype(label_dtype)
    t = np.eye(K, dtype=label_dtype)[labels] if one_hot else labels
    tensor, index = torch.tensor(np.array(scores, order="C")), torch.tensor(labels.astype(np.int64))
    target = F.one_hot(index, K).to(tensor.dtype)
    for loss, their in (
        (SoftmaxWithLoss(), lambda s: F.cross_entropy(s, index)),
        (SVMLoss(), lambda s: K * F.multi_margin_loss(s, index)),
        (SVMLoss(2.5), lambda s: K * F.multi_margin_loss(s, index, margin=2.5)),
        (SquaredError(), lambda s: F.mse_loss(s, target, reduction="sum") / (2 * N)),
    ):
        s = tensor.clone().requires_grad_()
        expected = their(s)
        expected.backward()
        value = loss.forward(scores, t)
        assert isinstance(value, float)
        assert value == pytest.approx(expected.item(), rel=1e-10 if dtype is np.float64 else 3e-5)
        close(loss.backward(), s.grad, type(loss).__name__)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_softmax_loss_of_huge_scores_is_exact(dtype: type) -> None:
    loss, scores = SoftmaxWithLoss(), np.array([[1e30, 0.0, -1e30], [1e4, 1e4, 1e4]], dtype)
    assert loss.forward(scores, np.array([0, 1])) == pytest.approx(np.log(3) / 2, rel=1e-6)
    assert loss.forward(scores, np.array([2, 1])) == pytest.approx(1e30, rel=1e-6)
    assert np.allclose(loss.backward(), np.array([[1, 0, -1], [1 / 3, -2 / 3, 1 / 3]]) / 2)
