"""Counts against loops that multiply, and against PyTorch's own counter."""

import itertools
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convolens.analysis.summarize import Graph, summarize

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class Calls(nn.Module):
    def __init__(self, function, **parameters: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in parameters.items():
            self.register_parameter(name, nn.Parameter(tensor))

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)


def taps(length: int, kernel: int, stride: int, padding: int, dilation: int) -> list[int]:
    """Positions that each window of a convolution reads along an axis, padding included."""
    starts = range(-padding, length + padding - dilation * (kernel - 1), stride)
    return [start + dilation * tap for start in starts for tap in range(kernel)]


@st.composite
def convolutions(draw) -> tuple[nn.Module, tuple[int, ...], int]:
    """A convolution, its input, and the products that loops over its definition count."""
    axes = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    ins, outs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    each = st.tuples(*[st.integers(1, 3)] * axes)
    kernel, stride, dilation = draw(each), draw(each), draw(each)
    padding = draw(st.tuples(*[st.integers(0, 2)] * axes))
    size = tuple(
        [d * (k - 1) + draw(st.integers(1, 4)) for k, d in zip(kernel, dilation, strict=True)]
    )
    batch_free = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if draw(st.booleans()):
        layer = TRANSPOSED[axes](ins, outs, kernel, **batch_free)
        sides = zip(size, stride, padding, dilation, kernel, strict=True)
        if any((n - 1) * s - 2 * p + d * (k - 1) + 1 < 1 for n, s, p, d, k in sides):
            padding = (0,) * axes
            layer = TRANSPOSED[axes](ins, outs, kernel, **{**batch_free, "padding": padding})
        # Every number that is read is multiplied by each weight that leads from its channel.
        products = sum(
            1
            for _ in itertools.product(
                range(ins), *map(range, size), range(outs // groups), *map(range, kernel)
            )
        )
    else:
        layer = CONVOLUTIONS[axes](ins, outs, kernel, **batch_free)
        positions = [
            taps(n, k, s, p, d)
            for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
        ]
        products = sum(1 for _ in itertools.product(range(outs), range(ins // groups), *positions))
    return layer, (ins, *size), products


@settings(deadline=None, max_examples=50)
@given(case=convolutions(), batch=st.integers(1, 2))
def test_every_kind_of_convolution(case: tuple, batch: int) -> None:
    layer, size, products = case
    graph = summarize(layer, size, batch=batch)
    outputs = prod(layer(torch.zeros(batch, *size)).shape)
    assert graph.totals.macs == products * batch
    assert graph.totals.flops == 2 * products * batch + outputs  # one sum with a bias for each
    assert graph.totals.params == sum(p.numel() for p in layer.parameters())
    assert graph.rows[0].output == tuple(layer(torch.zeros(batch, *size)).shape[1:])


@settings(deadline=None, max_examples=15)
@given(sizes=st.tuples(*[st.integers(2, 5)] * 4))  # einsum does without products for a side of 1
def test_every_kind_of_matrix_product(sizes: tuple[int, int, int, int]) -> None:
    n, m, k, batch = sizes
    a, b = torch.zeros(batch, n, k), torch.zeros(batch, k, m)
    for function in (
        lambda _, x, y: x @ y,
        lambda _, x, y: torch.bmm(x, y),
        lambda _, x, y: torch.einsum("bnk,bkm->bnm", x, y),
        lambda _, x, y: torch.einsum("bnk,bkm->bmn", x, y),
        lambda _, x, y: torch.baddbmm(torch.zeros(batch, n, m), x, y),
    ):
        assert summarize(Calls(function), inputs=(a, b)).totals.macs == batch * n * k * m
    shared = b[0]
    for function in (
        lambda _, x, y: x @ y,
        lambda _, x, y: torch.tensordot(x, y, dims=1),
        lambda _, x, y: F.linear(x, y.t()),
        lambda _, x, y: torch.einsum("bnk,km->bnm", x, y),
    ):
        assert summarize(Calls(function), inputs=(a, shared)).totals.macs == batch * n * k * m
    vector = summarize(Calls(lambda _, x, y: x @ y), inputs=(a[0], b[0, :, 0]))
    assert vector.totals.macs == n * k


def flops_by_torch(net: nn.Module, *inputs: Tensor) -> int:
    """Twice the products: PyTorch's counter knows no biases, nor attention in evaluation mode."""
    with FlopCounterMode(display=False) as counter:
        net.train()(*inputs)
    return counter.get_total_flops()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in self.heads())
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def heads(self) -> tuple[nn.Module, ...]:
        return self.query, self.key, self.value


NETWORKS = {
    "attention": (Attention(), (6, 8)),
    "transformer": (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (6, 8)),
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, groups=1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        ),
        (3, 9, 9),
    ),
    "bilinear": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2)), (3, 5, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("on_meta", [True, False], ids=["meta", "real"])
def test_pytorchs_own_counter_agrees(name: str, on_meta: bool) -> None:
    net, size = NETWORKS[name]
    if on_meta:
        macs = summarize(net, size, batch=2).totals.macs
    else:
        real = Calls(lambda self, x: self.net(x) + 0 * x.sum().item())
        real.add_module("net", net)
        graph = summarize(real, size, batch=2)
        assert graph.ran == "real"
        macs = graph.totals.macs
    assert 2 * macs == flops_by_torch(net, torch.rand(2, *size))


def test_a_recurrent_network() -> None:
    """Four gates, each a product with the input and one with the state, for every step."""
    graph = summarize(nn.LSTM(5, 7, batch_first=True), (4, 5))
    assert graph.totals.macs == 4 * (4 * 7 * 5 + 4 * 7 * 7)
    assert graph.totals.params == 4 * 7 * (5 + 7 + 1 + 1)


def flops(net: nn.Module, *size: int) -> Graph:
    return summarize(net, size)


@pytest.mark.parametrize(
    ("net", "size", "expected"),
    [
        (nn.ReLU(), (3, 4, 4), 48),
        (nn.MaxPool2d(3, 2), (2, 7, 7), 2 * 9 * 8),
        (nn.AvgPool2d(2), (2, 8, 8), 2 * 16 * 4),
        (nn.AdaptiveAvgPool2d(3), (1, 7, 7), (3 + 3 + 3) ** 2),  # 0…2, 2…4, 4…6
        (nn.AdaptiveAvgPool2d(1), (4, 5, 5), 100),
        (nn.BatchNorm2d(3), (3, 4, 4), 96),
        (nn.LayerNorm(8), (3, 8), 8 * 24),
        (nn.Softmax(1), (10,), 50),
        (nn.Flatten(), (3, 4, 4), 0),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 2), 7 * 16),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_other_operations(net: nn.Module, size: tuple[int, ...], expected: int) -> None:
    graph = summarize(net, size)
    assert (graph.totals.macs, graph.totals.flops) == (0, expected)
    assert graph.uncounted == ()


def test_whole_numbers_cost_nothing() -> None:
    graph = summarize(
        Calls(lambda _, x: torch.arange(9) + 3 * torch.ones(9, dtype=torch.int64)), (3,)
    )
    assert graph.totals.flops == 0


class Splitting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.unsafe_split(x, 2, 1)
        third, fourth = torch.unsafe_split_with_sizes(x, (1, 3), 1)
        return torch.cat((first, second, third, fourth), 1)


def test_splitting_costs_nothing() -> None:
    graph = summarize(Splitting(), (4, 5))
    assert (graph.totals.flops, graph.uncounted) == (0, ())


def test_what_is_not_known_is_listed_with_its_place() -> None:
    net = nn.Sequential(nn.Identity(), Calls(lambda _, x: torch.special.erfcx(torch.erfinv(x))))
    graph = summarize(net, (5,), batch=2)
    assert [(u.name, u.times, u.place) for u in graph.uncounted] == [
        ("aten.erfinv", 1, "1"),
        ("aten.special_erfcx", 1, "1"),
    ]


def test_complex_numbers_are_listed_not_silently_free() -> None:
    graph = summarize(Calls(lambda _, x: torch.fft.ifft(torch.fft.fft(x) * 2).real), (8,))
    names = {u.name for u in graph.uncounted}
    assert {"aten._fft_r2c", "aten._fft_c2c", "aten.mul"} <= names


@torch.library.custom_op("convolens_test::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return 2 * x


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_operation_of_somebody_elses() -> None:
    graph = summarize(Calls(lambda _, x: twice(twice(x))), (5,))
    assert [(u.name, u.times) for u in graph.uncounted] == [("convolens_test.twice", 2)]
