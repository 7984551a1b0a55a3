"""The tasks by name: made for a dataset, or as a Run remembers them."""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

from convolens.data.base import Dataset
from convolens.data.joint import zooms
from convolens.errors import ConfigError, DataError
from convolens.tasks.base import Task
from convolens.tasks.classify import Classify, channel_statistics, classify_from_json
from convolens.tasks.detect import Detect, detect_from_json
from convolens.tasks.segment import Segment, balanced_weights, segment_from_json
from convolens.train.config import Config, Tta

FROM_JSON: Mapping[str, Callable[[Mapping[str, Any]], Task]] = {
    "classify": classify_from_json,
    "segment": segment_from_json,
    "detect": detect_from_json,
}


def names_for(task: str, dataset: Dataset) -> tuple[str, ...]:
    """The classes that a network for this task tells apart."""
    return dataset.mask_names if task == "segment" else dataset.class_names


def make_task(config: Config, dataset: Dataset) -> Task:
    """The task of a configuration, with the statistics of the training pictures.

    Raises:
        DataError: when the dataset has no targets for it.
    """
    if config.task not in dataset.tasks:
        raise DataError(
            f"{dataset.name} has targets to {' or '.join(dataset.tasks)}, not to {config.task}",
            "Choose a network for that: convolens models.",
        )
    check_views(config.task, config.tta)
    augment = config.augment
    if config.task == "classify" and zooms(augment):
        raise ConfigError(
            "augment.zoom_out and augment.zoom_in are for masks and boxes",
            "To classify, set augment.scale.",
        )
    mean, std = channel_statistics(dataset.train)
    ground = dataset.format.background
    fill = mean if ground is None else [ground / 255] * len(mean)
    names = names_for(config.task, dataset)
    if config.task == "segment":
        kind = config.loss.class_weights
        weights = () if kind == "none" else balanced_weights(dataset.train, len(names))
        return Segment(
            class_names=names,
            mean=tuple(mean),
            std=tuple(std),
            fill=tuple(fill),
            colours=dataset.mask_colours,
            augmentation=augment,
            class_weights=tuple(sqrt(w) for w in weights) if kind == "root" else weights,
        )
    if config.task == "detect":
        return Detect(
            class_names=names,
            mean=tuple(mean),
            std=tuple(std),
            fill=tuple(fill),
            augmentation=config.augment,
        )
    return Classify(
        class_names=names,
        mean=tuple(mean),
        std=tuple(std),
        fill=tuple(fill),
        augmentation=config.augment,
        label_smoothing=config.loss.label_smoothing,
    )


def check_views(task: str, tta: Tta) -> Tta:
    """Raises ConfigError where a task's networks cannot be averaged over these views."""
    if tta not in VIEWS[task]:
        allowed = " or ".join(VIEWS[task])
        raise ConfigError(f"tta={tta} cannot be used to {task}, it must be {allowed}")
    return tta


# Over which views of a picture a task's network can be averaged.
VIEWS: Mapping[str, tuple[str, ...]] = {
    "classify": ("none", "flip", "shifts", "crops"),
    "segment": ("none", "flip", "scales"),
    "detect": ("none",),
}
