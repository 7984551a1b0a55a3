"""The training loop."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from convolens.data.base import Split
from convolens.data.loader import Batch, batches
from convolens.errors import ConfigError, ConvolensError
from convolens.tasks.base import Meter, Task
from convolens.train.checkpoint import save_tensors
from convolens.train.config import Config
from convolens.train.events import EpochEnded, Noted, Notify, Started, Stepped
from convolens.train.optimizer import make_optimizer, needs_closure
from convolens.train.penalty import add_penalty_gradient, penalised_parameters, penalty
from convolens.train.plan import Plan
from convolens.train.run import RunFolder
from convolens.train.schedule import factor, set_learning_rate
from convolens.train.state import Progress, load_state, save_state
from convolens.train.stop import StoppedError, StopRequest

EVAL_BATCH_SIZE = 500
CLOCKS = ("seconds", "wait", "lr", "steps")  # what an epoch's sums hold beside the metrics


class DivergedError(ConvolensError):
    """The loss is no longer a finite number."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that one training works on."""

    config: Config
    model: nn.Module
    task: Task
    train: Split
    val: Split | None
    plan: Plan
    folder: RunFolder

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train) // self.config.batch_size


def check_batch_size(config: Config, num_train: int) -> None:
    """Raises ConfigError when the training pictures do not fill one batch."""
    if config.batch_size > num_train:
        raise ConfigError(
            f"batch_size {config.batch_size} is larger than the {num_train} training pictures",
            f"Choose --batch {num_train} or less.",
        )


