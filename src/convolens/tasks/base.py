"""What a Task is: the only view of a task that training has."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from convolens.data.augment import Share
from convolens.data.base import Split
from convolens.visual.figure import Figure


class Meter(Protocol):
    """Metrics of one pass over a split, fed batch by batch."""

    def update(self, indices: Tensor, results: Mapping[str, Tensor]) -> None:
        """Takes in what `Task.results` gave for the pictures at these places of the split."""
        ...

    def metrics(self) -> dict[str, float]:
        """The loss and the task's metrics over all that was fed."""
        ...


class Task(Protocol):
    """Turns a network's outputs into a loss, metrics and pictures."""

    @property
    def name(self) -> str:
        """The word in `config.json`."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """One for each class that the network tells apart."""
        ...

    @property
    def best_metric(self) -> str:
        """The metric that decides which weights are the best; larger is better."""
        ...

    def targets(self, split: Split, indices: Tensor) -> Any:
        """The targets of a batch, as the other methods take them.

        Like a tensor they have `to(device)`, and a slice of them is that of their pictures.
        """
        ...

    def inputs(self, pixels: Tensor) -> Tensor:
        """Uint8 pictures as the network reads them, without augmentation."""
        ...

    def prepare(
        self,
        pixels: Tensor,
        targets: Any,
        generator: torch.Generator | None,
        share: Share | None = None,
        flipped: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Uint8 pictures and targets as the network takes them; augmented given a generator.

        `share` says which pictures of a larger batch these are, so that each gets the random
        numbers that it would get if all were prepared together. `flipped`, bool (B,), says which
        pictures are mirrored where that is not left to chance.
        """
        ...

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """The mean over the pictures of a batch."""
        ...

    def batch_metrics(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Cheap metrics of one training batch, for the progress bar and `metrics.csv`.

        They stay on the device, so that nothing waits for them.
        """
        ...

    def results(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """What a meter needs to know of a batch in evaluation mode, a row for each picture.

        Several processes send each other these tensors, so they are as small as can be.
        """
        ...

    def meter(self, num_examples: int) -> Meter: ...

    def figures(
        self, meter: Meter, split: Split, predict: Callable[[Tensor], Any] | None = None
    ) -> Sequence[Figure]:
        """What a person should see of a finished pass over a split.

        `predict` gives the network's outputs for the pictures at these places of the split.
        """
        ...

    def to_json(self) -> Mapping[str, Any]:
        """What, beside the configuration, is needed to predict without the dataset."""
        ...
