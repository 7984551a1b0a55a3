"""Every unit of small random networks against the extent of its gradient."""

from functools import partial
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from convolens.analysis.field import fields_of
from convolens.analysis.summarize import summarize

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
ADAPTIVE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
ADAPTIVE_MAX = {2: F.adaptive_max_pool2d}
MAX_UNITS = 300


class Program(nn.Module):
    """A network of steps; each reads earlier tensors by their number and makes one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.steps: list[tuple[Any, tuple[int, ...]]] = []

    def add(self, step: Any, *reads: int) -> None:
        if isinstance(step, nn.Module):
            self.layers.append(step)
        self.steps.append((step, reads))

    def __repr__(self) -> str:
        return f"{[(step, reads) for step, reads in self.steps]}"

    def forward(self, x: Tensor) -> Tensor:
        tensors = [x]
        for step, reads in self.steps:
            tensors.append(step(*[tensors[number] for number in reads]))
        return tensors[-1] * 1.0


def kernel_that_fits(draw: Any, size: int, padding: int = 0) -> tuple[int, int]:
    """A kernel and a dilation that fit into the smallest axis."""
    kernel = draw(st.integers(1, min(3, size + 2 * padding)))
    room = (size + 2 * padding - 1) // (kernel - 1) if kernel > 1 else 3
    return kernel, draw(st.integers(1, min(3, room)))


def convolution(draw: Any, x: Tensor) -> Any:
    axes, channels, side = x.dim() - 2, x.shape[1], min(x.shape[2:])
    padding = draw(st.integers(0, 2))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    padding = min(padding, side - 1) if mode != "zeros" else padding
    kernel, dilation = kernel_that_fits(draw, side, padding)
    groups = draw(st.sampled_from([g for g in (1, 1, 2, channels) if channels % g == 0]))
    out = groups * draw(st.integers(1, max(1, 4 // groups)))
    return CONV[axes](
        *(channels, out, kernel),
        stride=draw(st.integers(1, 3)),
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
    )


def transposed(draw: Any, x: Tensor) -> Any:
    axes, channels = x.dim() - 2, x.shape[1]
    stride = draw(st.integers(1, 3))
    kernel = draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2))
    padding = draw(st.integers(0, min(1, kernel - 1)))
    groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
    return TRANSPOSED[axes](
        *(channels, 2 * groups, kernel),
        stride=stride,
        padding=padding,
        output_padding=draw(st.integers(0, max(stride, dilation) - 1)),
        groups=groups,
        dilation=dilation,
    )


def pooling(draw: Any, x: Tensor) -> Any:
    axes, side = x.dim() - 2, min(x.shape[2:])
    kernel = draw(st.integers(1, min(3, side)))
    padding, ceil = draw(st.integers(0, kernel // 2)), draw(st.booleans())
    stride = draw(st.integers(1, 3))
    if draw(st.booleans()):
        return AVG_POOL[axes](kernel, stride, padding, ceil)
    dilation = draw(st.integers(1, max(1, (side - 1) // max(kernel - 1, 1))))
    return MAX_POOL[axes](kernel, stride, padding, min(dilation, 2), ceil_mode=ceil)


def adaptive(draw: Any, x: Tensor) -> Any:
    axes = x.dim() - 2
    size = [draw(st.integers(1, 5)) for _ in range(axes)]
    pool = draw(st.sampled_from([ADAPTIVE[axes], ADAPTIVE_MAX.get(axes, ADAPTIVE[axes])]))
    return partial(pool, output_size=size)


def interpolation(draw: Any, x: Tensor) -> Any:
    axes = x.dim() - 2
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[axes]
    modes = ["nearest", "nearest-exact", linear, *(["bicubic"] if axes == 2 else [])]
    mode = draw(st.sampled_from(modes))
    smooth = mode not in ("nearest", "nearest-exact")
    corners = draw(st.booleans()) if smooth else None
    # PyTorch 2.15 gives all rows the weights of row 0 where the map is one column wide.
    antialias = axes == 2 and smooth and min(x.shape[2:]) > 3 and draw(st.booleans())
    how = {"mode": mode, "align_corners": corners, "antialias": antialias}
    if draw(st.booleans()):
        return partial(F.interpolate, size=[draw(st.integers(2, 9)) for _ in range(axes)], **how)
    scale = draw(st.sampled_from([0.5, 1.5, 2.0, 1.3]))
    scale = 2.0 if min(x.shape[2:]) * scale < 1 else scale
    again = draw(st.booleans()) and not antialias
    return partial(F.interpolate, scale_factor=scale, recompute_scale_factor=again, **how)


def padding(draw: Any, x: Tensor) -> Any:
    axes, side = x.dim() - 2, min(x.shape[2:])
    mode = draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    least = -((side - 1) // 2) if mode == "constant" else 0
    most = 2 if mode == "constant" else min(2, side - 1)
    pads = [draw(st.integers(least, most)) for _ in range(2 * axes)]
    return partial(F.pad, pad=pads, mode=mode)


def move(draw: Any, x: Tensor) -> Any:
    """Crops, flips, rolls, turns, shuffles and reshapes."""
    rank, last = x.dim(), x.shape[-1]
    channels = x.shape[1]
    first, step = draw(st.integers(0, last - 1)), draw(st.integers(1, 2))
    axis = draw(st.integers(1, rank - 1))
    shift = draw(st.integers(-3, 3))
    choices: list[Any] = [
        lambda x: x[..., first::step],
        lambda x: x.flip(axis),
        lambda x: x.roll(shift, axis),
        lambda x: x.roll(shift),
        lambda x: x.transpose(-1, axis),
        lambda x: torch.cat([x[:, channels // 2 :], x[:, : channels // 2]], 1),
        lambda x: x.cumsum(axis),
        lambda x: x.repeat(1, 2, *[1] * (rank - 2)),
    ]
    if rank == 4:
        choices += [
            lambda x: torch.rot90(x, shift, (2, 3)),
            lambda x: x[:, :, first % x.shape[2] :],
        ]
        if channels % 4 == 0:
            choices.append(lambda x: F.pixel_shuffle(x, 2))
        if x.shape[2] % 2 == 0 and last % 2 == 0 and channels <= 2:
            choices.append(lambda x: F.pixel_unshuffle(x, 2))
        choices.append(lambda x: F.fold(F.unfold(x, 3, 1, 2, 2), x.shape[2:], 3, 1, 2, 2))
        choices.append(lambda x: F.unfold(x, 2, padding=1).unflatten(1, (channels, 4))[:, :, 0])
    if channels % 2 == 0:
        choices.append(lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))
        choices.append(lambda x: x.chunk(2, 1)[1])
    return draw(st.sampled_from(choices))


def overwriting(draw: Any, x: Tensor) -> Any:
    """Writes a part of a tensor over."""
    last = x.shape[-1]
    first = draw(st.integers(0, last - 1))

    def rows(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :, : x.shape[2] // 2] = 0.0
        return y

    def columns(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y[..., first:] = x[..., : last - first]
        return y

    def single(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 0, ..., first] = x[:, -1, ..., 0]
        return y

    return draw(st.sampled_from([rows, columns, single]))


def mixing(draw: Any, x: Tensor) -> Any:
    """Norms, sums and gates over positions or channels."""
    channels = x.shape[1]
    space = tuple(range(2, x.dim()))
    choices: list[Any] = [
        lambda x: (x + 1.0) * x.mean(space, keepdim=True),
        lambda x: x + x.sum(1, keepdim=True),
        lambda x: F.relu(x),
        lambda x: x.mean(-1, keepdim=True),
        lambda x: F.softmax(x, 1),
        lambda x: F.linear(x.movedim(1, -1), x.new_ones(2, channels)).movedim(-1, 1),
    ]
    # Along an axis of one element these norms are constant, whatever they read.
    if x[0, 0].numel() > 2:
        choices += [nn.InstanceNorm2d(channels)] if x.dim() == 4 else []
        choices.append(nn.GroupNorm(1, channels))
    choices.append({3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.dim()](channels))
    return draw(st.sampled_from(choices))


KINDS = [convolution, convolution, convolution, transposed, pooling, adaptive, interpolation]
KINDS += [padding, move, move, overwriting, mixing]


@st.composite
def programs(draw: Any, axes: int) -> tuple[Program, tuple[int, ...]]:
    """A network of a few steps with branches, and the shape of its input."""
    side = {1: 14, 2: 8, 3: 4}[axes]
    shape = (1, draw(st.integers(1, 4)), *[draw(st.integers(side // 2, side)) for _ in range(axes)])
    program = Program()
    tensors = [torch.empty(shape)]
    for _ in range(draw(st.integers(1, 5))):
        read = draw(st.sampled_from([len(tensors) - 1, draw(st.integers(0, len(tensors) - 1))]))
        x = tensors[read]
        step = draw(st.sampled_from(KINDS))(draw, x)
        try:
            y = step(x)
        except (RuntimeError, ValueError):
            continue
        if y.dim() != axes + 2 or not 0 < y.numel() <= MAX_UNITS or y[0, 0].numel() < 1:
            continue
        program.add(step, read)
        tensors.append(y)
        joins(draw, program, tensors)
    return program, shape


def joins(draw: Any, program: Program, tensors: list[Tensor]) -> None:
    """Sometimes adds the last tensor to an earlier one, or joins their channels."""
    y = tensors[-1]
    others = [number for number, x in enumerate(tensors[:-1]) if x.shape[2:] == y.shape[2:]]
    if others and draw(st.booleans()):
        other = draw(st.sampled_from(others))
        x = tensors[other]
        join: Any = (lambda a, b: torch.cat([a, b], 1)) if draw(st.booleans()) else torch.add
        if join is torch.add and 1 not in (x.shape[1], y.shape[1]) and x.shape[1] != y.shape[1]:
            return
        joined = join(x, y)
        if joined.numel() <= MAX_UNITS:
            program.add(join, other, len(tensors) - 1)
            tensors.append(joined)


def check(program: Program, shape: tuple[int, ...], oracle: Any) -> None:
    trace = summarize(program, shape[1:]).trace
    fields = fields_of(trace)
    found = fields.boxes(trace.outputs[0])
    assert fields.unknown == ()
    torch.manual_seed(0)
    net = oracle.positive(program)
    expected = oracle.all_extents(net, torch.rand(shape, dtype=torch.float64) + 0.5)
    np.testing.assert_array_equal(found, expected)


SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)


@SLOW
@given(programs(2))
def test_every_unit_of_a_network_of_pictures(oracle: Any, made: Any) -> None:
    check(*made, oracle)


@settings(SLOW, max_examples=25)
@given(programs(1))
def test_every_unit_of_a_network_of_signals(oracle: Any, made: Any) -> None:
    check(*made, oracle)


@settings(SLOW, max_examples=25)
@given(programs(3))
def test_every_unit_of_a_network_of_volumes(oracle: Any, made: Any) -> None:
    check(*made, oracle)
