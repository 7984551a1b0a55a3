"""3×3 convolutions with stride 1 by Winograd's algorithm, with their gradients."""

import ctypes
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.nn.kernels.build import half_precision
from convolens.nn.kernels.convolution import Convolution, convolve, misfit
from convolens.nn.kernels.memory import counted, keep_sums, largest, pair, pointer, scratch
from convolens.nn.kernels.normalised import Addend, Differentiated, Gate, Normalised, Source

# With fewer tiles, transforming the filters costs more than it saves: measured.
LEAST_TILES = 32
FILTERS_PER_TILE = 8192
LEAST_HALF_CHANNELS = 32  # with fewer, they save less than they cost

_POINTERS = ("x", "weight", "bias", "out", "grad_out", "grad_weight", "memory", "sums")


class _Job(ctypes.Structure):
    """`struct winograd` of winograd.h, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("N", "C", "H", "W", "K", "HO", "WO", "P")),
        *((name, ctypes.c_int64) for name in ("num_threads", "flip", "half")),
        ("weight_strides", ctypes.c_int64 * 4),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("input", Source),
        ("gradient", Source),
        ("gate", Gate),
        ("addend", Addend),
        ("also", ctypes.c_void_p),
        ("largest_weight", ctypes.c_float),
    ]


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    *,
    padding: int = 1,
    half: bool = False,
    half_forward: bool = True,
    normalised: bool = False,
) -> Tensor:
    """Computes conv2d(x, weight, bias, padding=padding) for 3×3 filters, by fewer products.

    The sums are taken in another order than by definition and of larger terms, so about one
    decimal digit of float32 is lost.

    Source: Lavin and Gray (2015), Fast algorithms for convolutional neural networks,
        arXiv:1509.09308, F(4×4, 3×3).
    Args:
        weight: filters (K, C, 3, 3).
        bias: (K,), or None.
        library: what `load_library` returned.
        padding: zeros on each side; at most 2.
        half: whether products are taken in the library's `half_precision`. Factors of float16 are
            scaled by powers of two such that none overflows, up to 64 products are added in
            float16 and these sums in float32: results differ by about 0.4 %. Products of bfloat16
            are added in float32: results differ by about 1 %. With fewer than 32 channels it
            would save nothing, and float32 is taken.
        half_forward: whether they are so for the result, too, not for the gradients alone.
        normalised: whether `batch_norm` comes next, which then need not read the volume for its
            statistics.
    Shape: x (N, C, H, W) -> (N, K, H + 2P − 2, W + 2P − 2); float32 on the CPU, channels-last,
        C and K multiples of the processor's vector, as `fits_conv3x3` demands.
    """
    method = winograd_of(weight, library, padding=padding, half=half, half_forward=half_forward)
    if not normalised:
        return convolve(_Conv3x3, x, weight, bias, method)
    sums = method.make_sums(x, len(weight))
    out = convolve(_Conv3x3, x, weight, bias, replace(method, sums=sums))
    keep_sums(out, sums)
    return out


def stock_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int = 1) -> Tensor:
    """Computes what `conv3x3` computes with PyTorch's own operation."""
    return F.conv2d(x, weight, bias, padding=padding)


