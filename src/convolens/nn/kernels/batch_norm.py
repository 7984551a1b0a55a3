"""Batch normalisation in training, an addition and an activation as one, with its gradients."""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.nn.kernels.memory import sums_of
from convolens.nn.kernels.norm_passes import (
    Activation,
    Statistics,
    differentiate,
    normalise,
    take_slope,
    take_statistics,
)

_STOCK: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda volume: volume,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hard_swish": F.hardswish,
}


def batch_norm(
    x: Tensor,
    norm: nn.BatchNorm2d,
    library: ctypes.CDLL,
    *,
    residual: Tensor | None = None,
    activation: Activation = "none",
) -> Tensor:
    """Computes activation(norm(x) + residual) and updates the running statistics.

    Args:
        norm: the module in training, for its weight, bias, eps, momentum and running statistics.
        library: what `load_library` returned.
        residual: what is added before the activation; None adds nothing, as "silu" and
            "hard_swish" demand.
        activation: "none", "relu", "relu6", "silu" or "hard_swish".
    Shape: x, residual (N, C, H, W) -> (N, C, H, W); float32 on the CPU, channels-last.
    """
    settings = _Settings(norm=norm, library=library, activation=activation, sums=sums_of(x))
    result: Tensor = _BatchNorm.apply(x, norm.weight, norm.bias, residual, settings)
    return result


def stock_batch_norm(
    x: Tensor,
    norm: nn.BatchNorm2d,
    *,
    residual: Tensor | None = None,
    activation: Activation = "none",
) -> Tensor:
    """Computes what `batch_norm` computes with PyTorch's own operations."""
    volume = norm(x)
    volume = volume if residual is None else volume + residual
    return _STOCK[activation](volume)


def fits_batch_norm(norm: nn.BatchNorm2d, x_shape: tuple[int, ...]) -> str | None:
    """Says why a normalisation cannot be `batch_norm`; None if it can.

    Args:
        x_shape: of its input, (N, C, H, W).
    """
    if not norm.training:
        return "the normalisation must be in training"
    if (norm.weight is None) != (norm.bias is None):
        return "the normalisation must have both weight and bias, or neither"
    if norm.weight is not None and norm.weight.dtype != torch.float32:
        return "the weights must be float32"
    if norm.running_mean is not None and norm.running_mean.dtype != torch.float32:
        return "the running statistics must be float32"
    if x_shape[1] != norm.num_features:
        return f"the volume must have {norm.num_features} channels"
    if x_shape[0] * x_shape[2] * x_shape[3] < 2:
        return "there must be at least two values per channel"
    return None


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What a normalisation is, but for its tensors that learn."""

    norm: nn.BatchNorm2d
    library: ctypes.CDLL
    activation: Activation
    sums: Tensor | None


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        _bias: Tensor | None,
        residual: Tensor | None,
        settings: _Settings,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last)
        found = take_statistics(x, settings.norm, settings.library, sums=settings.sums)
        out, mask = normalise(
            *(x, found, settings.library),
            residual=residual,
            activation=settings.activation,
        )
        ctx.save_for_backward(x, weight, mask, found.mean, found.inv_std, found.factors)
        ctx.library, ctx.activation = settings.library, settings.activation
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mask, mean, inv_std, factors = ctx.saved_tensors
        found = Statistics(mean=mean, inv_std=inv_std, factors=factors)
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        slope = take_slope(
            *(grad_out, x, weight, found, ctx.library), activation=ctx.activation, mask=mask
        )
        grad_x, grad_residual = differentiate(
            grad_out, slope, ctx.library, adds=ctx.needs_input_grad[3]
        )
        return grad_x, slope.weight, slope.bias, grad_residual, None
