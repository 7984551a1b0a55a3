"""Classification: one label for a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from convolens.data.augment import AugmentConfig, Share, augment, mix
from convolens.data.base import MemoryPictures, Split
from convolens.errors import DataError
from convolens.tasks.base import Meter
from convolens.tasks.pixels import normalized
from convolens.visual.confusion import confusion
from convolens.visual.figure import Figure
from convolens.visual.mistakes import worst_mistakes

MAX_MISTAKES = 25

# In training some networks also give the logits of auxiliary classifiers; torchvision's give None
# in place of those that they were built without.
Outputs = Tensor | Sequence[Tensor | None]


@dataclass
class ClassifyMeter:
    """Confusion matrix, loss, and the prediction for every picture of one pass."""

    num_classes: int
    num_examples: int
    losses: list[Tensor] = field(default_factory=list)
    num_seen: int = 0
    num_in_top5: int = 0

    def __post_init__(self) -> None:
        self.confusion = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)
        self.predicted = torch.full((self.num_examples,), -1, dtype=torch.int64)
        self.probability = torch.zeros(self.num_examples)

    def update(self, indices: Tensor, results: Mapping[str, Tensor]) -> None:
        logits, targets = results["logits"].float(), results["labels"]
        self.losses.append(F.cross_entropy(logits, targets, reduction="sum").double().cpu())
        probability, predicted = logits.softmax(dim=1).max(dim=1)
        self.predicted[indices] = predicted.cpu()
        self.probability[indices] = probability.cpu()
        cells = (targets * self.num_classes + predicted).cpu()
        counts = torch.bincount(cells, minlength=self.num_classes**2)
        self.confusion += counts.view(self.num_classes, self.num_classes)
        if self.num_classes > 5:
            top5 = logits.topk(5, dim=1).indices
            self.num_in_top5 += int((top5 == targets[:, None]).sum())
        self.num_seen += len(targets)

    def metrics(self) -> dict[str, float]:
        seen = max(self.num_seen, 1)
        values = {
            "loss": float(torch.stack(self.losses).sum()) / seen if self.losses else float("nan"),
            "accuracy": int(self.confusion.diagonal().sum()) / seen,
        }
        if self.num_classes > 5:
            values["top5_accuracy"] = self.num_in_top5 / seen
        return values


@dataclass(frozen=True, kw_only=True)
class Classify:
    """Softmax classification with cross entropy.

    Args:
        class_names: one for each label.
        mean, std: per channel, of pixels in [0, 1]; the network reads (x − mean) / std.
        fill: per channel, in [0, 1]: what augmentation puts where the picture does not reach.
        augmentation: what is done to training pictures.
        label_smoothing: ε; the target is (1 − ε)·one-hot + ε/K.
        auxiliary_weight: λ, of the loss of each auxiliary classifier; 0.3 in Szegedy et al. (2014),
            arXiv:1409.4842, section 5. Where a network in training gives several logits, these are
            all but the first.
    """

    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[float, ...]
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.3
    name: str = "classify"
    best_metric: str = "accuracy"

    def targets(self, split: Split, indices: Tensor) -> Tensor:
        labels = split.targets.get("label")
        if not isinstance(labels, Tensor):
            raise DataError("this dataset has no labels to classify by")
        return labels[indices]

    def inputs(self, pixels: Tensor) -> Tensor:
        return normalized(pixels, self.mean, self.std)

    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        generator: torch.Generator | None,
        share: Share | None = None,
        flipped: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if generator is None:
            return self.inputs(pixels), targets
        x = augment(
            pixels, generator, self.augmentation, fill=self.fill, share=share, flipped=flipped
        )
        if self.augmentation.mixup or self.augmentation.cutmix:
            one_hot = F.one_hot(targets, len(self.class_names)).float()
            x, targets = mix(x, one_hot, generator, self.augmentation, share=share)
        return self.inputs(x), targets

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Cross entropy, L + λ·Σ_i L_i where there are auxiliary classifiers."""
        own, *auxiliary = _logits(outputs)
        loss = self._cross_entropy(own, targets)
        for logits in auxiliary:
            loss = loss + self.auxiliary_weight * self._cross_entropy(logits, targets)
        return loss

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing)

    def batch_metrics(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        labels = targets.argmax(dim=1) if targets.ndim == 2 else targets
        logits = _logits(outputs)[0]
        return {"accuracy": (logits.argmax(dim=1) == labels).float().mean()}

    def results(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        return {"logits": _logits(outputs)[0], "labels": targets}

    def meter(self, num_examples: int) -> ClassifyMeter:
        return ClassifyMeter(len(self.class_names), num_examples)

    def figures(
        self,
        meter: Meter,
        split: Split,
        predict: Callable[[Tensor], Any] | None = None,  # noqa: ARG002  # the meter holds it all
    ) -> Sequence[Figure]:
        seen = cast("ClassifyMeter", meter)
        labels = self.targets(split, torch.arange(len(split)))
        # Of a picture that could not be read there is no prediction: −1.
        wrong = torch.nonzero((seen.predicted != labels) & (seen.predicted >= 0)).flatten()
        worst = wrong[seen.probability[wrong].argsort(descending=True, stable=True)]
        shown = worst[:MAX_MISTAKES]
        return [
            confusion(seen.confusion.numpy(), self.class_names),
            worst_mistakes(
                split.pictures.batch(shown).numpy(),
                labels[shown].numpy(),
                seen.predicted[shown].numpy(),
                seen.probability[shown].numpy(),
                self.class_names,
                names=[split.names[i] for i in shown.tolist()],
            ),
        ]

    def to_json(self) -> Mapping[str, Any]:
        return {
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "fill": list(self.fill),
        }


def _logits(outputs: Outputs) -> list[Tensor]:
    """The network's own logits, then those of its auxiliary classifiers."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [logits for logits in outputs if logits is not None]


def classify_from_json(tree: Mapping[str, Any]) -> Classify:
    """The task whose `to_json` this is, without augmentation."""
    return Classify(
        class_names=tuple(tree["class_names"]),
        mean=tuple(tree["mean"]),
        std=tuple(tree["std"]),
        fill=tuple(tree["fill"]),
    )


def spread_indices(split: Split, *, sample: int = 5000) -> Tensor:
    """Places evenly spread over a split, for statistics of its pictures.

    Args:
        sample: how many at most; from disk, where each picture has to be decoded, at most 500.
    """
    if not isinstance(split.pictures, MemoryPictures):
        sample = min(sample, 500)
    return torch.arange(0, len(split), max(1, len(split) // sample))[:sample]


def channel_statistics(split: Split, *, sample: int = 5000) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of a split's pixels in [0, 1].

    Args:
        sample: pictures looked at, evenly spread over the split; at most 500 from disk.
    Returns: means and standard deviations, one of each per channel; a constant channel has 1.
    """
    indices = spread_indices(split, sample=sample)
    channels = split.pictures.batch(indices[:1]).shape[1]
    total, squares = torch.zeros(2, channels, dtype=torch.float64)
    count = 0
    for start in range(0, len(indices), 256):
        part = indices[start : start + 256]
        pixels = split.pictures.batch(part).double() / 255
        total += pixels.sum(dim=(0, 2, 3))
        squares += pixels.square().sum(dim=(0, 2, 3))
        count += pixels[:, 0].numel()
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.tolist(), [value if value > 1e-4 else 1.0 for value in std.tolist()]
