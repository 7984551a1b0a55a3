"""What the result of an operation reads: windows, interpolation, norms, sums and products."""

from collections.abc import Mapping

import numpy as np

from convolens.analysis.field.arguments import WINDOWED, is_pointwise, windows_of
from convolens.analysis.field.moves import MOVES
from convolens.analysis.field.names import BATCH_NORMS, REDUCTIONS, SOFTMAXES, reduced_axes
from convolens.analysis.field.overwrite import overwritten
from convolens.analysis.field.reach import (
    Reach,
    checked,
    gathered,
    grouped,
    merged,
    permuted,
    reshaped,
    union,
)
from convolens.analysis.field.step import Results, Rule, Step, UnknownError
from convolens.analysis.field.taps import (
    adaptive_taps,
    resize_taps,
    running_taps,
    taps_at,
    transposed_taps,
    window_taps,
)
from convolens.analysis.graph import Ref
from convolens.geometry import output_size


def rule_of(name: str) -> Rule | None:
    """The rule of an operation; None where there is none."""
    rule = RULES.get(name) or MOVES.get(name)
    return rule or (_pointwise if is_pointwise(name) else None)


def _pointwise(step: Step) -> Results:
    return step.all_inputs()


def _window(step: Step) -> Results:
    reach, shape, output = step.reach(0), step.shape(0), step.output
    windows = windows_of(step) or ()
    first = len(shape) - len(windows)
    transposed = step.name == "convolution" and step.get(6)
    taps_of = transposed_taps if transposed else window_taps
    if reach is not None:
        if step.name == "convolution":
            axis = first - 1
            reach = grouped(reach, axis, shape[axis], step.get(8), output[axis])
        for axis, window in enumerate(windows, start=first):
            if not window.is_single or shape[axis] != output[axis]:
                taps = taps_of(
                    *(shape[axis], output[axis], window.kernel),
                    *(window.stride, window.padding, window.dilation),
                )
                reach = gathered(reach, axis, taps)
    return union(reach, _filters(step, first - 1)) if step.name == "convolution" else reach


def _filters(step: Step, channels: int) -> Reach | None:
    """What filters and biases read that are themselves made of the input."""
    weight, bias = step.reach(1), step.reach(2)
    rank = len(step.output)
    result: Reach | None = None
    if weight is not None:
        if step.get(6):
            raise UnknownError
        weight = merged(weight, range(1, weight.rank))
        arrays = [bounds.reshape(2, -1, *[1] * (rank - channels - 1)) for bounds in weight.axes]
        result = Reach(tuple(arrays), weight.full)
    if bias is not None:
        arrays = [bounds.reshape(2, -1, *[1] * (rank - channels - 1)) for bounds in bias.axes]
        result = union(result, Reach(tuple(arrays), bias.full))
    return result


def _fold(step: Step) -> Results:
    """A pixel reads every tap that a window puts there, (y + padding − dilation·k) / stride."""
    if len(step.shape(0)) != 3:
        raise UnknownError
    after, kernels, dilations, paddings, strides = (step.get(number) for number in range(1, 6))
    counts = [
        output_size(size, k, stride=s, padding=p, dilation=d)
        for size, k, d, p, s in zip(after, kernels, dilations, paddings, strides, strict=True)
    ]
    n, c = step.output[:2]
    reach = reshaped(step.first(), step.shape(0), [n, c, *kernels, *counts])
    reach = permuted(reach, [0, 1, 2, 4, 3, 5])
    shape = [n, c, kernels[0] * counts[0], kernels[1] * counts[1]]
    reach = reshaped(reach, [n, c, kernels[0], counts[0], kernels[1], counts[1]], shape)
    for axis, (count, size, k, d, p, s) in enumerate(
        zip(counts, after, kernels, dilations, paddings, strides, strict=True), start=2
    ):
        index = transposed_taps(count, size, k, s, p, d).index
        index = np.where(index < count, index + np.arange(k) * count, -1)
        reach = gathered(reach, axis, taps_at(index, k * count))
    return reach


def _adaptive(step: Step) -> Results:
    reach, rank = step.first(), len(step.shape(0))
    count = len(step.get(1)) if not isinstance(step.get(1), int) else 1
    for axis in range(rank - count, rank):
        before, after = step.shape(0)[axis], step.output[axis]
        if before != after:
            reach = gathered(reach, axis, adaptive_taps(before, after))
    return reach


# The operation that resizes one axis as an operation resizes each of its own.
RESIZES: Mapping[str, tuple[str, bool]] = {
    **dict.fromkeys([f"upsample_nearest{n}d" for n in (1, 2, 3)], ("upsample_nearest2d", False)),
    **dict.fromkeys(
        [f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)], ("_upsample_nearest_exact2d", False)
    ),
    **dict.fromkeys(
        ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"),
        ("upsample_bilinear2d", True),
    ),
    "upsample_bicubic2d": ("upsample_bicubic2d", True),
    "_upsample_bilinear2d_aa": ("_upsample_bilinear2d_aa", True),
    "_upsample_bicubic2d_aa": ("_upsample_bicubic2d_aa", True),
}


