"""Convolutions of any window and stride whose products are taken in half precision."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convolens.nn.kernels.build import half_precision
from convolens.nn.kernels.convolution import Convolution, convolve, misfit
from convolens.nn.kernels.memory import largest, pair, pointer, scratch

# With fewer windows or channels, or fewer products for each number that is read or written, writing
# windows out costs more than it saves: measured.
LEAST_WINDOWS = 64
LEAST_CHANNELS = 64
LEAST_PRODUCTS = 80
MOST_NUMBERS = 65536  # of a window, which lies on the stack
LEAST_PRODUCTS_BFLOAT16 = 50  # with fewer, rounding the volumes costs more than it saves: measured

_VOLUME = ("N", "H", "W", "C")
_WINDOWS = ("GH", "GW", "step", "y0", "x0", "rows", "columns")
_OTHER = ("HO", "WO", "K", "out_step", "out_y", "out_x")
_POINTERS = ("x", "weight", "bias", "out", "grad_out", "grad_weight", "memory")


class _Job(ctypes.Structure):
    """`struct conv_half` of conv_half.h, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in (*_VOLUME, *_WINDOWS, *_OTHER)),
        ("weight_strides", ctypes.c_int64 * 4),
        ("num_threads", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("largest_weight", ctypes.c_float),
    ]


def conv_half(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    *,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    half_forward: bool = True,
) -> Tensor:
    """Computes conv2d(x, weight, bias, stride, padding) by products of float16 or bfloat16.

    Those of float16 are our own: the factors are scaled by powers of two such that no sum
    overflows; up to 64 products are added in float16, these sums in float32: results differ by
    about 0.07 %. Those of bfloat16 are PyTorch's, which are faster than ours: results differ by
    about 0.29 %. Where a place of the filters meets nothing but zeros around the volume, PyTorch
    leaves its gradient in bfloat16 unset, so float32 is taken.

    Args:
        weight: filters (K, C, R, S).
        bias: (K,), or None.
        library: what `load_library` returned; it must have a `half_precision`.
        padding: zeros above and below, left and right.
        half_forward: whether the result is such a product, too, not the gradients alone; it is
            PyTorch's in float32 then.
    Shape: x (N, C, H, W) -> (N, K, ⌊(H + 2P − R) / stride⌋ + 1, …); float32 on the CPU,
        channels-last, as `fits_conv_half` demands.
    """
    by_pytorch = half_precision(library) == "bfloat16"
    axes = zip(x.shape[2:], weight.shape[2:], padding, strict=True)
    if by_pytorch and not all(_meets_input(*axis, stride) for axis in axes):
        return F.conv2d(x, weight, bias, stride, padding)
    if by_pytorch and half_forward:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.conv2d(x, weight, bias, stride, padding).float()
    method: _Float16 | _Bfloat16 = _Bfloat16(stride, padding)
    if not by_pytorch:
        method = _Float16(library, stride, padding, largest(weight), half_forward)
    return convolve(_ConvHalf, x, weight, bias, method)


@cache
def _meets_input(side: int, kernel: int, padding: int, stride: int) -> bool:
    """Whether each place of a filter meets an input in some window, along one axis."""
    windows = range(-padding, side + padding - kernel + 1, stride)
    return all(any(0 <= at + place < side for at in windows) for place in range(kernel))


def fits_conv_half(conv: nn.Conv2d, x_shape: tuple[int, ...], library: ctypes.CDLL) -> str | None:
    """Says why a convolution cannot be `conv_half` with a gain; None if it can.

    Args:
        x_shape: of its input, (N, C, H, W).
    """
    by_pytorch = half_precision(library) == "bfloat16"
    if reason := misfit(conv, x_shape, 1 if by_pytorch else library.convolens_lanes()):
        return reason
    if conv.stride[0] != conv.stride[1]:
        return "the convolution must have the same stride in both directions"
    rows, columns = (min(conv.stride[0], side) for side in pair(conv.kernel_size))
    numbers = rows * columns * conv.in_channels + conv.out_channels  # of an output's own inputs
    least = LEAST_PRODUCTS_BFLOAT16 if by_pytorch else LEAST_PRODUCTS
    if conv.weight.numel() < least * numbers:
        return f"there must be at least {least} products for each number"
    if by_pytorch:
        return None
    padding = pair(conv.padding)  # type: ignore[arg-type]
    if any(p >= k for p, k in zip(padding, conv.kernel_size, strict=True)):
        return "the convolution's padding must be less than its window"
    if min(conv.in_channels, conv.out_channels) < LEAST_CHANNELS:
        return f"there must be at least {LEAST_CHANNELS} channels on both sides"
    if conv.weight[0].numel() > MOST_NUMBERS:
        return f"a window must have at most {MOST_NUMBERS} numbers"
    sides = _sides(x_shape[2:], conv.weight.shape[2:], conv.stride[0], padding)
    if min(sides) < 1:
        return "there must be at least one whole window"
    if x_shape[0] * sides[0] * sides[1] < LEAST_WINDOWS:
        return f"there must be at least {LEAST_WINDOWS} windows"
    return None


class _ConvHalf(Convolution):
    pass


