"""Parts of a dataset, each with the same share of every class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convolens.data.base import Dataset, Split
from convolens.errors import DataError


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Chooses round(fraction · n) pictures of every class of n, at least 1 and at most n - 1.

    A class of one picture keeps it.

    Args:
        labels: (N,) class of each picture.
        fraction: share to be held out; 0 < fraction < 1.
        seed: the same seed always chooses the same pictures.
    Returns: the places kept and the places held out, both in ascending order.
    Raises:  DataError: when the fraction is out of range.
    Example:
        >>> kept, held = stratified_split(torch.tensor([0, 0, 0, 1, 1]), 0.3, seed=0)
        >>> len(kept), len(held)
        (3, 2)
    """
    if not 0 < fraction < 1:
        raise DataError(f"fraction must lie between 0 and 1, received {fraction}")
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in sorted(set(labels.tolist())):
        places = torch.nonzero(labels == label)[:, 0]
        count = min(max(1, int(fraction * len(places) + 0.5)), len(places) - 1)
        held[places[torch.randperm(len(places), generator=generator)[:count]]] = True
    return torch.nonzero(~held)[:, 0], torch.nonzero(held)[:, 0]


def strata(split: Split) -> Tensor:
    """What counts of a picture when they are shared out: its label, else its rarest class of boxes.

    Pictures without boxes are one kind more, and those without labels and boxes are of one kind. A
    class that one picture alone would stand for is passed over.

    Shape:   -> int64 (N,)
    """
    labels = split.targets.get("label")
    if isinstance(labels, Tensor):
        return labels
    boxed = split.targets.get("box_labels")
    if boxed is None:
        return torch.zeros(len(split), dtype=torch.int64)
    return rarest([labels.tolist() for labels in boxed])


def rarest(classes: Sequence[Sequence[int]]) -> Tensor:
    """For each picture, of the classes in it, the one that the fewest pictures have.

    Example:
        >>> rarest([[0, 1], [0], [0, 1], []]).tolist()
        [1, -1, 1, -1]
    """
    pictures = Counter(label for found in classes for label in set(found))
    kinds = [min(found, key=lambda k: (pictures[k], k), default=-1) for found in classes]
    shown = Counter(kinds)
    return torch.tensor([kind if shown[kind] > 1 else -1 for kind in kinds], dtype=torch.int64)


def carve_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Holds out a share of the training pictures for validation, stratified by `strata`.

    Args:
        dataset: a dataset that has a validation split is returned as it is.
        fraction: share of the training pictures; 0 < fraction < 1.
        seed: the same seed always chooses the same pictures.
    Returns: the dataset with both splits; each class keeps at least one training picture.
    Raises:  DataError: when no class has two pictures, or the fraction is out of range.
    """
    if dataset.val is not None:
        return dataset
    kept, held = stratified_split(strata(dataset.train), fraction, seed)
    if not len(held):
        raise DataError(
            f"'{dataset.name}' has too few training pictures to hold some out for validation",
            hint="At least one class needs two training pictures.",
        )
    return replace(dataset, train=dataset.train.select(kept), val=dataset.train.select(held))