def _resize(step: Step) -> Results:
    mode, has_corners = RESIZES[step.name]
    reach, shape, output = step.first(), step.shape(0), step.output
    scales_at = 3 if has_corners else 2
    for axis in range(2, len(shape)):
        scale = step.get(scales_at + axis - 2)
        corners = step.get(2) if has_corners else None
        if isinstance(scale, list | tuple):
            raise UnknownError
        reach = gathered(reach, axis, resize_taps(shape[axis], output[axis], mode, corners, scale))
    return reach


def _reduction(step: Step) -> Results:
    if isinstance(step.get(1), Ref):  # the larger of two tensors
        return step.all_inputs()
    axes = reduced_axes(step)
    reach = merged(step.first(), axes)
    shape = [1 if axis in axes else n for axis, n in enumerate(step.shape(0))]
    if len(step.output) == len(shape):
        return reach
    return _dropped(reach, axes)


def _dropped(reach: Reach, axes: tuple[int, ...]) -> Reach:
    places = tuple(axis + 1 for axis in axes)
    return Reach(tuple([bounds.squeeze(places) for bounds in reach.axes]), reach.full)


def _along(step: Step) -> Results:
    """Every element reads all along an axis: softmax, sort, the largest few."""
    axis = step.get({"topk": 2, "sort": 1, "kthvalue": 2}.get(step.name, 1), -1)
    return merged(step.first(), [axis % len(step.shape(0))])


def _cumulative(step: Step) -> Results:
    axis = step.axis(1)
    return gathered(step.first(), axis, running_taps(step.shape(0)[axis]))


def _batch_norm(step: Step) -> Results:
    reach, rank = step.first(), len(step.shape(0))
    if not BATCH_NORMS[step.name](step):
        return reach
    return merged(reach, [0, *range(2, rank)])


def _layer_norm(step: Step) -> Results:
    rank = len(step.shape(0))
    return merged(step.first(), range(rank - len(step.get(1)), rank))


def _group_norm(step: Step) -> Results:
    reach, channels = step.first(), step.shape(0)[1]
    reach = merged(reach, range(2, reach.rank))
    return grouped(reach, 1, channels, step.get(6), channels)


def _product(step: Step) -> Results:
    """Row i and column j of a product read row i of the one factor and column j of the other."""
    at = 1 if step.name in ("addmm", "baddbmm", "addbmm") else 0
    a, b = step.reach(at), step.reach(at + 1)
    if len(step.shape(at)) < 2 or len(step.shape(at + 1)) < 2 or step.name == "addbmm":
        raise UnknownError
    result = union(
        None if a is None else merged(a, [a.rank - 1]),
        None if b is None else merged(b, [b.rank - 2]),
    )
    return union(result, step.reach(0)) if at else result


def _attention(step: Step) -> Results:
    """A row of attention reads its own query, and all keys and values."""
    query, key, value = step.reach(0), step.reach(1), step.reach(2)
    result = None if query is None else merged(query, [query.rank - 1])
    if key is not None:
        result = union(result, merged(key, [key.rank - 2, key.rank - 1]))
    if value is not None:
        result = union(result, merged(value, [value.rank - 2]))
    known = {step.value(0), step.value(1), step.value(2)}
    if any(value in step.reaches for value in step.operation.inputs if value not in known):
        raise UnknownError
    return result


def _encoder(step: Step) -> Results:
    """PyTorch's attention and transformer layers in one piece: all positions, all channels."""
    result: Reach | None = None
    for value in step.operation.inputs:
        reach = step.reaches.get(value)
        if reach is not None:
            if reach.rank != 3:
                raise UnknownError
            result = union(result, merged(reach, [1, 2]))
    return result


def _gate(step: Step) -> Results:
    axis = step.get(1, -1) % len(step.shape(0))
    length = step.shape(0)[axis]
    return grouped_halves(step.first(), axis, length)


def grouped_halves(reach: Reach, axis: int, length: int) -> Reach:
    """Position i reads i and i + length / 2."""
    taps = window_taps(length, length // 2, 2, 1, 0, length // 2)
    return gathered(reach, axis, taps)


def _embedding(step: Step) -> Results:
    reach = step.reach(1)
    if reach is None or step.reach(0) is not None:
        raise UnknownError
    return checked([bounds[..., None] for bounds in reach.axes])


def _fill(step: Step) -> Results:
    reach = step.reach(1)
    return reach if reach is None else reshaped(reach, (), [1] * len(step.output))


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(WINDOWED, _window),
    **dict.fromkeys([f"_adaptive_avg_pool{n}d" for n in (1, 2, 3)], _adaptive),
    **dict.fromkeys([f"adaptive_avg_pool{n}d" for n in (1, 2, 3)], _adaptive),
    **dict.fromkeys([f"adaptive_max_pool{n}d" for n in (1, 2, 3)], _adaptive),
    **dict.fromkeys(RESIZES, _resize),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys((*SOFTMAXES, "topk", "sort", "argsort"), _along),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"), _cumulative),
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _layer_norm),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm", "matmul"), _product),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_attention_math",
            "_scaled_dot_product_fused_attention_overrideable",
            "scaled_dot_product_attention",
        ),
        _attention,
    ),
    **dict.fromkeys(("_native_multi_head_attention", "_transformer_encoder_layer_fwd"), _encoder),
    "convolens.overwrite": overwritten,
    "col2im": _fold,
    "embedding": _embedding,
    "fill": _fill,
    "glu": _gate,
    "native_group_norm": _group_norm,
}
