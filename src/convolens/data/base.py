"""What a Dataset is: pictures with targets, in splits, with all that could not be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from convolens.data.picture import PictureFormat
from convolens.errors import DataError


class Pictures(Protocol):
    """Pictures of one size, in memory or on disk, fetched by the batch."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at these indices (B,), as uint8 (B, C, H, W)."""
        ...

    def select(self, indices: Tensor) -> "Pictures":
        """The same kind of pictures, these indices only, in this order."""
        ...


@dataclass(frozen=True)
class MemoryPictures:
    """Pictures held in memory as one uint8 tensor (N, C, H, W)."""

    pixels: Tensor

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise DataError(
                "pictures must be uint8 of shape (N, C, H, W), "
                f"received {self.pixels.dtype} of shape {tuple(self.pixels.shape)}"
            )

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    def batch(self, indices: Tensor) -> Tensor:
        return self.pixels[indices]

    def select(self, indices: Tensor) -> "MemoryPictures":
        return MemoryPictures(self.pixels[indices])


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of a Dataset: pictures, their targets, and a name for each picture.

    Args:
        pictures: N pictures of one size.
        targets: per kind of target ("label", "boxes", "masks", "keypoints", "caption") either
            a tensor whose first dimension is N or a list of N values.
        names: what a person knows each picture by (a file's path, "test 17"); N of them.
    """

    pictures: Pictures
    targets: Mapping[str, Tensor | list[Any]]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def select(self, indices: Tensor) -> "Split":
        chosen: dict[str, Tensor | list[Any]] = {
            kind: values[indices]
            if isinstance(values, Tensor)
            else [values[i] for i in indices.tolist()]
            for kind, values in self.targets.items()
        }
        names = [self.names[i] for i in indices.tolist()]
        return Split(pictures=self.pictures.select(indices), targets=chosen, names=names)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that could not be read, and why."""

    where: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures with targets.

    Args:
        name: the name by which it was asked for (a folder's own name for a folder).
        class_names: one for each label, in label order; also those of boxes.
        format: how a picture of any size and colour becomes one of this dataset's.
        train, val, test: the splits; `val` is None where the source has none.
        problems: what could not be read; counted and named, never silently dropped.
        notes: decisions a person should know ("no test folder: 'val' is kept for the test").
        tasks: what its targets are for, "classify", "segment" and "detect"; the first is meant
            where nothing else is said.
        mask_names: one for each value of the masks, 0 to K − 1; 255 is void.
        mask_colours: one for each of these, in red, green and blue, where the source has them.
    """

    name: str
    class_names: tuple[str, ...]
    format: PictureFormat
    train: Split
    val: Split | None
    test: Split
    problems: tuple[Problem, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    tasks: tuple[str, ...] = ("classify",)
    mask_names: tuple[str, ...] = ()
    mask_colours: tuple[tuple[int, int, int], ...] = ()
