"""Fully connected layers whose products are taken in bfloat16."""

import ctypes
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from convolens.nn.kernels.build import half_precision
from convolens.nn.kernels.memory import pointer, scratch
from convolens.nn.kernels.plain import is_plain_tensor

# With fewer, turning the numbers into bfloat16 costs more than it saves: measured.
LEAST_FEATURES = 64
LEAST_WEIGHTS = 16384
LEAST_ROWS = 8

_POINTERS = ("x", "weight", "bias", "out", "grad_out", "grad_x", "grad_weight", "memory")


class _Job(ctypes.Structure):
    """`struct linear_half` of linear_half.c, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("N", "I", "O", "num_threads")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    ]


def linear_half(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    *,
    half_forward: bool = True,
) -> Tensor:
    """Computes linear(x, weight, bias) by products of bfloat16, which are added in float32.

    Args:
        weight: (O, I), contiguous; I is a multiple of the processor's lanes.
        bias: (O,), or None.
        library: what `load_library` returned; its `half_precision` must be bfloat16.
        half_forward: whether the result is such a product, too, not the gradients alone; it is
            PyTorch's in float32 then.
    Shape: x (…, I) -> (…, O); float32 on the CPU.
    """
    result: Tensor = _LinearHalf.apply(x, weight, bias, library, half_forward)
    return result


def fits_linear_half(linear: nn.Module, library: ctypes.CDLL) -> bool:
    """Whether a module is a fully connected layer that can be `linear_half`, with a gain."""
    return (
        type(linear) is nn.Linear
        and "forward" not in linear.__dict__
        and half_precision(library) == "bfloat16"
        and min(linear.in_features, linear.out_features) >= LEAST_FEATURES
        and linear.in_features * linear.out_features >= LEAST_WEIGHTS
        and linear.in_features % library.convolens_lanes() == 0
    )


@dataclass(eq=False)
class LinearForward:
    """The `forward` of a fully connected layer that is `linear_half` where many rows come."""

    linear: nn.Linear
    library: ctypes.CDLL
    half_forward: bool

    def __deepcopy__(self, memo: dict[int, Any]) -> "LinearForward":
        copied = replace(self)
        memo[id(self)] = copied  # before the layer, which leads back to it
        copied.linear = deepcopy(self.linear, memo)
        return copied

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self.linear.weight, self.linear.bias
        fits = (
            is_plain_tensor(x)
            and x.shape[-1] == self.linear.in_features
            and x.numel() >= LEAST_ROWS * x.shape[-1]
            and weight.dtype == torch.float32
            and weight.is_contiguous()
        )
        if not fits:
            return nn.Linear.forward(self.linear, x)
        return linear_half(x, weight, bias, self.library, half_forward=self.half_forward)


class _LinearHalf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        library: ctypes.CDLL,
        half_forward: bool,
    ) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.library = library
        if not half_forward:
            return F.linear(x, weight, bias)
        out = x.new_empty(*x.shape[:-1], len(weight))
        job = _job(x, weight)
        job.bias, job.out = pointer(bias), pointer(out)
        _call(library, "forward", job)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_out = grad_out.contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = grad_out.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
        job = _job(x, weight)
        job.grad_out = pointer(grad_out)
        job.grad_x, job.grad_weight = pointer(grad_x), pointer(grad_weight)
        _call(ctx.library, "backward", job)
        return grad_x, grad_weight, grad_bias, None, None


def _job(x: Tensor, weight: Tensor) -> _Job:
    outputs, inputs = weight.shape
    job = _Job(x.numel() // inputs, inputs, outputs, torch.get_num_threads())
    job.x, job.weight = pointer(x), pointer(weight)
    return job


def _call(library: ctypes.CDLL, which: str, job: _Job) -> None:
    name = f"convolens_linear_half_{which}"
    memory = scratch(getattr(library, f"{name}_floats"), job)
    job.memory = pointer(memory)
    getattr(library, name)(ctypes.byref(job))
