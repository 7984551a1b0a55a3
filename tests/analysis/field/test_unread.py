"""Pixels that no window reads, against a count by hand and by brute force."""

from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import assume, given, settings
from torch import nn

from convolens.analysis.field import unread
from convolens.analysis.summarize import summarize
from convolens.models.registry import find_model


@settings(deadline=None, max_examples=80)
@given(
    size=st.tuples(st.integers(4, 14), st.integers(4, 14)),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 5),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
def test_as_many_as_a_gradient_leaves_out(
    size: tuple[int, int], kernel: int, stride: int, padding: int, dilation: int
) -> None:
    assume(min(size) + 2 * padding > dilation * (kernel - 1))
    net = nn.Conv2d(1, 1, kernel, stride, padding, dilation)
    nn.init.ones_(net.weight)
    x = torch.zeros(1, 1, *size, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    left = int((x.grad == 0).sum())
    found = unread(summarize(net, (1, *size)).trace)
    assert sum(layer.pixels for layer in found) == left
    if found:
        assert found[0].rows == int((x.grad == 0).all(3).sum()) or found[0].cols == size[1]


def test_alexnet_at_224_leaves_a_row_and_a_column_and_at_227_none() -> None:
    entry = find_model("alexnet")
    for side, expected in ((227, []), (224, [("conv1", 1, 1, 2 * 224 - 1)])):
        net: Any = nn.Sequential()
        net.add_module("conv1", nn.Conv2d(3, 96, 11, 4))
        found = unread(summarize(net, (3, side, side)).trace)
        assert [(u.place, u.rows, u.cols, u.pixels) for u in found] == expected
    with torch.device("meta"):
        whole = entry.builder()
    assert unread(summarize(whole, entry.input_size).trace) == ()


def test_a_projection_of_resnet_reads_one_pixel_of_four() -> None:
    with torch.device("meta"):
        net = find_model("resnet18").builder()
    found = {u.place: u for u in unread(summarize(net, (3, 224, 224)).trace)}
    projection = found["layer2.0.downsample.0"]
    assert (projection.size, projection.rows, projection.pixels) == ((56, 56), 28, 56 * 56 * 3 // 4)


def test_a_transposed_convolution_and_one_axis() -> None:
    assert unread(summarize(nn.ConvTranspose2d(1, 1, 1, 2), (1, 5, 5)).trace) == ()
    (layer,) = unread(summarize(nn.AvgPool1d(2), (1, 7)).trace)
    assert (layer.rows, layer.cols, layer.pixels) == (0, 1, 1)
