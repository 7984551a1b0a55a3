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
    """

    mean: Tensor
    inv_std: Tensor
    factors: Tensor


@dataclass(frozen=True, kw_only=True)
class Slope:
    """How the gradient g of a normalisation's result becomes that of its input x.

    Args:
        factors: (3, C): a, b and c of a·g + b·(x − mean) + c.
        weight, bias: gradients of the normalisation's own parameters; None where it has none.
    """

    factors: Tensor
    weight: Tensor | None
    bias: Tensor | None


def take_statistics(
    x: Tensor, norm: nn.BatchNorm2d, library: ctypes.CDLL, *, sums: Tensor | None
) -> Statistics:
    """Takes a batch's mean and variance, and moves the running ones of the module.

    Args:
        x: (N, C, H, W), channels-last.
        sums: what whoever wrote x left, see `memory.keep_sums`; None has x read.
    """
    momentum = _momentum(norm)
    found = Statistics(
        mean=torch.empty(x.shape[1]),
        inv_std=torch.empty(x.shape[1]),
        factors=torch.empty(2, x.shape[1]),
    )
    job, _memory = _job(x, sums)
    job.eps, job.momentum = norm.eps, momentum or 0.0
    job.weight, job.bias = pointer(norm.weight), pointer(norm.bias)
    job.mean, job.inv_std, job.factors = map(pointer, (found.mean, found.inv_std, found.factors))
    if momentum is not None:
        job.running_mean, job.running_var = pointer(norm.running_mean), pointer(norm.running_var)
    library.convolens_batch_norm_statistics(ctypes.byref(job))
    return found


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
        residual: what is added; None with "silu" and "hard_swish".
    Returns: the result, and with "relu" and "relu6" a mask of what they let through: reading that
        costs less than reading the values again.
    """
    out = torch.empty_like(x)
    job, _memory = _job(x, activation=activation)
    mask = _new_mask(job, library) if activation in _WITH_MASK else None
    job.residual, job.out, job.mask = map(pointer, (residual, out, mask))
    job.factors = pointer(statistics.factors)
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
    grads = [torch.empty(C) if weight is not None else None for _ in range(2)]
    found = Slope(factors=torch.empty(3, C), weight=grads[0], bias=grads[1])
    job, _memory = _job(x, sums, activation)
    job.normal = pointer(statistics.factors)
    job.weight, job.mean = pointer(weight), pointer(statistics.mean)
    job.inv_std, job.mask, job.grad_out = map(pointer, (statistics.inv_std, mask, grad_out))
    job.grad_weight, job.grad_bias, job.factors = map(
        pointer, (found.weight, found.bias, found.factors)
    )
    library.convolens_batch_norm_sums(ctypes.byref(job))
    return found


def differentiate(
    grad_out: Tensor,
    x: Tensor,
    statistics: Statistics,
    slope: Slope,
    library: ctypes.CDLL,
    *,
    activation: Activation,
    mask: Tensor | None = None,
    adds: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Computes the gradients of a normalisation's input and, with `adds`, of what was added."""
    grad_x = torch.empty_like(x)
    # Without a ReLU, the gradient passes the addition unchanged.
    grad_residual = grad_out if adds and mask is None else torch.empty_like(x) if adds else None
    job, _memory = _job(x, activation=activation)
    job.normal = pointer(statistics.factors)
    job.grad_out, job.grad_x, job.mask = map(pointer, (grad_out, grad_x, mask))
    if grad_residual is not grad_out:
        job.grad_residual = pointer(grad_residual)
    job.mean, job.factors = pointer(statistics.mean), pointer(slope.factors)
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


def _job(
    x: Tensor, sums: Tensor | None = None, activation: Activation = "none"
) -> tuple[_Job, Tensor]:
    """The job's sizes, and memory that must live as long as it runs."""
    N, C, H, W = x.shape
    parts = num_parts(N * H * W)
    memory = torch.empty(2 * parts * C, dtype=torch.float64)
    job = _Job(N * H * W, C, parts, torch.get_num_threads(), get_args(Activation).index(activation))
    job.x, job.partial = pointer(x), pointer(memory)
    if sums is not None:
        job.sums, job.num_sums = pointer(sums), len(sums)
    return job, memory