def fits_conv3x3(conv: nn.Conv2d, x_shape: tuple[int, ...], library: ctypes.CDLL) -> str | None:
    """Says why a convolution cannot be `conv3x3` with a gain; None if it can.

    Args:
        x_shape: of its input, (N, C, H, W).
    """
    if reason := misfit(conv, x_shape, library.convolens_lanes()):
        return reason
    if pair(conv.kernel_size) != (3, 3) or pair(conv.stride) != (1, 1):
        return "the convolution must be 3×3 with stride 1"
    padding = pair(conv.padding)  # type: ignore[arg-type]
    if padding[0] != padding[1] or padding[0] > 2:
        return "the convolution's padding must be the same on all sides, and at most 2"
    sides = [side + 2 * padding[0] - 2 for side in x_shape[2:]]
    if min(sides) < 1:
        return "there must be at least one whole window"
    least = max(LEAST_TILES, conv.in_channels * conv.out_channels // FILTERS_PER_TILE)
    if x_shape[0] * -(-sides[0] // 4) * -(-sides[1] // 4) < least:
        return f"there must be at least {least} tiles of 4×4 outputs"
    return None


class _Conv3x3(Convolution):
    pass


def winograd_of(
    weight: Tensor,
    library: ctypes.CDLL,
    *,
    padding: int = 1,
    half: bool = False,
    half_forward: bool = True,
) -> "Winograd":
    """The method for these filters, with the arguments of `conv3x3`."""
    if not half or min(weight.shape[:2]) < LEAST_HALF_CHANNELS:
        return Winograd(library, padding, None, half_forward)
    scaled = half_precision(library) == "float16"
    return Winograd(library, padding, largest(weight) if scaled else 0.0, half_forward)


@dataclass(frozen=True)
class Winograd:
    """A method of convolution.

    Args:
        largest_weight: the largest |w|, for products of float16; 0 for those of bfloat16, which are
            not scaled; None for those of float32.
        half_forward: whether `run` takes them, too, not the gradients alone.
        sums: what `run` fills in for a normalisation.
    """

    library: ctypes.CDLL
    padding: int
    largest_weight: float | None
    half_forward: bool
    sums: Tensor | None = None

    def make_sums(self, x: Tensor, filters: int) -> Tensor:
        """Memory for the sums that a normalisation of the result needs."""
        return torch.empty(self._num_chunks(x, filters, self._runs_half), 4, filters)

    def make_gradient_sums(self, grad_out: Tensor, channels: int) -> Tensor:
        """Memory for those that the normalisation before the convolution needs backwards."""
        return torch.empty(self._num_chunks(grad_out, channels, self._has_half), 2, channels)

    def run(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, source: Normalised | None = None
    ) -> Tensor:
        """The convolution.

        Args:
            source: what is read instead of x.
        """
        job = self._job(x, weight, self.padding, self._runs_half)
        out = torch.empty(job.N, job.K, job.HO, job.WO, memory_format=torch.channels_last)
        job.bias, job.sums = pointer(bias), pointer(self.sums)
        if source is not None:
            job.input = source.as_source()
        self._forward(job, out)
        return out

    def grad_x(self, grad_x: Tensor, weight: Tensor, grad_out: Tensor) -> None:
        self._forward(self._turned(weight, grad_out), grad_x)

    def grad_weight(self, x: Tensor, weight: Tensor, grad_out: Tensor) -> Tensor:
        job = self._job(x, weight, self.padding, self._has_half)
        return self._backward(job, weight, grad_out)

    def gradients(
        self,
        grad_x: Tensor,
        x: Tensor,
        weight: Tensor,
        grad_out: Tensor,
        *,
        source: Normalised | None = None,
        gradient: Differentiated | None = None,
        sums: Tensor | None = None,
        addend: tuple[Tensor, Tensor | None] | None = None,
    ) -> Tensor:
        """Fills in the gradient of the convolution's input, and returns that of the filters.

        Args:
            source: what is read instead of x; `grad_x` is then the gradient before its ReLU.
            gradient: what is read instead of grad_out.
            sums: memory of `make_gradient_sums`, filled in where there is a source.
            addend: a volume and its mask, added to the gradient of the input.
        """
        turned = self._turned(weight, grad_out)
        job = self._job(x, weight, self.padding, self._has_half)
        if source is not None:
            job.input, turned.gate = source.as_source(), source.as_gate()
            turned.sums = pointer(sums)
        if gradient is not None:
            job.gradient = turned.input = gradient.as_source()
        if addend is not None:
            turned.addend = Addend(*map(pointer, addend))
        memory = scratch(self.library.convolens_winograd_forward_floats, turned)
        turned.out, turned.memory = pointer(grad_x), pointer(memory)
        job.also = ctypes.addressof(turned)
        return self._backward(job, weight, grad_out)

    def _turned(self, weight: Tensor, grad_out: Tensor) -> _Job:
        """The gradient of the input: the filters turned and their channels exchanged."""
        job = self._job(grad_out, weight.transpose(0, 1), 2 - self.padding, self._has_half)
        job.flip = True
        return job

    def _backward(self, job: _Job, weight: Tensor, grad_out: Tensor) -> Tensor:
        grad_weight = torch.empty_like(weight)
        job.weight_strides[:] = grad_weight.stride()
        memory = scratch(self.library.convolens_winograd_backward_floats, job)
        job.grad_out, job.grad_weight, job.memory = map(pointer, (grad_out, grad_weight, memory))
        self.library.convolens_winograd_backward(ctypes.byref(job))
        return grad_weight

    def _forward(self, job: _Job, out: Tensor) -> None:
        memory = scratch(self.library.convolens_winograd_forward_floats, job)
        job.out, job.memory = pointer(out), pointer(memory)
        self.library.convolens_winograd_forward(ctypes.byref(job))

    @property
    def _has_half(self) -> bool:
        return self.largest_weight is not None

    @property
    def _runs_half(self) -> bool:
        return self._has_half and self.half_forward

    def _job(self, x: Tensor, weight: Tensor, padding: int, half: bool) -> _Job:
        job = self._sizes(x, len(weight), padding, half)
        job.x, job.weight = pointer(x), pointer(weight)
        job.weight_strides[:] = weight.stride()
        return job

    def _sizes(self, x: Tensor, filters: int, padding: int, half: bool) -> _Job:
        N, C, H, W = x.shape
        job = _Job(N, C, H, W, filters, H + 2 * padding - 2, W + 2 * padding - 2, padding)
        job.num_threads = torch.get_num_threads()
        job.half, job.largest_weight = half, self.largest_weight or 0.0
        return job

    def _num_chunks(self, x: Tensor, filters: int, half: bool) -> int:
        job = self._sizes(x, filters, self.padding, half)
        return counted(self.library.convolens_winograd_chunks, job)
