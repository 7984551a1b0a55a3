"""Windows against PyTorch's own operations, in float64."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convolens.analysis.explanation import Explanation, explain_unit

MODES = ("zeros", "reflect", "replicate", "circular")
sides = st.integers(5, 9)


def one_of(draw: Any, output: Tensor) -> tuple[int, ...]:
    return tuple(draw(st.integers(0, n - 1)) for n in output.shape[1:])


def checked(draw: Any, layer: nn.Module, x: Tensor) -> Explanation:
    """The explanation of a random unit, whose terms add up to PyTorch's value."""
    net = nn.Sequential(layer.double()).requires_grad_(False)
    unit = one_of(draw, net(x))
    found = explain_unit(net, x, "0", unit)
    value = float(net(x)[(0, *unit)])
    summed = sum(term.product for term in found.terms) + (found.bias or 0.0)
    scale = max(1.0, sum(abs(term.product) for term in found.terms))
    assert found.explained
    assert abs(summed - value) <= 1e-12 * scale
    assert abs(found.computed - value) <= 1e-12 * scale
    assert found.network == value
    return found


@st.composite
def pictures(draw: Any, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    size = (1, channels, draw(sides), draw(sides))
    return torch.randn(size, generator=generator, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_convolution(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from([1, 2, 4]))
    mode = draw(st.sampled_from(MODES))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    layer = nn.Conv2d(
        4,
        4 * draw(st.integers(1, 2)),
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        padding=padding,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    x = draw(pictures(4))
    found = checked(draw, layer, x)
    assert found.operation.startswith("convolution")
    height, width = x.shape[2:]
    for term in found.terms:
        c, y, x_ = term.place
        outside = not (0 <= y < height and 0 <= x_ < width)
        assert term.padded == outside
        if not outside:
            assert term.unit == (c, y, x_)
            assert term.value == float(x[0, c, y, x_])
        elif mode == "zeros":
            assert (term.value, term.source, term.unit) == (0.0, "", ())
        else:  # of the picture, from another place
            assert term.value == float(x[(0, *term.unit)])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_transposed_convolution(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from([1, 2]))
    stride = draw(st.integers(1, 3))
    layer = nn.ConvTranspose2d(
        4,
        2 * draw(st.integers(1, 2)),
        draw(st.integers(2, 4)),
        stride=stride,
        padding=draw(st.integers(0, 1)),
        output_padding=draw(st.integers(0, stride - 1)),
        dilation=draw(st.integers(1, 2)) if stride == 1 else 1,
        groups=groups,
        bias=draw(st.booleans()),
    )
    x = draw(pictures(4))
    found = checked(draw, layer, x)
    assert not any(term.padded for term in found.terms)
    assert all(term.value == float(x[(0, *term.unit)]) for term in found.terms)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_average_pool(data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.integers(2, 4))
    layer = nn.AvgPool2d(
        kernel,
        stride=draw(st.integers(1, 3)),
        padding=draw(st.integers(0, kernel // 2)),
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
        divisor_override=draw(st.sampled_from([None, 3])),
    )
    checked(draw, layer, draw(pictures(2)))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_max_pool_and_its_winner(data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.integers(2, 4))
    options = {
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, kernel // 2)),
        "dilation": draw(st.integers(1, 2)) if kernel < 4 else 1,
        "ceil_mode": draw(st.booleans()),
    }
    x = draw(pictures(2))
    found = checked(draw, nn.MaxPool2d(kernel, **options), x)
    _, winners = nn.MaxPool2d(kernel, return_indices=True, **options)(x)
    (winner,) = [term for term in found.terms if term.weight == 1.0]
    _, y, x_ = winner.unit
    assert y * x.shape[3] + x_ == int(winners[(0, *found.unit)])
    assert all(term.product == 0.0 for term in found.terms if term is not winner)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_adaptive_pool(data: st.DataObject) -> None:
    draw = data.draw
    size = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    kind = draw(st.sampled_from([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d]))
    checked(draw, kind(size), draw(pictures(2)))


def test_one_and_three_axes() -> None:
    torch.manual_seed(0)
    for layer, size in (
        (nn.Conv1d(2, 3, 3, padding=1, stride=2), (1, 2, 9)),
        (nn.MaxPool1d(2), (1, 2, 9)),
        (nn.AvgPool1d(3, padding=1), (1, 2, 9)),
        (nn.Conv3d(2, 3, 2, padding=1), (1, 2, 4, 4, 4)),
        (nn.MaxPool3d(2), (1, 2, 4, 4, 4)),
    ):
        x = torch.randn(size, dtype=torch.float64)
        net = nn.Sequential(layer.double()).requires_grad_(False)
        unit = tuple(n // 2 for n in net(x).shape[1:])
        found = explain_unit(net, x, "0", unit)
        assert abs(found.computed - float(net(x)[(0, *unit)])) < 1e-12
        assert len(found.terms) > 1
