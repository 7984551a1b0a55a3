"""Batch normalisation in training, an addition and a ReLU as one operation, with its gradients."""

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.nn.kernels.memory import num_parts, pointer, sums_of

_POINTERS = (
    *("x", "residual", "weight", "bias", "out", "mean", "inv_std", "running_mean", "running_var"),
    *("mask", "grad_out", "grad_x", "grad_residual", "grad_weight", "grad_bias"),
    *("factors", "partial", "sums"),
)


class _Job(ctypes.Structure):
    """`struct batch_norm` of batch_norm.c, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("M", "C", "num_parts", "num_threads")),
        *((name, ctypes.c_double) for name in ("eps", "momentum", "most")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("num_sums", ctypes.c_int64),
    ]


def batch_norm(
    x: Tensor,
    norm: nn.BatchNorm2d,
    library: ctypes.CDLL,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
    most: float = math.inf,
) -> Tensor:
    """Computes relu(norm(x) + residual) with the batch's own statistics; updates the running ones.

    Args:
        norm: the module in training, for its weight, bias, eps, momentum and running statistics.
        library: what `load_library` returned.
        residual: what is added before the ReLU; None adds nothing.
        relu: whether the ReLU is computed.
        most: the largest value that the ReLU lets through, 6 for ReLU6.
    Shape: x, residual (N, C, H, W) -> (N, C, H, W); float32 on the CPU, channels-last.
    """
    settings = _Settings(
        norm=norm,
        library=library,
        relu=relu,
        most=most,
        momentum=_momentum(norm),
        sums=sums_of(x),
    )
    result: Tensor = _BatchNorm.apply(x, norm.weight, norm.bias, residual, settings)
    return result


def stock_batch_norm(
    x: Tensor,
    norm: nn.BatchNorm2d,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
    most: float = math.inf,
) -> Tensor:
    """Computes what `batch_norm` computes with PyTorch's own operations."""
    volume = norm(x)
    volume = volume if residual is None else volume + residual
    return F.hardtanh(volume, 0.0, most) if relu else volume


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


def _momentum(norm: nn.BatchNorm2d) -> float | None:
    """What part of this batch goes into the running statistics; None where none are kept."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # the plain average of all batches
            return 1.0 / float(norm.num_batches_tracked)
    return norm.momentum or 0.0


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What a normalisation is, but for its tensors that learn."""

    norm: nn.BatchNorm2d
    library: ctypes.CDLL
    relu: bool
    most: float
    momentum: float | None
    sums: Tensor | None


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        settings: _Settings,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(x)
        mean, inv_std = (torch.empty(x.shape[1]) for _ in range(2))
        job, _memory = _job(x)
        job.eps, job.most, job.momentum = settings.norm.eps, settings.most, settings.momentum or 0.0
        job.residual, job.weight, job.bias = map(pointer, (residual, weight, bias))
        job.out, job.mean, job.inv_std = map(pointer, (out, mean, inv_std))
        if settings.momentum is not None:
            job.running_mean = pointer(settings.norm.running_mean)
            job.running_var = pointer(settings.norm.running_var)
        # Reading which values were let through costs less than reading the values again.
        mask = _new_mask(job, settings.library) if settings.relu else None
        job.mask = pointer(mask)
        if settings.sums is not None:
            job.sums, job.num_sums = pointer(settings.sums), len(settings.sums)
        settings.library.convolens_batch_norm_forward(ctypes.byref(job))
        ctx.save_for_backward(x, weight, mean, inv_std, mask)
        ctx.library = settings.library
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inv_std, mask = ctx.saved_tensors
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x)
        # Without ReLU, the gradient passes the addition unchanged.
        adds = ctx.needs_input_grad[3]
        grad_residual = torch.empty_like(x) if adds and mask is not None else None
        learns = weight is not None
        grad_weight, grad_bias = (torch.empty(x.shape[1]) if learns else None for _ in range(2))
        job, _memory = _job(x)
        job.weight, job.mean, job.inv_std, job.mask = map(pointer, (weight, mean, inv_std, mask))
        job.grad_out, job.grad_x, job.grad_residual = map(
            pointer, (grad_out, grad_x, grad_residual)
        )
        job.grad_weight, job.grad_bias = pointer(grad_weight), pointer(grad_bias)
        ctx.library.convolens_batch_norm_backward(ctypes.byref(job))
        if adds and grad_residual is None:
            grad_residual = grad_out
        return grad_x, grad_weight, grad_bias, grad_residual, None


def _new_mask(job: _Job, library: ctypes.CDLL) -> Tensor:
    row = library.convolens_batch_norm_mask_row
    row.argtypes, row.restype = [ctypes.c_int64], ctypes.c_int64
    return torch.empty(job.M * row(job.C), dtype=torch.uint8)


def _job(x: Tensor) -> tuple[_Job, Tensor]:
    """The job's sizes, and memory that must live as long as it runs."""
    N, C, H, W = x.shape
    parts = num_parts(N * H * W)
    memory = torch.empty(2 * parts * C + 2 * C, dtype=torch.float64)
    job = _Job(N * H * W, C, parts, torch.get_num_threads())
    job.x, job.partial = pointer(x), pointer(memory)
    job.factors = memory.data_ptr() + 8 * 2 * parts * C
    return job, memory
