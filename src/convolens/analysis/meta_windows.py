"""The results of convolution, pooling and interpolation without values.

The rules are of `convolens.analysis.meta`: each gives `NotImplemented` where PyTorch has to decide.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
META = torch.device("meta")
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def new(shape: Any, dtype: torch.dtype) -> Tensor:
    """A contiguous tensor without values."""
    return torch.empty(shape, dtype=dtype, device=META)


def like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor without values of the same form, as dense as PyTorch makes it."""
    if x.is_contiguous():
        return new(x.shape, dtype or x.dtype)
    steps = [stride for stride in x.stride() if stride]
    if steps == sorted(steps, reverse=True):
        return new(x.shape, dtype or x.dtype)
    if len(steps) < x.dim():
        return torch.empty_like(x, dtype=dtype)
    strides, step = [0] * x.dim(), 1
    for axis in sorted(range(x.dim()), key=x.stride):
        strides[axis] = step
        step *= x.shape[axis]
    return torch.empty_strided(x.shape, strides, dtype=dtype or x.dtype, device=META)


def laid_out(shape: Sequence[int], dtype: torch.dtype, *sources: Tensor) -> Any:
    """A result in the memory layout of what it is computed from."""
    if all(source.is_contiguous() for source in sources):
        return new(shape, dtype)
    last = LAST.get(len(shape) - 2)
    if last and any(source.is_contiguous(memory_format=last) for source in sources):
        return torch.empty(shape, dtype=dtype, device=META, memory_format=last)
    return NotImplemented


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Any:
    axes = x.dim() - 2
    sides = (stride, padding, dilation, output_padding)
    if axes < 1 or weight.dim() != x.dim() or any(len(side) != axes for side in sides):
        return NotImplemented
    if not (x.is_meta and weight.is_meta) or x.dtype != weight.dtype:
        return NotImplemented
    if min(*stride, *dilation, groups) < 1 or min(padding) < 0:
        return NotImplemented
    reads, gives = (0, 1) if transposed else (1, 0)
    channels = weight.shape[gives] * (groups if transposed else 1)
    read = weight.shape[reads] * (1 if transposed else groups)
    if x.shape[1] != read:  # which PyTorch lets pass on the meta device, where it is transposed
        raise RuntimeError(f"expected {read} channels, but got {x.shape[1]} channels instead")
    if channels % groups or (bias is not None and bias.numel() != channels):
        return NotImplemented
    sizes = []
    for n, k, s, p, d, extra in zip(x.shape[2:], weight.shape[2:], *sides, strict=True):
        span = d * (k - 1) + 1
        sizes.append(
            (n - 1) * s - 2 * p + span + extra if transposed else (n + 2 * p - span) // s + 1
        )
    if min(sizes) < 1:
        return NotImplemented
    return laid_out((x.shape[0], channels, *sizes), x.dtype, x, weight)


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *rest: Any
) -> Any:
    if not (grad.is_meta and x.is_meta and weight.is_meta):
        return NotImplemented
    wanted = rest[-1]
    return (
        like(x) if wanted[0] else None,
        like(weight) if wanted[1] else None,
        new(bias_sizes, weight.dtype) if wanted[2] else None,
    )


def _pooled(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
) -> Any:
    """The shape after a pooling of an (N, C, H, W) input."""
    kernel, padding, dilation = (_pair(side) for side in (kernel, padding, dilation))
    stride = _pair(stride) if stride else kernel
    plain = x.is_meta and x.dim() == 4 and x.is_floating_point()
    if not plain or any(2 * p > k or p < 0 for p, k in zip(padding, kernel, strict=True)):
        return NotImplemented
    if min(*kernel, *stride, *dilation) < 1:
        return NotImplemented
    sizes = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        size = (room + (s - 1 if ceil else 0)) // s + 1
        # The last window of ceil mode begins inside of the picture or its left padding.
        sizes.append(size - 1 if ceil and (size - 1) * s >= n + p else size)
    return (*x.shape[:2], *sizes) if min(sizes) > 0 and 0 not in x.shape else NotImplemented


def _pair(sides: Sequence[int]) -> tuple[int, int]:
    return (sides[0], sides[-1])


def _max_pool(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), *ceil: Any
) -> Any:
    shape = _pooled(x, kernel, stride, padding, dilation, bool(ceil and ceil[0]))
    if shape is NotImplemented:
        return NotImplemented
    result = laid_out(shape, x.dtype, x)
    if result is NotImplemented:
        return NotImplemented
    indices = laid_out(shape, torch.int64, x)
    return result, indices


def _average_pool(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = (0,), ceil: bool = False, *_: Any
) -> Any:
    shape = _pooled(x, kernel, stride, padding, (1,), ceil)
    return NotImplemented if shape is NotImplemented else laid_out(shape, x.dtype, x)


def _resized(x: Tensor, size: Sequence[int], *_: Any) -> Any:
    if not x.is_meta or x.dim() != 4 or not x.is_floating_point() or min(*size, *x.shape) < 1:
        return NotImplemented
    return laid_out((*x.shape[:2], *size), x.dtype, x)


def _resized_with_indices(x: Tensor, size: Sequence[int]) -> Any:
    result = _resized(x, size)
    return NotImplemented if result is NotImplemented else (result, like(result, torch.int64))


def _resized_backward(grad: Tensor, _: Any, size: Any, *__: Any) -> Any:
    return new(size, grad.dtype) if grad.is_meta else NotImplemented


def _padded(x: Tensor, pad: Sequence[int], *_: Any) -> Any:
    shape = list(x.shape)
    if not x.is_meta or not x.is_contiguous() or len(pad) % 2 or len(pad) > 2 * x.dim():
        return NotImplemented
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True), start=1):
        shape[-axis] += before + after
    return new(shape, x.dtype) if min(shape) > 0 else NotImplemented


def _mirrored(x: Tensor, pad: Sequence[int]) -> Any:
    fits = x.dim() == 4 and len(pad) == 4 and min(pad) >= 0 and max(pad) < min(x.shape[2:])
    return _padded(x, pad) if fits else NotImplemented


def _shuffled(x: Tensor, factor: int) -> Any:
    if not x.is_meta or not x.is_contiguous() or x.dim() != 4 or x.shape[1] % factor**2:
        return NotImplemented
    n, channels, height, width = x.shape
    return new((n, channels // factor**2, height * factor, width * factor), x.dtype)


def _like_read(_: Tensor, x: Tensor, *__: Any) -> Any:
    """The gradient of what was read."""
    return like(x) if x.is_meta else NotImplemented


WINDOWS: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.max_pool2d_with_indices_backward.default: _like_read,
    aten.avg_pool2d.default: _average_pool,
    aten.avg_pool2d_backward.default: _like_read,
    aten._adaptive_avg_pool2d.default: _resized,
    aten._adaptive_avg_pool2d_backward.default: _like_read,
    aten.adaptive_max_pool2d.default: _resized_with_indices,
    aten.constant_pad_nd.default: _padded,
    aten.reflection_pad2d.default: _mirrored,
    aten.replication_pad2d.default: _mirrored,
    aten.reflection_pad2d_backward.default: _like_read,
    aten.replication_pad2d_backward.default: _like_read,
    aten.pixel_shuffle.default: _shuffled,
    aten.upsample_nearest2d_backward.default: _resized_backward,
    aten.upsample_bilinear2d_backward.default: _resized_backward,
    aten.upsample_nearest2d.default: _resized,
    aten.upsample_bilinear2d.default: _resized,
    aten.upsample_bicubic2d.default: _resized,
}
