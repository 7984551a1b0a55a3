"""The test pictures of a Run's own data, for those who have no picture at hand."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convolens.data.base import Split
from convolens.data.registry import dataset_names
from convolens.data.root import cache_folder
from convolens.errors import DataError
from convolens.web.folders import Folders
from convolens.web.scene import Opened
from convolens.workbench.material import load


@dataclass(frozen=True, kw_only=True)
class Example:
    """A test picture.

    Args:
        name: with its class, where it has one.
        pixels: as the network reads it, uint8 (C, H, W).
    """

    name: str
    pixels: Tensor


def examples_of(opened: Opened, folders: Folders) -> Split:
    """The test split of a Run's data.

    Raises:
        DataError: when there is none, or it lies outside of the folders.
    """
    run = opened.run
    data = folders.check_data(run.config.data.name)
    is_path = data not in dataset_names()
    wanted = replace(
        run.config.data,
        channels=run.format.channels,
        image_size=run.format.size[0],
        # The app's own root: a Run from elsewhere may name any folder.
        root=str((folders.data_root or cache_folder()).absolute()),
        memory_bytes=0 if is_path else run.config.data.memory_bytes,  # decode what is looked at
    )
    split = load(replace(run.config, data=wanted)).test
    if not len(split.pictures):
        raise DataError(f"{data} has no test pictures")
    return split


def example_of(split: Split, opened: Opened, number: int) -> Example:
    """A picture of a split; behind the last comes the first again."""
    place = number % len(split.pictures)
    pixels = split.pictures.batch(torch.tensor([place]))[0]
    name = split.names[place]
    labels = split.targets.get("label")
    if isinstance(labels, Tensor):
        name += f", class {opened.run.task.class_names[int(labels[place])]}"
    return Example(name=name, pixels=pixels)
