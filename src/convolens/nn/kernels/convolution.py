"""What the kernels of convolutions share: when one fits, and its place in autograd."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.nn.kernels.memory import pair


class Method(Protocol):
    """How one convolution and its gradients are computed; volumes are channels-last."""

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution itself."""

    def grad_x(self, grad_x: Tensor, weight: Tensor, grad_out: Tensor) -> None:
        """Fills in the gradient of its input."""

    def grad_weight(self, x: Tensor, weight: Tensor, grad_out: Tensor) -> Tensor:
        """The gradient of its filters, laid out as they are."""


class Convolution(torch.autograd.Function):
    """A convolution by some method; each kind of kernel has a subclass, which autograd names."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, method: Method) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.method = method
        return method.run(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x)
            ctx.method.grad_x(grad_x, weight, grad_out)
        if ctx.needs_input_grad[1]:
            grad_weight = ctx.method.grad_weight(x, weight, grad_out)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_out.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None


def convolve(
    kind: type[Convolution], x: Tensor, weight: Tensor, bias: Tensor | None, method: Method
) -> Tensor:
    """Computes a convolution, with its gradients where one of its factors learns."""
    inputs = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        result: Tensor = kind.apply(x, weight, bias, method)
        return result
    return method.run(x.contiguous(memory_format=torch.channels_last), weight, bias)


def misfit(conv: nn.Conv2d, x_shape: tuple[int, ...], lanes: int) -> str | None:
    """Says why a convolution cannot be computed by kernels of whole vectors of channels.

    Args:
        x_shape: of its input, (N, C, H, W).
        lanes: channels of a vector.
    """
    if x_shape[1] != conv.in_channels:
        return f"the volume must have {conv.in_channels} channels"
    if pair(conv.dilation) != (1, 1) or conv.groups != 1:
        return "the convolution must have neither dilation nor groups"
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return "the convolution's padding must be a number of zeros"
    if conv.weight.dtype != torch.float32 or conv.weight.device.type != "cpu":
        return "the weights must be float32 on the CPU"
    if conv.in_channels % lanes or conv.out_channels % lanes:
        return f"the numbers of channels must be multiples of {lanes}"
    return None
