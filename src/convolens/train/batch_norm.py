"""Batch norm over the batch of all processes together."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from convolens.train.distributed import Processes
from convolens.train.plan import Plan


def share_batch_norm(model: nn.Module, processes: Processes) -> None:
    """Lets every batch norm take its statistics, while it learns, from all processes' pictures.

    Its parameters, buffers and names stay as they are, and so does what it does in evaluation.
    """
    if processes.world_size == 1:
        return
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.forward = partial(_forward, module, processes)  # type: ignore[method-assign]


def with_shared_batch_norm(plan: Plan, model: nn.Module, processes: Processes) -> Plan:
    """The plan, without our kernels and the compiler where they would take a batch norm's
    statistics from one process's pictures alone.
    """
    has_any = any(isinstance(module, _BatchNorm) for module in model.modules())
    if processes.world_size == 1 or not has_any:
        return plan
    return replace(plan, kernels=False, compiled=False)


def _forward(module: _BatchNorm, processes: Processes, x: Tensor) -> Tensor:
    if not module.training:
        return type(module).forward(module, x)
    module._check_input_dim(x)  # type: ignore[no-untyped-call]
    y, mean, variance, count = _Normalise.apply(
        x, module.weight, module.bias, module.eps, processes
    )
    if module.track_running_stats and module.running_mean is not None:
        _track(module, mean, variance * (count / (count - 1)))
    return y  # type: ignore[no-any-return]


@torch.no_grad()
def _track(module: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Moves the running statistics as `nn.BatchNorm2d` does."""
    weight = module.momentum
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if weight is None:
            weight = 1 / float(module.num_batches_tracked)
    for running, value in ((module.running_mean, mean), (module.running_var, variance)):
        if running is not None and weight is not None:
            running.lerp_(value.to(running.dtype), weight)


class _Normalise(torch.autograd.Function):
    """y = γ·(x − μ)/√(σ² + ε) + β, μ and σ² over the pictures and places of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        processes: Processes,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [d for d in range(x.ndim) if d != 1]
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        size = wide.new_tensor([x.numel() / x.shape[1]])
        sums = torch.cat([wide.sum(dims), size])
        processes.add_(sums)
        count = sums[-1].clone()
        mean = sums[:-1] / count
        # Twice over the data, because E[x²] − μ² loses its digits where μ is large.
        variance = (wide - _wide(mean, x)).square_().sum(dims)
        processes.add_(variance)
        variance /= count
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), count)
        ctx.processes = processes
        ctx.mark_non_differentiable(mean, variance, count)
        y = F.batch_norm(wide, mean, variance, weight, bias, False, 0.0, eps)
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        dims = [d for d in range(x.ndim) if d != 1]
        unit = (x - _wide(mean, x)) * _wide(inverse, x)
        gradient = gradient.to(unit.dtype)
        to_bias, to_weight = gradient.sum(dims), (gradient * unit).sum(dims)
        sums = torch.cat([to_bias, to_weight])
        ctx.processes.add_(sums)
        means = (sums / count).chunk(2)
        to_x = gradient - _wide(means[0], x) - unit * _wide(means[1], x)
        scale = inverse if weight is None else inverse * weight
        affine = (None, None) if weight is None else (to_weight, to_bias)
        return (to_x * _wide(scale, x)).to(x.dtype), *affine, None, None


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, …), to meet a volume (N, C, …)."""
    return values.view(1, -1, *[1] * (x.ndim - 2))
