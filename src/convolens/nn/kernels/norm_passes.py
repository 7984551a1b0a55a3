"""The passes of batch normalisation over volumes, each by itself, as the kernels compute them."""

import ctypes
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from convolens.nn.kernels.memory import num_parts, pointer

_POINTERS = (
    *("x", "residual", "weight", "bias", "out", "mean", "inv_std", "running_mean", "running_var"),
    *("mask", "grad_out", "grad_x", "grad_residual", "grad_weight", "grad_bias"),
    *("factors", "normal", "partial", "sums"),
)
# What may follow a normalisation, in the order of `enum activation`.
Activation = Literal["none", "relu", "relu6", "silu", "hard_swish"]
_KINDS = {name: kind for kind, name in enumerate(get_args(Activation))}
_WITH_MASK = ("relu", "relu6")


class _Job(ctypes.Structure):
    """`struct batch_norm` of batch_norm.c, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("M", "C", "num_parts", "num_threads", "activation")),
        *((name, ctypes.c_double) for name in ("eps", "momentum")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("num_sums", ctypes.c_int64),
    ]


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Of a batch, by channel.

    Args:
        factors: (2, C): scale and shift of a·x + b, the normalisation.
        job: what the kernels were told of x, with which `normalise` goes on.
    """

    mean: Tensor
    inv_std: Tensor
    factors: Tensor
    job: _Job | None = None


@dataclass(frozen=True, kw_only=True)
class Slope:
    """How the gradient g of a normalisation's result becomes that of its input x.

    Args:
        factors: (3, C): a, b and c of a·g + b·(x − mean) + c.
        weight, bias: gradients of the normalisation's own parameters; None where it has none.
        job: what the kernels were told of x, with which `differentiate` goes on.
    """

    factors: Tensor
    weight: Tensor | None
    bias: Tensor | None
    job: _Job


def take_statistics(
    x: Tensor, norm: nn.BatchNorm2d, library: ctypes.CDLL, *, sums: Tensor | None
) -> Statistics:
    """Takes a batch's mean and variance, and moves the running ones of the module.

    Args:
        x: (N, C, H, W), channels-last.
        sums: what whoever wrote x left, see `memory.keep_sums`; None has x read.
    """
    momentum, C = _momentum(norm), x.shape[1]
    mean, inv_std, factors = torch.empty(C), torch.empty(C), torch.empty(2, C)
    job = _job(x)
    _memory = _give_sums(job, sums)
    job.eps, job.momentum = norm.eps, momentum or 0.0
    job.weight, job.bias = pointer(norm.weight), pointer(norm.bias)
    job.mean, job.inv_std, job.factors = pointer(mean), pointer(inv_std), pointer(factors)
    if momentum is not None:
        job.running_mean, job.running_var = pointer(norm.running_mean), pointer(norm.running_var)
    library.convolens_batch_norm_statistics(ctypes.byref(job))
    return Statistics(mean=mean, inv_std=inv_std, factors=factors, job=job)


def normalise(
    x: Tensor,
    statistics: Statistics,
    library: ctypes.CDLL,
    *,
    residual: Tensor | None,
    activation: Activation,
) -> tuple[Tensor, Tensor | None]:
    """Computes activation(a·x + b + residual).

    Args:
        statistics: what `take_statistics` found of x.
        residual: what is added; None with "silu" and "hard_swish".
    Returns: the result, and with "relu" and "relu6" a mask of what they let through: reading that
        costs less than reading the values again.
    """
    out, job = torch.empty_like(x), statistics.job or _job(x)
    mask = _new_mask(job, library) if activation in _WITH_MASK else None
    job.activation, job.factors = _KINDS[activation], pointer(statistics.factors)
    job.residual, job.out, job.mask = pointer(residual), pointer(out), pointer(mask)
    library.convolens_batch_norm_normalise(ctypes.byref(job))
    return out, mask


def take_slope(
    grad_out: Tensor | None,
    x: Tensor,
    weight: Tensor | None,
    statistics: Statistics,
    library: ctypes.CDLL,
    *,
    activation: Activation,
    mask: Tensor | None = None,
    sums: Tensor | None = None,
) -> Slope:
    """Sums up the gradient of a normalisation's result.

    Args:
        grad_out: (N, C, H, W), channels-last; not needed where there are sums.
        weight: of the normalisation; None is 1.
        mask: what `normalise` gave.
        sums: (num_sums, 2, C), what whoever wrote the gradient left; None has it read.
    """
    C = x.shape[1]
    factors = torch.empty(3, C)
    grad_weight, grad_bias = (None, None) if weight is None else (torch.empty(C), torch.empty(C))
    job = _job(x)
    _memory = _give_sums(job, sums)
    job.activation, job.normal = _KINDS[activation], pointer(statistics.factors)
    job.weight, job.mean, job.inv_std = map(pointer, (weight, statistics.mean, statistics.inv_std))
    job.mask, job.grad_out, job.factors = pointer(mask), pointer(grad_out), pointer(factors)
    job.grad_weight, job.grad_bias = pointer(grad_weight), pointer(grad_bias)
    library.convolens_batch_norm_sums(ctypes.byref(job))
    return Slope(factors=factors, weight=grad_weight, bias=grad_bias, job=job)


def differentiate(
    grad_out: Tensor, slope: Slope, library: ctypes.CDLL, *, adds: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Computes the gradients of a normalisation's input and, with `adds`, of what was added.

    Args:
        slope: what `take_slope` found, of tensors that are still there.
    """
    grad_x, job, grad_residual = torch.empty_like(grad_out), slope.job, None
    job.grad_out, job.grad_x = pointer(grad_out), pointer(grad_x)
    if adds and job.mask is None:
        grad_residual = grad_out  # without a ReLU, it passes the addition unchanged
    elif adds:
        grad_residual = torch.empty_like(grad_out)
        job.grad_residual = pointer(grad_residual)
    library.convolens_batch_norm_differentiate(ctypes.byref(job))
    return grad_x, grad_residual


def _momentum(norm: nn.BatchNorm2d) -> float | None:
    """What part of this batch goes into the running statistics; None where none are kept."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # the plain average of all batches
            return 1.0 / float(norm.num_batches_tracked)
    return norm.momentum or 0.0


def _new_mask(job: _Job, library: ctypes.CDLL) -> Tensor:
    row = library.convolens_batch_norm_mask_row
    row.argtypes, row.restype = [ctypes.c_int64], ctypes.c_int64
    return torch.empty(job.M * row(job.C), dtype=torch.uint8)


def _job(x: Tensor) -> _Job:
    N, C, H, W = x.shape
    job = _Job(N * H * W, C, num_parts(N * H * W), torch.get_num_threads())
    job.x = pointer(x)
    return job


def _give_sums(job: _Job, sums: Tensor | None) -> Tensor:
    """What whoever wrote the volume left, or memory for it; it must live as long as the job."""
    if sums is not None:
        job.sums, job.num_sums = pointer(sums), len(sums)
        return sums
    partial = torch.empty(2 * job.num_parts * job.C, dtype=torch.float64)
    job.partial = pointer(partial)
    return partial
