"""The work of a training from its first step to its last figure."""

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from convolens.tasks.base import Meter
from convolens.train.batch_norm import with_shared_batch_norm
from convolens.train.board import Board
from convolens.train.checkpoint import load_weights
from convolens.train.distributed import ALONE, Processes
from convolens.train.evaluation import evaluate, outputs_of
from convolens.train.events import Notify
from convolens.train.files import write_bytes, write_json
from convolens.train.job import Job
from convolens.train.loop import fit
from convolens.train.plan import Plan
from convolens.train.run import RunFolder
from convolens.train.stop import StoppedError, StopRequest
from convolens.visual.curves import curves
from convolens.visual.figure import Figure, png_bytes
from convolens.visual.filters import filters
from convolens.workbench.material import Material
from convolens.workbench.views import with_views


def work(
    material: Material,
    folder: RunFolder,
    notify: Notify,
    stop: StopRequest,
    *,
    resume: bool,
    processes: Processes = ALONE,
) -> None:
    """Trains, tests the best weights, and writes results and figures into the Run's folder."""
    began = time.monotonic()
    plan = with_shared_batch_norm(material.plan, material.network, processes)
    network = plan.place(material.network)
    before = first_filters(network)
    job = Job(
        config=material.config,
        model=network,
        task=material.task,
        train=material.dataset.train,
        val=material.dataset.val,
        plan=plan,
        folder=folder,
        processes=processes,
    )
    on_board = material.config.tensorboard and processes.is_first
    watch = Board(folder.path / "tensorboard", notify) if on_board else notify
    try:
        progress = fit(job, watch, stop, resume=resume)
    finally:
        if isinstance(watch, Board):
            watch.close()
    if processes.is_first:
        load_weights(network, folder.weights_file("best"))
    processes.spread(network)
    tested = with_views(network, material.config.tta)
    try:
        meter = evaluate(tested, material.task, material.dataset.test, plan, processes, stop)
    except StoppedError as error:
        raise StoppedError(
            "stopped in the test after the last epoch; saved",
            f"Go on with: convolens train --resume {folder.path}",
        ) from error
    if not processes.is_first:
        return
    write_figures(folder, _figures(material, network, plan, before, meter, folder))
    write_json(
        folder.test_file,
        {
            "weights": "best",
            "epoch": progress.best_epoch,
            "epochs": len(progress.rows),
            "seconds": round(time.monotonic() - began, 3),
            "metrics": meter.metrics(),
        },
    )


def first_filters(network: nn.Module) -> NDArray[np.float32] | None:
    """The kernels of the first 2-D convolution (O, I, K, K), where the network has one."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.weight.detach().float().cpu().contiguous().numpy().copy()
    return None


def _figures(
    material: Material,
    network: nn.Module,
    plan: Plan,
    before: NDArray[np.float32] | None,
    meter: Meter,
    folder: RunFolder,
) -> Iterable[Figure]:
    yield curves(folder.read_metrics())
    test = material.dataset.test
    yield from material.task.figures(meter, test, outputs_of(network, material.task, test, plan))
    after = first_filters(network)
    if before is not None and after is not None:
        yield filters(before, after)


def write_figures(folder: RunFolder, figures: Iterable[Figure]) -> None:
    """Writes each Figure to `figures/NAME.png`."""
    for figure in figures:
        write_bytes(folder.figures / f"{figure.name}.png", png_bytes(figure))
