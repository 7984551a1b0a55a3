"""The training loop."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import NoReturn

from torch.optim import Optimizer

from convolens.data import new_problems
from convolens.data.loader import batches
from convolens.train.average import WeightAverage, make_average
from convolens.train.batch_norm import share_batch_norm
from convolens.train.checkpoint import save_tensors
from convolens.train.evaluation import evaluate
from convolens.train.events import EpochEnded, Noted, Notify, Started, Stepped
from convolens.train.freeze import learn
from convolens.train.job import Job, epoch_order
from convolens.train.optimizer import make_optimizer
from convolens.train.pace import Pace
from convolens.train.readings import Readings
from convolens.train.scale import LossScale, scale_of
from convolens.train.schedule import factor, set_learning_rate
from convolens.train.state import Progress, load_state, save_state
from convolens.train.step import take_step
from convolens.train.stop import DivergedError, StoppedError, StopRequest

CLOCKS = ("seconds", "wait", "lr", "steps")  # what an epoch's sums hold beside the metrics


@dataclass
class Learner:
    """What changes as a training goes, beside the network."""

    optimizer: Optimizer
    progress: Progress
    average: WeightAverage | None
    scale: LossScale | None
    readings: Readings
    pace: Pace | None = None
    saved_s: float = field(default_factory=time.monotonic)


def fit(job: Job, notify: Notify, stop: StopRequest, *, resume: bool = False) -> Progress:
    """Trains to the end, and leaves weights, metrics and state in the Run's folder.

    The end is the last epoch, or the one before which validation had not become better for
    `stop.patience` epochs.

    Raises:
        StoppedError: when a stop was requested; the state is saved.
        DivergedError: when the loss is not finite; the last saved state stays.
    """
    job.processes.spread(job.model)
    share_batch_norm(job.model, job.processes)
    optimizer = make_optimizer(job.model, job.config.optimizer)
    total = job.steps_per_epoch * job.config.epochs
    average = make_average(job.model, job.config.average, total)
    scale = scale_of(job.plan)
    progress = Progress()
    if resume:
        progress, passed_over = load_state(
            job.folder, job.model, optimizer, average, job.processes, scale
        )
        for text in passed_over:
            notify(Noted(text=text))
    notify(
        Started(
            step=progress.step,
            total_steps=total,
            epochs=job.config.epochs,
            batch_size=job.config.batch_size,
        )
    )
    learner = Learner(optimizer, progress, average, scale, Readings(job.plan.device))
    if not resume and job.processes.world_size == 1:  # a trial knows nothing of other processes
        learner.pace = Pace(job.folder, job.plan)
    with job.plan.own_threads():
        if progress.epoch_sums and progress.step % job.steps_per_epoch == 0:
            _end_epoch(job, learner, notify, stop)  # a stop had come in the middle of it
        while progress.step < total and not _has_stalled(job, progress):
            _run_epoch(job, learner, notify, stop)
    if progress.step < total:
        notify(Noted(text=_stalled_text(job, progress)))
    _save(job, learner, notify)
    return progress


def _has_stalled(job: Job, progress: Progress) -> bool:
    patience = job.config.stop.patience
    return 0 < patience <= progress.epochs_since_better


def _stalled_text(job: Job, progress: Progress) -> str:
    return (
        f"stopped after epoch {len(progress.rows)} of {job.config.epochs}: validation "
        f"{job.task.best_metric} has not become better than {progress.best:.4g} "
        f"for {progress.epochs_since_better} epochs"
    )


def _run_epoch(job: Job, learner: Learner, notify: Notify, stop: StopRequest) -> None:
    """The rest of the epoch in which training stands."""
    config, per_epoch = job.config, job.steps_per_epoch
    optimizer, progress, average = learner.optimizer, learner.progress, learner.average
    epoch, done = divmod(progress.step, per_epoch)
    order = epoch_order(config.seed, epoch, len(job.train))[: per_epoch * config.batch_size]
    own = job.processes.share(config.batch_size)
    order = order.view(per_epoch, -1)[:, own.first : own.last].reshape(-1)
    progress.epoch_sums = progress.epoch_sums if done else {}
    learn(job.model)
    mark = time.monotonic()
    for batch in batches(job.train, order, len(own), start=done):
        rate = _set_rate(job, optimizer, progress.step)
        metrics = take_step(job, optimizer, batch, progress.step, learner.scale, learner.pace)
        if average is not None:
            average.update(progress.step)
        now = time.monotonic()
        learner.readings.add(progress.step, rate, metrics, now - mark, batch.wait_s)
        mark = now
        progress.step += 1
        if learner.readings.is_due:
            _read(job, learner, notify)
        if progress.step % per_epoch == 0:
            break  # the epoch's validation belongs to what is saved
        _stop_if_asked(job, learner, notify, stop)
        _save_if_due(job, learner, notify)
    _end_epoch(job, learner, notify, stop)
    if progress.step < per_epoch * config.epochs:
        _stop_if_asked(job, learner, notify, stop)
    _save_if_due(job, learner, notify)


def _read(job: Job, learner: Learner, notify: Notify) -> None:
    """Takes in the numbers of the steps since the last reading, and tells them.

    Raises:
        DivergedError: when one of the losses is not finite.
    """
    sums = learner.progress.epoch_sums
    for reading in learner.readings.read():
        if not math.isfinite(reading.metrics["loss"]):
            raise DivergedError(
                f"training diverged: the loss is {reading.metrics['loss']} at step {reading.step}",
                f"Lower the learning rate (it was {reading.rate:.3g}): --set optimizer.lr=…",
            )
        clocks = {"seconds": reading.seconds, "wait": reading.wait, "steps": 1.0}
        for name, value in (reading.metrics | clocks).items():
            sums[name] = sums.get(name, 0.0) + value
        sums["lr"] = reading.rate
        notify(
            Stepped(
                step=reading.step + 1,
                epoch=reading.step // job.steps_per_epoch + 1,
                num_images=job.config.batch_size,
                metrics={name: sums[name] / sums["steps"] for name in reading.metrics},
            )
        )
    if learner.scale is not None:
        learner.scale.check(learner.progress.step)


def _stop_if_asked(job: Job, learner: Learner, notify: Notify, stop: StopRequest) -> None:
    if job.processes.any(bool(stop)):
        _save_and_stop(job, learner, notify)


def _save_and_stop(job: Job, learner: Learner, notify: Notify) -> NoReturn:
    _save(job, learner, notify)
    step = learner.progress.step
    epoch = -(-step // job.steps_per_epoch)
    raise StoppedError(
        f"stopped at epoch {epoch} of {job.config.epochs}, step {step}; saved",
        f"Go on with: convolens train --resume {job.folder.path}",
    )


def _save_if_due(job: Job, learner: Learner, notify: Notify) -> None:
    wanted, since = job.config.checkpoint, time.monotonic() - learner.saved_s
    by_steps = wanted.every_steps and learner.progress.step % wanted.every_steps == 0
    if by_steps or (wanted.every_seconds and since >= wanted.every_seconds):
        _save(job, learner, notify)


def _set_rate(job: Job, optimizer: Optimizer, step: int) -> float:
    """Sets every group's learning rate for this step; returns the first group's."""
    total = job.steps_per_epoch * job.config.epochs
    multiplier = factor(job.config.schedule, step, total, job.steps_per_epoch)
    set_learning_rate(optimizer, multiplier)
    return float(optimizer.param_groups[0]["lr"])


def _end_epoch(job: Job, learner: Learner, notify: Notify, stop: StopRequest) -> None:
    """Validates, keeps the best weights, writes the epoch's row."""
    _read(job, learner, notify)
    progress, average = learner.progress, learner.average
    epoch = progress.step // job.steps_per_epoch - 1
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
        began = time.monotonic()
        try:
            with average.in_place() if average is not None else nullcontext():
                meter = evaluate(job.model, job.task, job.val, job.plan, job.processes, stop)
        except StoppedError:
            _save_and_stop(job, learner, notify)
        metrics = meter.metrics()
        row |= {f"val_{name}": value for name, value in metrics.items()}
        row["val_seconds"] = round(time.monotonic() - began, 3)
        score = metrics[job.task.best_metric]
    for problem in new_problems(job.train.pictures):
        notify(Noted(text=f"left out, since it cannot be read: {problem.where}: {problem.why}"))
    progress.seconds += sums["seconds"]
    progress.epoch_sums = {}
    progress.rows.append(row)
    progress.epochs_since_better = 0 if score > progress.best else progress.epochs_since_better + 1
    if score >= progress.best:  # of two equals the one that was trained longer
        progress.best, progress.best_epoch = score, epoch + 1
        _save_weights(job, average, "best", epoch + 1)
    if job.processes.is_first:
        job.folder.write_metrics(progress.rows)
    notify(EpochEnded(epoch=epoch + 1, row=row))


def _save(job: Job, learner: Learner, notify: Notify) -> None:
    """Saves where training stands: the state to go on from, and the weights to use now."""
    _read(job, learner, notify)  # a training that has diverged is not saved
    learner.saved_s = time.monotonic()
    if not job.processes.is_first:
        return
    progress, average = learner.progress, learner.average
    save_state(job.folder, job.model, learner.optimizer, progress, average, learner.scale)
    _save_weights(job, average, "last", -(-progress.step // job.steps_per_epoch))


def _save_weights(job: Job, average: WeightAverage | None, which: str, epoch: int) -> None:
    if not job.processes.is_first:
        return
    meta = {"model": job.config.model.name, "epoch": epoch}
    tensors = job.model.state_dict() if average is None else average.tensors
    save_tensors(job.folder.weights_file(which), tensors, meta)