def step_seed(seed: int, stream: int, index: int) -> int:
    """A seed for one step or epoch that shares no bits with its neighbours' (SplitMix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + index + 1) * 0x9E3779B97F4A7C15
    z &= 2**64 - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (z ^ (z >> 31)) >> 1


def epoch_order(seed: int, epoch: int, num_train: int) -> Tensor:
    """The order of the training pictures in one epoch."""
    generator = torch.Generator().manual_seed(step_seed(seed, 1, epoch))
    return torch.randperm(num_train, generator=generator)


def fit(job: Job, notify: Notify, stop: StopRequest, *, resume: bool = False) -> Progress:
    """Trains until the last epoch, and leaves weights, metrics and state in the Run's folder.

    Raises:
        StoppedError: when a stop was requested; the state is saved.
        DivergedError: when the loss is not finite; the last saved state stays.
    """
    optimizer = make_optimizer(job.model, job.config.optimizer)
    progress = Progress()
    if resume:
        progress, passed_over = load_state(job.folder, job.model, optimizer)
        for text in passed_over:
            notify(Noted(text=text))
    total = job.steps_per_epoch * job.config.epochs
    notify(
        Started(
            step=progress.step,
            total_steps=total,
            epochs=job.config.epochs,
            batch_size=job.config.batch_size,
        )
    )
    while progress.step < total:
        _run_epoch(job, optimizer, progress, notify, stop)
    _save(job, optimizer, progress)
    return progress


def _run_epoch(
    job: Job, optimizer: Optimizer, progress: Progress, notify: Notify, stop: StopRequest
) -> None:
    """The rest of the epoch in which training stands."""
    config, per_epoch = job.config, job.steps_per_epoch
    epoch, done = divmod(progress.step, per_epoch)
    order = epoch_order(config.seed, epoch, len(job.train))[: per_epoch * config.batch_size]
    penalised = penalised_parameters(job.model)
    sums = progress.epoch_sums = progress.epoch_sums if done else {}
    job.model.train()
    mark = saved = time.monotonic()
    for batch in batches(job.train, order, config.batch_size, start=done):
        rate = _set_rate(job, optimizer, progress.step)
        metrics = _step(job, optimizer, penalised, batch, progress.step)
        if not math.isfinite(metrics["loss"]):
            raise DivergedError(
                f"training diverged: the loss is {metrics['loss']} at step {progress.step}",
                f"Lower the learning rate (it was {rate:.3g}): --set optimizer.lr=…",
            )
        progress.step += 1
        now = time.monotonic()
        for name, value in (*metrics.items(), ("seconds", now - mark), ("wait", batch.wait_s)):
            sums[name] = sums.get(name, 0.0) + value
        sums["lr"], sums["steps"] = rate, sums.get("steps", 0.0) + 1
        mark = now
        averages = {name: sums[name] / sums["steps"] for name in metrics}
        notify(
            Stepped(
                step=progress.step,
                epoch=epoch + 1,
                num_images=len(batch.indices),
                metrics=averages,
            )
        )
        if stop:
            _save(job, optimizer, progress)
            raise StoppedError(
                f"stopped at epoch {epoch + 1} of {config.epochs}, step {progress.step}; saved",
                f"Go on with: convolens train --resume {job.folder.path}",
            )
        last_of_epoch = progress.step % per_epoch == 0
        if not last_of_epoch and _is_due(config, progress.step, now - saved):
            _save(job, optimizer, progress)
            saved = time.monotonic()
    _end_epoch(job, progress, epoch, notify)
    if _is_due(config, progress.step, time.monotonic() - saved):
        _save(job, optimizer, progress)


def _is_due(config: Config, step: int, seconds_since: float) -> bool:
    every_steps, every_seconds = config.checkpoint.every_steps, config.checkpoint.every_seconds
    return bool(
        (every_steps and step % every_steps == 0)
        or (every_seconds and seconds_since >= every_seconds)
    )


def _set_rate(job: Job, optimizer: Optimizer, step: int) -> float:
    """Sets every group's learning rate for this step; returns the first group's."""
    total = job.steps_per_epoch * job.config.epochs
    multiplier = factor(job.config.schedule, step, total, job.steps_per_epoch)
    set_learning_rate(optimizer, multiplier)
    return float(optimizer.param_groups[0]["lr"])


def _step(
    job: Job, optimizer: Optimizer, penalised: list[nn.Parameter], batch: Batch, step: int
) -> dict[str, float]:
    """One step of the optimizer; returns the loss and metrics before it."""
    seed = step_seed(job.config.seed, 2, step)
    generator = torch.Generator().manual_seed(seed)
    targets = job.task.targets(job.train, batch.indices)
    pixels, targets = job.task.prepare(
        batch.pixels.to(job.plan.device), targets.to(job.plan.device), generator
    )
    pixels = job.plan.arrange(pixels)
    seen: list[dict[str, float]] = []

    def closure() -> Tensor:
        job.plan.seed(seed)  # dropout is the same each time an optimizer asks
        optimizer.zero_grad(set_to_none=True)
        with job.plan.autocast():
            outputs = job.model(pixels)
        loss = job.task.loss(outputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        add_penalty_gradient(penalised, job.config.penalty)
        if not seen:
            seen.append({"loss": float(loss.detach()), **job.task.batch_metrics(outputs, targets)})
        if needs_closure(job.config.optimizer):  # a line search compares losses, penalty included
            return loss.detach() + penalty(penalised, job.config.penalty).detach()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return seen[0]


def evaluate(model: nn.Module, task: Task, split: Split, plan: Plan) -> Meter:
    """One pass over a split without learning."""
    meter = task.meter(len(split))
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(split, torch.arange(len(split)), EVAL_BATCH_SIZE):
                targets = task.targets(split, batch.indices).to(plan.device)
                pixels, targets = task.prepare(batch.pixels.to(plan.device), targets, None)
                with plan.autocast():
                    outputs = model(plan.arrange(pixels))
                meter.update(batch.indices, outputs, targets)
    finally:
        model.train(was_training)
    return meter


def _end_epoch(job: Job, progress: Progress, epoch: int, notify: Notify) -> None:
    """Validates, keeps the best weights, writes the epoch's row."""
    sums = progress.epoch_sums
    row: dict[str, float | int] = {
        "epoch": epoch + 1,
        "step": progress.step,
        "lr": sums["lr"],
        **{f"train_{name}": sums[name] / sums["steps"] for name in sums if name not in CLOCKS},
        "seconds": round(sums["seconds"], 3),
        "images_per_s": round(sums["steps"] * job.config.batch_size / sums["seconds"], 1),
        "wait_share": round(sums["wait"] / sums["seconds"], 4),
    }
    score = float(epoch)
    if job.val is not None:
        metrics = evaluate(job.model, job.task, job.val, job.plan).metrics()
        row |= {f"val_{name}": value for name, value in metrics.items()}
        score = metrics[job.task.best_metric]
    progress.seconds += sums["seconds"]
    progress.epoch_sums = {}
    progress.rows.append(row)
    if score >= progress.best:  # of two equals the one that was trained longer
        progress.best, progress.best_epoch = score, epoch + 1
        _save_weights(job, "best", epoch + 1)
    job.folder.write_metrics(progress.rows)
    notify(EpochEnded(epoch=epoch + 1, row=row))


def _save(job: Job, optimizer: Optimizer, progress: Progress) -> None:
    """Saves where training stands: the state to go on from, and the weights to use now."""
    save_state(job.folder, job.model, optimizer, progress)
    _save_weights(job, "last", -(-progress.step // job.steps_per_epoch))


def _save_weights(job: Job, which: str, epoch: int) -> None:
    meta = {"model": job.config.model.name, "epoch": epoch}
    save_tensors(job.folder.weights_file(which), job.model.state_dict(), meta)
