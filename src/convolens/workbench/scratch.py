"""`scratch train`: SimpleConvNet learns by hand-written layers, and leaves a Run like any other."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from convolens.data.augment import AugmentConfig
from convolens.data.base import Dataset, MemoryPictures, Split
from convolens.data.root import cache_folder
from convolens.errors import DataError
from convolens.scratch.augmentation import shifts
from convolens.scratch.layer import Array
from convolens.scratch.network import Network
from convolens.scratch.networks import simple_convnet
from convolens.scratch.optimizers import Adam
from convolens.scratch.trainer import Row, Step, Trainer, cosine
from convolens.tasks.classify import Classify
from convolens.train.checkpoint import save_tensors
from convolens.train.choice import Choice
from convolens.train.config import Config, DataConfig, ModelConfig, PlanConfig
from convolens.train.evaluation import evaluate
from convolens.train.events import EpochEnded, Noted, Notify, Started, Stepped, ignore
from convolens.train.files import write_json
from convolens.train.job import check_job
from convolens.train.optimizer import OptimizerConfig, resolved
from convolens.train.plan import Plan
from convolens.train.run import RunFolder, check_out, check_run_name, create_run_folder
from convolens.train.schedule import ScheduleConfig
from convolens.train.settings import to_json
from convolens.train.stop import StoppedError, StopRequest, stop_signals
from convolens.visual.curves import curves
from convolens.visual.filters import filters
from convolens.workbench.facts import environment, facts_of, notes_of
from convolens.workbench.material import load
from convolens.workbench.run import Run
from convolens.workbench.tasks import make_task
from convolens.workbench.to_torch import to_torch
from convolens.workbench.work import write_figures

MODEL = "simple_convnet"
LEARNING_RATE = 1e-3
SHIFT_PX = 1
# What `eval` and `predict` run the network as: PyTorch as it is, the nearest to NumPy.
PLAN = Plan(device="cpu", precision="float32", channels_last=False)


def train_scratch(
    data: str | None = None,
    *,
    epochs: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    out: str | Path = "runs",
    name: str | None = None,
    data_root: str | Path | None = None,
    report: bool = True,
    notify: Notify = ignore,
) -> Run:
    """Trains SimpleConvNet in NumPy alone, with Adam whose rate falls along half a cosine.

    The network and its initial weights are those of the book's chapter 7; each picture is moved
    by up to a pixel each time it is shown, as its chapter 8 advises.

    The Run holds the weights as `weights/best.npz` for the NumPy network and as safetensors for
    PyTorch's, so that `eval`, `predict` and all that looks at a Run work on it. The test metrics
    are those of the PyTorch network with these weights.

    Args:
        data: a dataset's name or a folder of pictures; None is "digits".
        epochs: passes over the training pictures; None is 15 for digits and 10 for others.
        batch: pictures in one step; None is 50 for digits and 100 for others.
        seed: decides the initial weights and the order of the pictures.
        out: the folder in which the Run's folder is made.
        name: the Run's name; None makes one of dataset, model and a number.
        data_root: where named datasets are; None is a cache folder of the user's.
        report: write `report.html` at the end.
        notify: is told of every step, epoch and note.
    Returns: the Run, trained and tested.
    Raises:
        ConvolensError: when a word, a value or the data is wrong; no Run is left behind.
        StoppedError: when Ctrl-C or SIGTERM stopped it; no Run is left behind.
    Example:
        >>> run = train_scratch("mnist", epochs=1)  # doctest: +SKIP
    """
    check_run_name(name)
    config = _configure(data or "digits", epochs, batch, seed, data_root)
    check_out(Path(out))
    dataset = load(config, notify)
    for text in notes_of(dataset):
        notify(Noted(text=text))
    if config.batch_size > len(dataset.train):
        config = replace(config, batch_size=len(dataset.train))
    check_job(config, len(dataset.train), has_val=dataset.val is not None)
    height, width = dataset.format.size
    if height != width:
        raise DataError(
            f"{MODEL} reads square pictures, those of {dataset.name} are {height}×{width}"
        )
    augment = AugmentConfig(shift=SHIFT_PX / height, padding="edge")
    config = replace(config, augment=augment)
    task = cast("Classify", make_task(config, dataset))
    arrays = {
        key: _arrays(task, split)
        for key, split in (("train", dataset.train), ("val", dataset.val))
        if split is not None
    }
    network = simple_convnet(
        len(dataset.class_names),
        dataset.format.channels,
        height,
        seed=config.seed,
    )
    with stop_signals() as stop:
        folder = create_run_folder(Path(out), name, f"{dataset.name}-{MODEL}")
        try:
            facts = facts_of(dataset, task, PLAN) | {"trained_by": "convolens.scratch"}
            folder.write_config(to_json(config), facts)
            write_json(folder.env_file, environment(Choice(plan=PLAN)))
            _work(network, config, dataset, task, arrays, folder, notify, stop)
        except BaseException:
            folder.discard()
            raise
    run = Run.open(folder.path)
    if report:
        from convolens.workbench.report import report_at_end  # which most trainings do without

        report_at_end(run, "cpu", notify)
    return run


def _configure(
    data: str, epochs: int | None, batch: int | None, seed: int, data_root: str | Path | None
) -> Config:
    """The same words as PyTorch's training of this network has, so that a Run of it says them."""
    root = Path(data_root) if data_root is not None else cache_folder()
    own_epochs, own_batch = (15, 50) if data == "digits" else (10, 100)
    return Config(
        data=DataConfig(
            name=data if not Path(data).exists() else str(Path(data).absolute()),
            root=str(root.absolute()),
            val_fraction=0.1 if data == "digits" else 0.05,
        ),
        model=ModelConfig(name=MODEL),
        seed=seed,
        epochs=own_epochs if epochs is None else epochs,
        batch_size=own_batch if batch is None else batch,
        optimizer=resolved(OptimizerConfig(name="adam", lr=LEARNING_RATE)),
        schedule=ScheduleConfig(name="cosine"),
        plan=PlanConfig(choose="reference"),
        device="cpu",
    )


