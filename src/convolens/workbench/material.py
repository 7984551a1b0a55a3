"""What a training works on, made from its configuration: data, task, network."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from convolens.data.base import Dataset
from convolens.data.registry import load_dataset
from convolens.data.root import cache_folder
from convolens.data.splits import carve_validation
from convolens.tasks.base import Task
from convolens.tasks.classify import spread_indices
from convolens.train.config import Config
from convolens.train.events import Decoded, Noted, Notify, ignore
from convolens.train.freeze import freeze
from convolens.train.plan import Plan
from convolens.train.run import RunFolder
from convolens.train.transfer import Transfer, transfer
from convolens.workbench.network import IMAGENET, build_network
from convolens.workbench.pretrained import load_from_imagenet
from convolens.workbench.tasks import names_for


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that one training works on."""

    config: Config
    dataset: Dataset
    task: Task
    network: nn.Module
    plan: Plan


def load(config: Config, notify: Notify = ignore) -> Dataset:
    """The dataset of a configuration, with a validation split where one is wanted.

    Args:
        notify: is told how many pictures are decoded.
    """
    wanted = config.data
    dataset = load_dataset(
        wanted.name,
        root=Path(wanted.root) if wanted.root else cache_folder(),
        image_size=wanted.image_size,
        channels=wanted.channels,
        strict=wanted.strict,
        seed=wanted.seed,
        memory_limit_bytes=wanted.memory_bytes,
        workers=wanted.workers,
        progress=lambda done, total: notify(Decoded(done=done, total=total)),
    )
    if dataset.val is None and wanted.val_fraction > 0:
        dataset = carve_validation(dataset, wanted.val_fraction, wanted.seed)
    return dataset


def initial_network(config: Config, dataset: Dataset) -> nn.Module:
    """The network before its first step: its weights by the seed, what is frozen, frozen."""
    torch.manual_seed(config.seed)
    height, width = dataset.format.size
    network = build_network(
        config.model.name,
        config.model.options,
        num_classes=len(names_for(config.task, dataset)),
        input_size=(dataset.format.channels, height, width),
        task=config.task,
    )
    freeze(network, config.freeze)
    return network


def initialize_from_pictures(network: nn.Module, dataset: Dataset, task: Task) -> None:
    """Lets a network that has a method `initialize_from` see training pictures before it learns.

    It gets up to 5,000 of them, evenly spread, as it will read them, without augmentation.
    """
    initialize = getattr(network, "initialize_from", None)
    if not callable(initialize):
        return
    indices = spread_indices(dataset.train)
    pixels = dataset.train.pictures.batch(indices)
    initialize(task.inputs(pixels))


def load_initial_weights(network: nn.Module, config: Config, notify: Notify) -> None:
    """Gives the network the weights that the configuration names, if it names any.

    Raises:
        RunError: when they cannot be read, or none of them fits.
        ConfigError: when the network has no weights learnt from ImageNet.
        UnavailableError: when those cannot be fetched.
    """
    if config.weights == IMAGENET:
        new = load_from_imagenet(network, config.model.name, config.model.options)
        notify(Noted(text=f"{IMAGENET}: {_transferred(network, new).describe()}"))
    elif config.weights is not None:
        file = weights_of(config.weights)
        notify(Noted(text=f"{file}: {transfer(network, file).describe()}"))


def _transferred(network: nn.Module, new: tuple[str, ...]) -> Transfer:
    """What was loaded, where all of a network's tensors but these were."""
    own = network.state_dict()
    return Transfer(
        loaded=tuple(name for name in own if name not in new),
        new=tuple((name, tuple(own[name].shape)) for name in new),
        unused=(),
    )


def weights_of(word: str) -> Path:
    """The file that a person names by itself or by its Run: a Run's best weights, or its last.

    Raises:
        RunError: when it is neither a file nor a Run.
    """
    path = Path(word)
    if not path.is_dir():
        return path
    folder = RunFolder(path)
    folder.read_config()
    best, last = (folder.weights_file(which) for which in ("best", "last"))
    return best if best.is_file() else last
