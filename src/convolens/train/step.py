"""One step of the optimizer: an augmented batch, its gradient, penalty, clipping, update."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from convolens.data.augment import alternating_flips
from convolens.data.loader import Batch
from convolens.train.job import Job, step_seed
from convolens.train.optimizer import needs_closure
from convolens.train.pace import Pace
from convolens.train.penalty import add_penalty_gradient, penalised_parameters, penalty
from convolens.train.scale import LossScale

_DROPOUT = 1000  # the first of the streams of random numbers that each further process has


def take_step(
    job: Job,
    optimizer: Optimizer,
    batch: Batch,
    step: int,
    scale: LossScale | None = None,
    pace: Pace | None = None,
) -> dict[str, Tensor]:
    """One step of the optimizer.

    Args:
        scale: of the loss, in float16; it leaves out a step whose gradient is not finite.
        pace: times the forward and backward pass.
    Returns: the loss and metrics before the step; a tensor is still on the device, so that
        nothing waits for it.
    """
    config = job.config
    seed = step_seed(config.seed, 2, step)
    generator = torch.Generator().manual_seed(seed)
    targets = job.task.targets(job.train, batch.indices)
    own = job.processes.share(config.batch_size)
    flipped = None
    if config.augment.alternate:
        epoch, flip_seed = step // job.steps_per_epoch, step_seed(config.seed, 3, 0)
        flipped = alternating_flips(batch.indices, epoch, flip_seed, config.augment)
    device = job.plan.device
    pixels, targets = job.task.prepare(
        batch.pixels.to(device), targets.to(device), generator, own, flipped
    )
    rank = job.processes.rank
    own_seed = step_seed(config.seed, _DROPOUT + rank, step) if rank else seed
    penalised = penalised_parameters(job.model) if config.penalty.is_on else []
    seen: list[dict[str, Tensor]] = []

    def closure() -> Tensor:
        job.plan.seed(own_seed)  # dropout is the same each time an optimizer asks
        optimizer.zero_grad(set_to_none=True)
        with pace.timing(len(pixels)) if pace else nullcontext():
            loss, metrics = add_gradient(job, pixels, targets, own.total, scale)
        loss, metrics = job.processes.add_gradients(job.model.parameters(), loss, metrics)
        if scale is not None:
            scale.restore(optimizer)
        add_penalty_gradient(penalised, config.penalty)
        if config.clip_norm:
            clip_gradient([*job.model.parameters()], config.clip_norm)
        if not seen:
            seen.append({"loss": loss, **metrics})
        if needs_closure(config.optimizer):  # a line search compares losses, penalty included
            return loss + penalty(penalised, config.penalty).detach()
        return loss

    if scale is not None:
        closure()
        scale.step(optimizer)
    else:
        optimizer.step(closure)  # type: ignore[arg-type]
    return seen[0]


def add_gradient(
    job: Job,
    pixels: Tensor,
    targets: Any,
    total: int | None = None,
    scale: LossScale | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Adds the gradient of a batch's mean loss, L = Σ_j (B_j / B)·L_j over its micro-batches.

    The batch's B pictures are split into `accumulate` parts, or as many as the plan's
    micro-batch needs, whose sizes B_j differ by one at most. Where the loss is a mean over
    pictures and the network treats each picture by itself, the sum equals the gradient of the
    whole batch; only the memory of one part is needed.

    Args:
        job: its network gets the gradient.
        pixels: as the network takes them.
        targets: indexed by picture, a tensor or a list.
        total: B, where these are only a share of the batch's pictures.
        scale: multiplies the gradients, not the loss that is returned.
    Returns: the mean loss, detached, and the means of the task's batch metrics.
    """
    count = len(pixels)
    parts = max(job.config.accumulate, job.plan.num_parts(count))
    bounds = [count * part // parts for part in range(parts + 1)]
    whole = total or count
    mean_loss = torch.zeros((), device=pixels.device)
    metrics: dict[str, Tensor] = {}
    for first, last in pairwise(bounds):
        if first == last:
            continue
        some = targets[first:last]
        with job.plan.autocast():
            outputs = job.model(job.plan.arrange(pixels[first:last]))
        share = (last - first) / whole
        loss = job.task.loss(outputs, some) * share
        (scale.grow(loss) if scale else loss).backward()  # type: ignore[no-untyped-call]
        mean_loss += loss.detach()
        with torch.no_grad():
            found = job.task.batch_metrics(outputs, some)
        for name, value in found.items():
            metrics[name] = metrics.get(name, torch.zeros_like(value)) + share * value
    return mean_loss, metrics


@torch.no_grad()
def clip_gradient(parameters: Sequence[nn.Parameter], most: float) -> Tensor:
    """Shortens the gradient g of all parameters together: g ← g·min(1, most / ‖g‖₂).

    Source: Pascanu, Mikolov and Bengio (2013), arXiv:1211.5063, algorithm 1.
    Args:
        parameters: those without a gradient are passed over.
        most: the greatest length that is left as it is; above 0.
    Returns: the length before.
    Deviates: as in `torch.nn.utils.clip_grad_norm_`, 1e-6 is added to the length, so that a
        gradient of length 0 does no harm; that function itself imports torch's compiler.
    Example:
        >>> weight = nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> float(clip_gradient([weight], 1.0)), [round(g, 4) for g in weight.grad.tolist()]
        (5.0, [0.6, 0.8])
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    length: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (most / (length + 1e-6)).clamp(max=1.0))
    return length
