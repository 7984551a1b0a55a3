"""The complete configuration of one training; recipes return it, `config.json` holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from convolens.data.augment import AugmentConfig
from convolens.data.folder import MEMORY_LIMIT_BYTES
from convolens.errors import ConfigError
from convolens.train.average import AverageConfig
from convolens.train.bounds import check_number
from convolens.train.optimizer import OptimizerConfig
from convolens.train.penalty import PenaltyConfig
from convolens.train.schedule import ScheduleConfig

Tta = Literal["none", "flip", "crops"]


def require(condition: bool, field_name: str, expected: str, received: object) -> None:
    """Raises the ConfigError of a field whose value is out of range."""
    if not condition:
        raise ConfigError(f"{field_name} must be {expected}, received {received!r}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which pictures, and in what form.

    Args:
        name: a dataset's name or the path of a folder.
        root: where named datasets are looked for; None is a cache folder of the user's.
        image_size: side of the square pictures [px]; None takes the dataset's own.
        channels: 1 grey, 3 colour; None takes the dataset's own.
        val_fraction: share of the training pictures that validate, where there is no
            validation split; 0 trains on all of them, and the last weights are the best.
        strict: stop at the first picture that cannot be read.
        seed: of datasets that are drawn, and of the choice of validation pictures; apart from
            the training's, so that trainings with different seeds see the same splits.
        workers: threads that decode pictures which do not fit in memory; 0 decodes between the
            steps, -1 takes one for each processor. The batches are the same.
        memory_bytes: pictures of a folder or an archive that take more, decoded, are decoded
            each time they are wanted.
    """

    name: str
    root: str | None = None
    image_size: int | None = None
    channels: int | None = None
    val_fraction: float = 0.1
    strict: bool = False
    seed: int = 0
    workers: int = -1
    memory_bytes: int = MEMORY_LIMIT_BYTES

    def __post_init__(self) -> None:
        require(self.workers >= -1, "data.workers", "at least -1", self.workers)
        require(self.memory_bytes >= 0, "data.memory_bytes", "at least 0", self.memory_bytes)
        require(0 <= self.val_fraction < 1, "data.val_fraction", "in [0, 1)", self.val_fraction)
        size = self.image_size
        require(size is None or size >= 1, "data.image_size", "at least 1", size)
        require(self.channels in (None, 1, 3), "data.channels", "1 or 3", self.channels)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and the arguments of its builder beside the classes and the picture."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross entropy against (1 − ε)·one-hot + ε/K, ε the label smoothing."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        value = self.label_smoothing
        require(0 <= value < 1, "loss.label_smoothing", "in [0, 1)", value)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often the state is saved beside the end of training; 0 is never."""

    every_steps: int = 0
    every_seconds: float = 60.0

    def __post_init__(self) -> None:
        require(self.every_steps >= 0, "checkpoint.every_steps", "at least 0", self.every_steps)
        seconds = self.every_seconds
        require(seconds >= 0, "checkpoint.every_seconds", "at least 0", seconds)


@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """Ending before the last epoch, where validation no longer becomes better.

    Args:
        patience: epochs to wait for a better value of the task's metric; 0 never ends early.
    """

    patience: int = 0

    def __post_init__(self) -> None:
        require(self.patience >= 0, "stop.patience", "at least 0", self.patience)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training, completely.

    Args:
        task: what the outputs mean; "classify".
        seed: decides initial weights, order, augmentation and dropout.
        epochs: passes over the training pictures.
        batch_size: pictures in one step; the pictures of an epoch that do not fill a batch
            wait for the next epoch.
        accumulate: parts into which a batch is split; their gradients are added up before the
            step, so that a batch needs the memory of one part. Batch norm sees the parts.
        clip_norm: greatest length of the gradient of all parameters, penalties included; a
            longer one is shortened to it; 0 is off.
        freeze: parameters that do not learn, as patterns of names: "stage1.*,conv1.*".
        weights: a weights file or a Run whose weights training begins with, as far as their
            names and shapes fit; None begins with random ones.
        tta: views of a picture over which test and prediction average: "none", "flip" (it and
            its mirror image) or "crops" (ten crops).
        tensorboard: write event files for TensorBoard beside the other files of the Run.
        device: "auto", "cpu" or "cuda".
        plan: "auto" runs as fast as the machine allows; "reference" is PyTorch's default
            (NCHW, float32).
    """

    data: DataConfig
    model: ModelConfig
    task: str = "classify"
    seed: int = 0
    epochs: int = 10
    batch_size: int = 128
    accumulate: int = 1
    clip_norm: float = 0.0
    freeze: str = ""
    weights: str | None = None
    tta: Tta = "none"
    tensorboard: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    plan: Literal["auto", "reference"] = "auto"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        require(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        require(self.accumulate >= 1, "accumulate", "at least 1", self.accumulate)
        check_number("clip_norm", self.clip_norm, least=0)
        require(0 <= self.seed < 2**63, "seed", "in [0, 2^63)", self.seed)
        require(self.tta in get_args(Tta), "tta", "none, flip or crops", self.tta)
        require(self.device in ("auto", "cpu", "cuda"), "device", "auto, cpu or cuda", self.device)
        require(self.plan in ("auto", "reference"), "plan", "auto or reference", self.plan)
