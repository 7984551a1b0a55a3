"""A residual block as one: relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut), 3×3 convolutions.

What bn1 and its ReLU give is never in memory: conv2 makes it where it reads what conv1 gave. So do
the gradients of the convolutions with those of the normalisations, and the gradient of the shortcut
is added where that of x is stored. The volumes are read and written three fifths as often.
"""

import ctypes
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.nn.kernels.memory import sums_of
from convolens.nn.kernels.norm_passes import (
    differentiate,
    normalise,
    take_slope,
    take_statistics,
)
from convolens.nn.kernels.normalised import Differentiated, Normalised
from convolens.nn.kernels.winograd import Winograd, winograd_of


def residual_body(
    x: Tensor,
    shortcut: Tensor | None,
    conv1: nn.Conv2d | None,
    norm1: nn.BatchNorm2d,
    conv2: nn.Conv2d,
    norm2: nn.BatchNorm2d,
    library: ctypes.CDLL,
    *,
    half: bool = False,
    half_forward: bool = True,
) -> Tensor:
    """Computes relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut).

    The norms take the batch's own statistics and update the running ones. Gradients of gradients
    are refused.

    Args:
        shortcut: what is added, as large as the result; None adds x itself or, where conv1 has a
            stride, every stride-th pixel of x with channels of zeros, which needs conv1.
        conv1: 3×3 with padding 1 and no bias. With stride 1 it is computed as conv2 is, otherwise
            by PyTorch's own operation. None where x is what it gave.
        conv2: 3×3 with stride 1, padding 1 and no bias, which `fits_conv3x3` takes.
        norm1, norm2: modules that `fits_batch_norm` takes.
        library: what `load_library` returned.
        half, half_forward: whether products are taken in half precision, see `conv3x3`.
    Shape: x (N, C, H, W) -> (N, K, ⌈H / stride⌉, ⌈W / stride⌉); float32 on the CPU,
        channels-last.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
    method = partial(winograd_of, library=library, half=half, half_forward=half_forward)
    first: Winograd | _Strided | None = None
    if conv1 is not None and conv1.stride != (1, 1):
        first = _Strided(conv1.stride)
    elif conv1 is not None:
        first = method(conv1.weight)
    settings = _Settings(
        norms=(norm1, norm2),
        methods=(first, method(conv2.weight)),
        library=library,
        sums=sums_of(x) if conv1 is None else None,
    )
    result: Tensor = _ResidualBody.apply(
        *(x, shortcut),
        *(None if conv1 is None else conv1.weight, norm1.weight, norm1.bias),
        *(conv2.weight, norm2.weight, norm2.bias),
        settings,
    )
    return result


# What `_ResidualBody.forward` takes.
_INPUTS = (
    *("x", "shortcut", "weight1", "scale1", "bias1", "weight2", "scale2", "bias2"),
    "settings",
)


@dataclass(frozen=True)
class _Strided:
    """A first convolution by PyTorch's own operation, and the shortcut beside it."""

    stride: tuple[int, ...]

    def run(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.conv2d(x, weight, None, self.stride, 1)

    def shortcut(self, x: Tensor, channels: int) -> Tensor:
        read = self._every(x)
        added = torch.empty(len(x), channels, *read.shape[2:], memory_format=torch.channels_last)
        added[:, : x.shape[1]] = read
        added[:, x.shape[1] :] = 0.0
        return added

    def gradients(
        self, x: Tensor, weight: Tensor, grad_out: Tensor, grad_shortcut: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients of x, by way of both, and of the filters."""
        sizes = (self.stride, (1, 1), (1, 1), False, (0, 0), 1)
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad_out, x, weight, None, *sizes, (True, True, False)
        )
        self._every(grad_x).add_(grad_shortcut[:, : x.shape[1]])
        return grad_x, grad_weight

    def _every(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride[0], :: self.stride[1]]


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What a block is, but for its tensors that learn.

    Args:
        sums: of x, where that is what the first convolution gave.
    """

    norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d]
    methods: tuple[Winograd | _Strided | None, Winograd]
    library: ctypes.CDLL
    sums: Tensor | None


def _convolve(
    method: Winograd, x: Tensor, weight: Tensor, source: Normalised | None = None
) -> tuple[Tensor, Tensor]:
    """A convolution, and the sums for the normalisation of its result."""
    sums = method.make_sums(x, len(weight))
    return replace(method, sums=sums).run(x, weight, None, source=source), sums


class _ResidualBody(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        weight1: Tensor | None,
        scale1: Tensor | None,
        _bias1: Tensor | None,
        weight2: Tensor,
        scale2: Tensor | None,
        _bias2: Tensor | None,
        settings: _Settings,
    ) -> Tensor:
        library, (first, second) = settings.library, settings.methods
        y, sums, added = x, settings.sums, x if shortcut is None else shortcut
        if isinstance(first, Winograd) and weight1 is not None:
            y, sums = _convolve(first, x, weight1)
        elif isinstance(first, _Strided) and weight1 is not None:
            y, added = first.run(x, weight1), first.shortcut(x, len(weight2))
        inner = take_statistics(y, settings.norms[0], library, sums=sums)
        z, sums = _convolve(second, y, weight2, Normalised(y, inner))
        outer = take_statistics(z, settings.norms[1], library, sums=sums)
        out, mask = normalise(z, outer, library, residual=added, activation="relu")
        ctx.save_for_backward(
            *(x, weight1, scale1, None if first is None else y, weight2, scale2, z, mask)
        )
        ctx.statistics, ctx.settings = (inner, outer), settings
        ctx.adds_x = shortcut is None and added is x
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight1, scale1, y, weight2, scale2, z, mask = ctx.saved_tensors
        inner, outer = ctx.statistics
        library, (first, second) = ctx.settings.library, ctx.settings.methods
        y = x if first is None else y
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor | None] = {}

        slope2 = take_slope(grad_out, z, scale2, outer, library, activation="relu", mask=mask)
        found["scale2"], found["bias2"] = slope2.weight, slope2.bias
        grad_z, of_z = grad_out, None
        if ctx.adds_x:
            of_z = Differentiated(z, outer, slope2, mask)  # made where it is read
        else:
            grad_z, grad_added = differentiate(grad_out, slope2, library, adds=True)
            found["shortcut"] = grad_added
        inside, grad_y = Normalised(y, inner), torch.empty_like(y)
        sums = second.make_gradient_sums(grad_z, y.shape[1])
        found["weight2"] = second.gradients(
            *(grad_y, y, weight2, grad_z), source=inside, gradient=of_z, sums=sums
        )
        slope1 = take_slope(None, y, scale1, inner, library, activation="none", sums=sums)
        found["scale1"], found["bias1"] = slope1.weight, slope1.bias
        if isinstance(first, Winograd):
            found["x"] = grad_x = torch.empty_like(x)
            found["weight1"] = first.gradients(
                *(grad_x, x, weight1, grad_y),
                gradient=Differentiated(y, inner, slope1),
                addend=(grad_out, mask) if ctx.adds_x else None,
            )
            return *map(found.get, _INPUTS[:-1]), None
        grad_y, _ = differentiate(grad_y, slope1, library)
        if first is None:
            found["x"] = grad_y
        else:
            found["x"], found["weight1"] = first.gradients(
                x, weight1, grad_y, found.pop("shortcut")
            )
        return *map(found.get, _INPUTS[:-1]), None
