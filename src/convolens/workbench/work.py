"""The work of a training from its first step to its last figure."""

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from convolens.tasks.base import Meter
from convolens.train.checkpoint import load_weights
from convolens.train.events import Notify
from convolens.train.files import write_bytes, write_json
from convolens.train.loop import Job, evaluate, fit
from convolens.train.run import RunFolder
from convolens.train.stop import StopRequest
from convolens.visual.curves import curves
from convolens.visual.figure import Figure, png_bytes
from convolens.visual.filters import filters
from convolens.workbench.material import Material


def work(
    material: Material, folder: RunFolder, notify: Notify, stop: StopRequest, *, resume: bool
) -> None:
    """Trains, tests the best weights, and writes results and figures into the Run's folder."""
    began = time.monotonic()
    network = material.plan.place(material.network)
    before = first_filters(network)
    job = Job(
        config=material.config,
        model=network,
        task=material.task,
        train=material.dataset.train,
        val=material.dataset.val,
        plan=material.plan,
        folder=folder,
    )
    progress = fit(job, notify, stop, resume=resume)
    load_weights(network, folder.weights_file("best"))
    meter = evaluate(network, material.task, material.dataset.test, material.plan)
    write_figures(folder, _figures(material, network, before, meter, folder))
    write_json(
        folder.test_file,
        {
            "weights": "best",
            "epoch": progress.best_epoch,
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
    before: NDArray[np.float32] | None,
    meter: Meter,
    folder: RunFolder,
) -> Iterable[Figure]:
    yield curves(folder.read_metrics())
    yield from material.task.figures(meter, material.dataset.test)
    after = first_filters(network)
    if before is not None and after is not None:
        yield filters(before, after)


def write_figures(folder: RunFolder, figures: Iterable[Figure]) -> None:
    """Writes each Figure to `figures/NAME.png`."""
    for figure in figures:
        write_bytes(folder.figures / f"{figure.name}.png", png_bytes(figure))