@dataclass(frozen=True)
class _Bfloat16:
    """A method of convolution: PyTorch's, in float32 forward and in bfloat16 backward."""

    stride: int
    padding: tuple[int, int]

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    def grad_x(self, grad_x: Tensor, weight: Tensor, grad_out: Tensor) -> None:
        x = torch.empty_like(grad_x, dtype=torch.bfloat16)  # only its shape is read
        grad_x.copy_(self._gradients(x, weight, grad_out, (True, False, False))[0])

    def grad_weight(self, x: Tensor, weight: Tensor, grad_out: Tensor) -> Tensor:
        return self._gradients(x, weight, grad_out, (False, True, False))[1].float()

    def _gradients(
        self, x: Tensor, weight: Tensor, grad_out: Tensor, wanted: tuple[bool, ...]
    ) -> tuple[Tensor, ...]:
        factors = (t.to(torch.bfloat16) for t in (grad_out, x, weight))
        sizes = ((self.stride, self.stride), self.padding, (1, 1), False, (0, 0), 1)
        found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            *factors, None, *sizes, wanted
        )
        return found


@dataclass(frozen=True)
class _Float16:
    """A method of convolution; `largest_weight` is the largest |w|."""

    library: ctypes.CDLL
    stride: int
    padding: tuple[int, int]
    largest_weight: float
    half_forward: bool

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self.half_forward:
            return F.conv2d(x, weight, bias, self.stride, self.padding)
        job = self._job(x, weight)
        out = torch.empty(job.N, job.K, job.HO, job.WO, memory_format=torch.channels_last)
        job.bias, job.out = pointer(bias), pointer(out)
        self._call("forward", job)
        return out

    def grad_x(self, grad_x: Tensor, weight: Tensor, grad_out: Tensor) -> None:
        H, W = grad_x.shape[2:]
        down = list(_phases(H, weight.shape[2], self.stride, self.padding[0]))
        across = list(_phases(W, weight.shape[3], self.stride, self.padding[1]))
        if any(phase.places == 0 for phase in (*down, *across)):
            grad_x.zero_()
        job = _Job(grad_out.shape[0], *grad_out.shape[2:], grad_out.shape[1])
        job.step, job.out_step, job.num_threads = 1, self.stride, torch.get_num_threads()
        job.HO, job.WO, job.K = H, W, grad_x.shape[1]
        job.x, job.out, job.largest_weight = pointer(grad_out), pointer(grad_x), self.largest_weight
        filters, strides = weight.data_ptr(), weight.stride()
        for row in down:
            for column in across:
                if not (row.places and column.places and row.inputs and column.inputs):
                    continue
                job.GH, job.rows, job.y0, job.out_y = row.inputs, row.places, row.first, row.rest
                job.GW, job.columns = column.inputs, column.places
                job.x0, job.out_x = column.first, column.rest
                # Windows grow from the last place of the filter to its first.
                last = row.last * strides[2] + column.last * strides[3]
                job.weight = filters + last * weight.element_size()
                job.weight_strides[:] = (
                    *(strides[1], strides[0]),
                    *(-self.stride * strides[2], -self.stride * strides[3]),
                )
                self._call("forward", job)

    def grad_weight(self, x: Tensor, weight: Tensor, grad_out: Tensor) -> Tensor:
        grad_weight = torch.empty_like(weight)
        job = self._job(x, grad_weight)
        job.grad_out, job.grad_weight = pointer(grad_out), pointer(grad_weight)
        self._call("backward", job)
        return grad_weight

    def _job(self, x: Tensor, weight: Tensor) -> _Job:
        N, C, H, W = x.shape
        job = _Job(N, H, W, C)
        job.GH, job.GW = _sides((H, W), weight.shape[2:], self.stride, self.padding)
        job.HO, job.WO = job.GH, job.GW
        job.step, job.y0, job.x0 = self.stride, -self.padding[0], -self.padding[1]
        job.rows, job.columns = weight.shape[2:]
        job.K, job.out_step, job.num_threads = len(weight), 1, torch.get_num_threads()
        job.x, job.weight, job.largest_weight = pointer(x), pointer(weight), self.largest_weight
        job.weight_strides[:] = weight.stride()
        return job

    def _call(self, which: str, job: _Job) -> None:
        name = f"convolens_conv_half_{which}"
        memory = scratch(getattr(self.library, f"{name}_floats"), job)
        job.memory = pointer(memory)
        getattr(self.library, name)(ctypes.byref(job))


def _sides(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: tuple[int, ...]
) -> list[int]:
    """The numbers of windows; less than 1 where none fits."""
    return [
        (side + 2 * p - k) // stride + 1 for side, k, p in zip(size, kernel, padding, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class _Phase:
    """Inputs along one axis whose position leaves the same rest when divided by the stride.

    Args:
        inputs: how many there are.
        places: of the filter that meet them.
        last: the last of these.
        first: the output that the first of them met there, counted from the first window.
    """

    rest: int
    inputs: int
    places: int
    last: int
    first: int


def _phases(side: int, kernel: int, stride: int, padding: int) -> Iterator[_Phase]:
    for rest in range(stride):
        lowest = (rest + padding) % stride
        places = max(0, -(-(kernel - lowest) // stride))
        last = lowest + (places - 1) * stride
        yield _Phase(
            rest=rest,
            inputs=max(0, -(-(side - rest) // stride)),
            places=places,
            last=last,
            first=(rest + padding - last) // stride,
        )
