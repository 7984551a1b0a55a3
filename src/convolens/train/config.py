"""The complete configuration of one training; recipes return it, `config.json` holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from convolens.data.augment import AugmentConfig
from convolens.data.folder import MEMORY_LIMIT_BYTES
from convolens.errors import ConfigError
from convolens.train.average import AverageConfig
from convolens.train.bounds import check_number, check_word
from convolens.train.optimizer import OptimizerConfig
from convolens.train.penalty import PenaltyConfig
from convolens.train.schedule import ScheduleConfig

Tta = Literal["none", "flip", "shifts", "crops", "scales"]


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
        check_number("data.workers", self.workers, least=-1, whole=True)
        check_number("data.memory_bytes", self.memory_bytes, least=0, whole=True)
        check_number("data.val_fraction", self.val_fraction, least=0, below=1)
        if self.image_size is not None:
            check_number("data.image_size", self.image_size, least=1, whole=True)
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"data.channels must be 1 or 3, received {self.channels!r}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and the arguments of its builder beside the classes and the picture."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the loss weighs; detectors have losses of their own.

    Args:
        label_smoothing: ε, for cross entropy against (1 − ε)·one-hot + ε/K in classification.
        class_weights: of the pixels' classes in segmentation: "none"; "balanced", which gives
            rare classes as much weight as common ones; or "root", the square roots of these.
    """

    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced", "root"] = "none"

    def __post_init__(self) -> None:
        check_word("loss.class_weights", self.class_weights, ("none", "balanced", "root"))
        check_number("loss.label_smoothing", self.label_smoothing, least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often the state is saved beside the end of training; 0 is never."""

    every_steps: int = 0
    every_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_number("checkpoint.every_steps", self.every_steps, least=0, whole=True)
        check_number("checkpoint.every_seconds", self.every_seconds, least=0)


@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """Ending before the last epoch, where validation no longer becomes better.

    Args:
        patience: epochs to wait for a better value of the task's metric; 0 never ends early.
    """

    patience: int = 0

    def __post_init__(self) -> None:
        check_number("stop.patience", self.patience, least=0, whole=True)


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """How the network may be run on the machine.

    Args:
        choose: "auto" runs as fast as the machine allows; "reference" is PyTorch's default
            (NCHW, float32) and measures nothing. `--set plan=…` means this field.
        precision: of convolutions and matrix products, where a person wants a certain one:
            "float32", "bfloat16" or "float16", the last with a scaled loss.
        compile: whether `torch.compile` is tried: "try", "off", or "auto", which tries it on a
            GPU for trainings that take many minutes.
    """

    choose: Literal["auto", "reference"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: Literal["auto", "try", "off"] = "auto"

    def __post_init__(self) -> None:
        check_word("plan", self.choose, ("auto", "reference"))
        check_word("plan.precision", self.precision, ("auto", "float32", "bfloat16", "float16"))
        check_word("plan.compile", self.compile, ("auto", "try", "off"))


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training, completely.

    Args:
        task: what the network is to do: "classify", "segment" or "detect".
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
            its mirror image), "shifts" (these, also moved by a pixel), "crops" (ten crops) or
            "scales" (four sizes and their mirror images, to segment).
        tensorboard: write event files for TensorBoard beside the other files of the Run.
        device: "auto", "cpu" or "cuda".
        plan: how the network may be run on the machine.
    """

    data: DataConfig
    model: ModelConfig
    task: Literal["classify", "segment", "detect"] = "classify"
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
    plan: PlanConfig = field(default_factory=PlanConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, least=1, whole=True)
        check_number("batch_size", self.batch_size, least=1, whole=True)
        check_number("accumulate", self.accumulate, least=1, whole=True)
        check_number("clip_norm", self.clip_norm, least=0)
        check_number("seed", self.seed, least=0, below=2**63, whole=True)
        check_word("tta", self.tta, get_args(Tta))
        check_word("task", self.task, ("classify", "segment", "detect"))
        check_word("device", self.device, ("auto", "cpu", "cuda"))
