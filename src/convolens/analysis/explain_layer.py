"""Why a layer cannot take its input: the rules, with their arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import torch
from torch import nn

from convolens.analysis.graph import Trace
from convolens.errors import ShapeError
from convolens.geometry import output_size

AXES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why sizes do not fit, and what to do."""

    text: str
    hint: str | None = None


Rule = Callable[[Any, int, Trace], Mismatch | None]


def volume(shape: tuple[int, ...]) -> str:
    """A shape without the batch, as people write it.

    Example:
        >>> volume((1, 256, 6, 6))
        '256×6×6'
    """
    return "×".join(map(str, shape[1:])) or "one number for each picture"


def origin(value: int, trace: Trace) -> str:
    """What gave a value: the innermost module, or the operation."""
    if value in trace.inputs:
        return "the input"
    for call in reversed(trace.calls):
        if value in call.outputs and call.path:
            return f"{call.path} ({call.kind})"
    for operation in trace.operations:
        if value in operation.outputs:
            path = trace.calls[operation.call].path
            name = operation.name.partition(".")[2].strip("_")
            return f"{path}.{name}" if path else name
    return "a constant"


def flattened(value: int, trace: Trace) -> int | None:
    """The volume whose flattening a value is, past whatever keeps its shape; None where none is."""
    makers = {v: operation for operation in trace.operations for v in operation.outputs}
    shape = trace.shape(value)
    while value in makers:
        operation = makers[value]
        before = operation.inputs[0] if operation.inputs else -1
        if before < 0:
            return None
        other = trace.shape(before)
        if other != shape:
            same = prod(other) == prod(shape) and len(other) > len(shape) and other[0] == shape[0]
            return before if same else None
        value = before
    return None