def _arrays(task: Classify, split: Split) -> tuple[Array, Array]:
    """A split's pictures as the network reads them, float32 (N, C, H, W), and labels (N,)."""
    if not isinstance(split.pictures, MemoryPictures):
        raise DataError(
            f"the NumPy floor needs all pictures in memory, and these {len(split):,} are streamed",
            "Train on fewer or smaller pictures, or with `convolens train`.",
        )
    labels = task.targets(split, torch.arange(len(split)))
    pixels, labels = task.prepare(split.pictures.pixels, labels, None)
    return pixels.numpy(), labels.numpy()


def _work(
    network: Network,
    config: Config,
    dataset: Dataset,
    task: Classify,
    arrays: Mapping[str, tuple[Array, Array]],
    folder: RunFolder,
    notify: Notify,
    stop: StopRequest,
) -> None:
    """Trains, tests the best weights, and writes results and figures into the Run's folder."""
    began = time.monotonic()
    before = network.params["conv1.W"].copy()
    scribe = _Scribe(network, folder, config, notify, stop)
    trainer = Trainer(
        network,
        Adam(lr=LEARNING_RATE),
        epochs=config.epochs,
        batch_size=config.batch_size,
        schedule=cosine,
        augment=shifts(SHIFT_PX),
        seed=config.seed,
        notify=scribe,
    )
    steps = config.epochs * -(-len(dataset.train) // config.batch_size)
    notify(Started(step=0, total_steps=steps, epochs=config.epochs, batch_size=config.batch_size))
    trainer.fit(*arrays["train"], val=arrays.get("val"))
    scribe.save_weights("last", config.epochs)
    network.load(scribe.npz)
    meter = evaluate(to_torch(network), task, dataset.test, PLAN)
    metrics, by_hand = meter.metrics(), network.accuracy(*_arrays(task, dataset.test))
    if by_hand != metrics["accuracy"]:
        text = f"test accuracy: {by_hand:.2%} in NumPy, {metrics['accuracy']:.2%} in PyTorch"
        notify(Noted(text=text))
    after = network.params["conv1.W"]
    write_figures(
        folder,
        [curves(scribe.rows), *task.figures(meter, dataset.test), filters(before, after)],
    )
    result = {"weights": "best", "epoch": scribe.best_epoch, "epochs": len(scribe.rows)}
    seconds = round(time.monotonic() - began, 3)
    write_json(folder.test_file, {**result, "seconds": seconds, "metrics": metrics})


class _Scribe:
    """Tells the workbench's watcher what the NumPy trainer tells, and keeps it in the Run."""

    def __init__(
        self,
        network: Network,
        folder: RunFolder,
        config: Config,
        notify: Notify,
        stop: StopRequest,
    ) -> None:
        self.network, self.folder, self.config = network, folder, config
        self.notify, self.stop = notify, stop
        self.rows: list[Row] = []
        self.best = float("-inf")
        self.best_epoch = 0

    @property
    def npz(self) -> Path:
        return self.folder.path / "weights" / "best.npz"

    def __call__(self, event: Step | Row) -> None:
        if self.stop:
            raise StoppedError("stopped; the NumPy floor saves no state, so no Run is left")
        if isinstance(event, Step):
            metrics = {"loss": event.loss, "accuracy": event.accuracy}
            step, epoch, images = event.step, event.epoch, event.num_images
            self.notify(Stepped(step=step, epoch=epoch, num_images=images, metrics=metrics))
            return
        self.rows.append(event)
        epoch = int(event["epoch"])
        score = event.get("val_accuracy", epoch)
        if score >= self.best:  # of two equals the one that was trained longer
            self.best, self.best_epoch = score, epoch
            self.save_weights("best", epoch)
            self.network.save(self.npz)
        self.folder.write_metrics(self.rows)
        self.notify(EpochEnded(epoch=epoch, row=event))

    def save_weights(self, which: str, epoch: int) -> None:
        """Writes the weights as PyTorch's network of this name has them."""
        meta = {"model": self.config.model.name, "epoch": epoch}
        save_tensors(self.folder.weights_file(which), to_torch(self.network).state_dict(), meta)
