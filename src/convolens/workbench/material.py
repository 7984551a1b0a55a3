"""What a training works on, made from its configuration: data, task, network."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from convolens.data.base import Dataset
from convolens.data.registry import load_dataset
from convolens.data.root import cache_folder
from convolens.data.splits import carve_validation
from convolens.errors import ConfigError
from convolens.tasks.classify import Classify, channel_statistics
from convolens.train.config import Config
from convolens.train.plan import Plan
from convolens.workbench.network import build_network


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that one training works on."""

    config: Config
    dataset: Dataset
    task: Classify
    network: nn.Module
    plan: Plan


def load(config: Config) -> Dataset:
    """The dataset of a configuration, with a validation split where one is wanted."""
    wanted = config.data
    dataset = load_dataset(
        wanted.name,
        root=Path(wanted.root) if wanted.root else cache_folder(),
        image_size=wanted.image_size,
        channels=wanted.channels,
        strict=wanted.strict,
        seed=wanted.seed,
    )
    if dataset.val is None and wanted.val_fraction > 0:
        dataset = carve_validation(dataset, wanted.val_fraction, wanted.seed)
    return dataset


def make_task(config: Config, dataset: Dataset) -> Classify:
    """The task of a configuration, with the statistics of the training pictures."""
    if config.task != "classify":
        raise ConfigError(f"task must be 'classify', received {config.task!r}")
    mean, std = channel_statistics(dataset.train)
    ground = dataset.format.background
    fill = mean if ground is None else [ground / 255] * len(mean)
    return Classify(
        class_names=dataset.class_names,
        mean=tuple(mean),
        std=tuple(std),
        fill=tuple(fill),
        augmentation=config.augment,
        label_smoothing=config.loss.label_smoothing,
    )


def initial_network(config: Config, dataset: Dataset) -> nn.Module:
    """The network before its first step; the seed decides its weights."""
    torch.manual_seed(config.seed)
    height, width = dataset.format.size
    return build_network(
        config.model.name,
        config.model.options,
        num_classes=len(dataset.class_names),
        input_size=(dataset.format.channels, height, width),
    )