def factors(count: int, channels: int, axes: int) -> str:
    """A number of features as channels · H · W, where that is one with equal sides.

    Example:
        >>> factors(9216, 256, 2), factors(9217, 256, 2)
        ('256·6·6 = 9,216', '9,217')
    """
    side = isqrt(count // channels) if axes == 2 and channels and count % channels == 0 else 0
    if not side or side * side * channels != count:
        return f"{count:,}"
    return f"{channels}·{side}·{side} = {count:,}"


def features(expected: int, value: int, trace: Trace) -> Mismatch:
    """An affine layer that expects other features than it gets."""
    shape = trace.shape(value)
    whole = prod(shape[1:])
    if len(shape) > 2 and whole == expected:
        text = f"expects {expected:,} features, received the volume {volume(shape)}"
        product = "·".join(map(str, shape[1:]))
        return Mismatch(f"{text}, not flattened", f"Flatten it first: {product} = {whole:,}.")
    before = flattened(value, trace)
    if before is None:
        return Mismatch(
            f"expects {expected:,} features in the last axis, received {shape[-1]:,}, "
            f"in {shape} from {origin(value, trace)}"
        )
    sides = trace.shape(before)[1:]
    wanted = factors(expected, sides[0], len(sides) - 1)
    text = (
        f"expects {wanted} features, received {'·'.join(map(str, sides))} = {prod(sides):,}: "
        f"the volume {volume(trace.shape(before))} of {origin(before, trace)}, flattened"
    )
    if "·" not in wanted:
        return Mismatch(text)
    return Mismatch(
        text, f"The input has to be of the size that gives {wanted.split(' ')[0]} here."
    )


def windows(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Mismatch | None:
    """The axis along which a window is larger than the padded picture."""
    names = ("depth", "height", "width")[-len(kernel) :] if len(kernel) > 1 else ("length",)
    sides = zip(names, shape[-len(kernel) :], kernel, stride, padding, dilation, strict=True)
    for name, n, k, s, p, d in sides:
        try:
            output_size(n, k, stride=s, padding=p, dilation=d)
        except ShapeError as error:
            return Mismatch(f"reads {volume(shape)}; along its {name}, {error.message}")
    return None


def _sides(number: Any, axes: int) -> tuple[int, ...]:
    return (number,) * axes if isinstance(number, int) else tuple(number)


def _axes(axes: int, value: int, trace: Trace) -> Mismatch | None:
    shape = trace.shape(value)
    if len(shape) in (axes + 1, axes + 2):
        return None
    return Mismatch(
        f"takes {axes + 2} axes {AXES[axes]}, received {len(shape)}: {shape} "
        f"from {origin(value, trace)}"
    )


def _channels(expected: int, value: int, trace: Trace) -> Mismatch | None:
    shape = trace.shape(value)
    if shape[1] == expected:
        return None
    return Mismatch(
        f"takes {expected:,} channels, received {shape[1]:,}: {volume(shape)} "
        f"from {origin(value, trace)}"
    )


def _type(weight: Any, value: int, trace: Trace) -> Mismatch | None:
    received = trace.values[value].dtype
    if weight is None or received == weight.dtype:
        return None
    names = [str(dtype).removeprefix("torch.") for dtype in (weight.dtype, received)]
    return Mismatch(f"has weights of {names[0]}, received {names[1]} from {origin(value, trace)}")


def _convolution(layer: Any, value: int, trace: Trace) -> Mismatch | None:
    axes = len(layer.kernel_size)
    found = _axes(axes, value, trace)
    shape = trace.shape(value)
    if found is None and len(shape) == axes + 2:
        found = _channels(layer.in_channels, value, trace)
    if found is None:
        found = _type(layer.weight, value, trace)
    if found is not None or isinstance(layer.padding, str) or isinstance(layer, TRANSPOSED):
        return found
    return windows(shape, layer.kernel_size, layer.stride, layer.padding, layer.dilation)


def _pool(layer: Any, value: int, trace: Trace) -> Mismatch | None:
    axes = int(type(layer).__name__[-2])
    found = _axes(axes, value, trace)
    if found is not None:
        return found
    kernel, stride, padding = (
        _sides(side, axes) for side in (layer.kernel_size, layer.stride, layer.padding)
    )
    dilation = _sides(getattr(layer, "dilation", 1), axes)
    return windows(trace.shape(value), kernel, stride, padding, dilation)


def _batch_norm(layer: Any, value: int, trace: Trace) -> Mismatch | None:
    axes = int(type(layer).__name__[-2])
    if axes > 1 and len(trace.shape(value)) != axes + 2:
        return _axes(axes, value, trace) or Mismatch(
            f"takes {axes + 2} axes {AXES[axes]}, received {trace.shape(value)}"
        )
    if len(trace.shape(value)) < 2:
        return None
    return _channels(layer.num_features, value, trace)


def _group_norm(layer: Any, value: int, trace: Trace) -> Mismatch | None:
    return _channels(layer.num_channels, value, trace) if len(trace.shape(value)) > 1 else None


def _layer_norm(layer: Any, value: int, trace: Trace) -> Mismatch | None:
    shape, over = trace.shape(value), tuple(layer.normalized_shape)
    if shape[-len(over) :] == over:
        return None
    return Mismatch(
        f"normalizes over the last axes {over}, received {shape} from {origin(value, trace)}"
    )


def _linear(layer: Any, value: int, trace: Trace) -> Mismatch | None:
    if trace.shape(value)[-1:] != (layer.in_features,):
        return features(layer.in_features, value, trace)
    return _type(layer.weight, value, trace)


def _embedding(_: Any, value: int, trace: Trace) -> Mismatch | None:
    received = trace.values[value].dtype
    if received in (torch.int64, torch.int32):
        return None
    name = str(received).removeprefix("torch.")
    return Mismatch(
        f"takes whole numbers, received {name} from {origin(value, trace)}",
        "Say the type of each input: dtypes=[torch.int64].",
    )


EXPLANATIONS: tuple[tuple[tuple[type[nn.Module], ...], Rule], ...] = (
    ((*CONVOLUTIONS, *TRANSPOSED), _convolution),
    ((*MAX_POOLS, *AVERAGE_POOLS), _pool),
    ((*BATCH_NORMS, *INSTANCE_NORMS), _batch_norm),
    ((nn.GroupNorm,), _group_norm),
    ((nn.LayerNorm,), _layer_norm),
    ((nn.Linear,), _linear),
    ((nn.Embedding,), _embedding),
)
