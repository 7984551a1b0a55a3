"""Segmentation: a class for every pixel."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from convolens.data.augment import AugmentConfig, Share
from convolens.data.base import Split
from convolens.data.joint import augment_together, check_together
from convolens.data.placement import VOID
from convolens.errors import ConfigError, DataError
from convolens.tasks.base import Meter
from convolens.tasks.pixels import normalized
from convolens.visual.figure import Figure
from convolens.visual.overlay import class_colours
from convolens.visual.segmentation import Example, class_ious, examples

MAX_EXAMPLES = 8
Colour = tuple[int, int, int]

# Some networks also give auxiliary logits in training; torchvision's give them by name.
Outputs = Tensor | Sequence[Tensor | None] | Mapping[str, Tensor]


@dataclass
class SegmentMeter:
    """Confusion of pixels, loss, and the mean IoU of every picture of one pass."""

    class_names: tuple[str, ...]
    num_examples: int
    loss: float = 0.0
    num_seen: int = 0

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)
        # Of a picture that was not seen, or is void all over, there is none.
        self.picture_miou = torch.full((self.num_examples,), float("nan"), dtype=torch.float64)

    def update(self, indices: Tensor, results: Mapping[str, Tensor]) -> None:
        counts = results["confusion"].long().cpu()
        self.confusion += counts.sum(dim=0)
        self.picture_miou[indices.cpu()] = mean_iou(counts)
        self.loss += float(results["loss"].double().sum())
        self.num_seen += len(counts)

    def metrics(self) -> dict[str, float]:
        """The loss, pixel accuracy, mean IoU, and the IoU of each class that truly occurs.

        The mean is over the classes that occur in the truth or the prediction; void counts for
        nothing. Where all is void, accuracy and mean IoU are 0.
        """
        right, total = self.confusion.diagonal(), self.confusion.sum()
        miou = float(mean_iou(self.confusion))
        values = {
            "loss": self.loss / self.num_seen if self.num_seen else float("nan"),
            "accuracy": float(right.sum() / total.clamp(min=1)),
            "miou": 0.0 if miou != miou else miou,
        }
        iou = class_iou(self.confusion)
        for place, name in enumerate(self.class_names):
            if self.confusion[place].any():
                values[f"iou_{name}"] = float(iou[place])
        return values

    def worst(self, count: int) -> Tensor:
        """Places of the pictures of least mean IoU, the worst first."""
        known = torch.nonzero(~self.picture_miou.isnan()).flatten()
        return known[self.picture_miou[known].argsort(stable=True)][:count]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Softmax classification of every pixel that is not void, with cross entropy.

    L = Σ_p w(y_p)·(−log p(y_p)) / Σ_p w(y_p) over the pixels p of a picture, plus the Dice term; of
    a batch, the mean over its pictures, so that a batch may be shared out.

    Args:
        class_names: one for each value of the masks.
        mean, std: per channel, of pixels in [0, 1]; the network reads (x − mean) / std.
        fill: per channel, in [0, 1]: what augmentation puts where the picture does not reach.
        colours: one for each class, in red, green and blue; none takes a palette.
        augmentation: what is done to training pictures and their masks.
        class_weights: w, one for each class, such as `balanced_weights` gives; none is 1.
        auxiliary_weight: of the loss of each auxiliary output; 0.4 in Zhao et al. (2017), Pyramid
            scene parsing network, arXiv:1612.01105, section 5.1.
        dice: weight of 1 − the mean Dice coefficient; 0 is off.
    Raises:
        ConfigError: when the augmentation does not fit masks, or a number is out of its range.
    """

    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[float, ...]
    colours: tuple[Colour, ...] = ()
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    class_weights: tuple[float, ...] = ()
    auxiliary_weight: float = 0.4
    dice: float = 0.0
    name: str = "segment"
    best_metric: str = "miou"

    def __post_init__(self) -> None:
        check_together(self.augmentation)
        if len(self.class_weights) not in (0, len(self.class_names)):
            raise ConfigError(
                f"class_weights must be one for each of {len(self.class_names)} classes, "
                f"received {len(self.class_weights)}"
            )
        if min((*self.class_weights, self.auxiliary_weight, self.dice)) < 0:
            raise ConfigError("class_weights, auxiliary_weight and dice must be at least 0")

    def targets(self, split: Split, indices: Tensor) -> Tensor:
        masks = split.targets.get("masks")
        if masks is None:
            raise DataError("this dataset has no masks to segment by")
        if isinstance(masks, Tensor):
            return masks[indices]
        return torch.stack([masks[place] for place in indices.tolist()])

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
        moved = augment_together(
            pixels,
            generator,
            self.augmentation,
            fill=self.fill,
            share=share,
            flipped=flipped,
            masks=targets,
        )
        return self.inputs(moved.pixels), cast("Tensor", moved.masks)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss of the network's own logits, L + λ·Σ_i L_i where there are auxiliary ones."""
        total = torch.zeros((), device=targets.device)
        for place, logits in enumerate(_logits(outputs, targets)):
            loss = self._loss_of_each(logits, targets).mean()
            total = total + (self.auxiliary_weight if place else 1.0) * loss
        return total

    def _loss_of_each(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of every picture, 0 where all of it is void: (B,)."""
        loss = self._cross_entropy(logits, targets)
        return loss + self._dice(logits, targets) if self.dice else loss

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Σ w·(−log p) / Σ w over the pixels of each picture that are not void: (B,)."""
        counted = targets != VOID
        labels = targets.long()
        weights = None
        each = counted.float()
        if self.class_weights:
            weights = torch.tensor(self.class_weights, device=logits.device)
            each = weights[labels.where(counted, 0)] * each
        # A class beyond the network's raises here: masks that do not fit it are no void.
        terms = F.cross_entropy(logits, labels, weight=weights, ignore_index=VOID, reduction="none")
        return terms.flatten(1).sum(1) / each.flatten(1).sum(1).clamp(min=1e-12)

    def _dice(self, logits: Tensor, targets: Tensor) -> Tensor:
        """λ·(1 − mean over a picture's classes of 2·Σ p·t / (Σ p + Σ t)): (B,).

        Source: Milletari et al. (2016), V-Net, arXiv:1606.04797, section 3, without squares.
        """
        counted = (targets != VOID)[:, None]
        truth = F.one_hot(targets.long().where(counted[:, 0], 0), logits.shape[1])
        truth = truth.movedim(3, 1) * counted
        found = logits.softmax(dim=1) * counted
        there = truth.flatten(2).any(dim=2)
        both = (found * truth).flatten(2).sum(2)
        sizes = found.flatten(2).sum(2) + truth.flatten(2).sum(2)
        missed = (1 - 2 * both / sizes.clamp(min=1e-6)) * there
        return self.dice * missed.sum(1) / there.sum(1).clamp(min=1)

    def batch_metrics(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        counted = targets != VOID
        right = (self.predicted(outputs, targets) == targets) & counted
        return {"accuracy": right.sum() / counted.sum().clamp(min=1)}

    def predicted(self, outputs: Outputs, like: Tensor) -> Tensor:
        """The class of every pixel, uint8 (B, H, W), in the size of `like` (…, H, W)."""
        return _logits(outputs, like)[0].argmax(dim=1).to(torch.uint8)

    def results(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        """Counts (B, K, K) of true and predicted class, and the loss (B,)."""
        logits = _logits(outputs, targets)[0]
        return {
            "confusion": confusion_counts(logits.argmax(dim=1), targets, len(self.class_names)),
            "loss": self._loss_of_each(logits, targets),
        }

    def meter(self, num_examples: int) -> SegmentMeter:
        return SegmentMeter(self.class_names, num_examples)

    def figures(
        self,
        meter: Meter,
        split: Split,
        predict: Callable[[Tensor], Outputs] | None = None,
    ) -> Sequence[Figure]:
        """IoU of every class and, given `predict`, the worst pictures beside their maps.

        Args:
            predict: the network's outputs for the pictures at these places of the split.
        """
        seen = cast("SegmentMeter", meter)
        if not seen.confusion.any():
            return []
        colours = class_colours(self.class_names, self.colours)
        figures = [class_ious(seen.confusion.numpy(), self.class_names, colours)]
        worst = seen.worst(MAX_EXAMPLES)
        if predict is None or not len(worst):
            return figures
        masks = self.targets(split, worst)
        predicted = self.predicted(predict(worst), masks).cpu().numpy()
        pictures = split.pictures.batch(worst).numpy()
        shown = [
            Example(
                picture=pictures[row],
                true=masks[row].numpy(),
                predicted=predicted[row],
                name=split.names[place],
                note=f"mean IoU {100 * float(seen.picture_miou[place]):.1f} %",
            )
            for row, place in enumerate(worst.tolist())
        ]
        return [*figures, examples(shown, self.class_names, colours)]

    def to_json(self) -> Mapping[str, Any]:
        return {
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "fill": list(self.fill),
            "colours": [list(colour) for colour in self.colours],
            "class_weights": list(self.class_weights),
            "dice": self.dice,
        }


def segment_from_json(tree: Mapping[str, Any]) -> Segment:
    """The task whose `to_json` this is, without augmentation."""
    return Segment(
        class_names=tuple(tree["class_names"]),
        mean=tuple(tree["mean"]),
        std=tuple(tree["std"]),
        fill=tuple(tree["fill"]),
        colours=tuple((red, green, blue) for red, green, blue in tree["colours"]),
        class_weights=tuple(tree["class_weights"]),
        dice=tree["dice"],
    )


def balanced_weights(split: Split, num_classes: int) -> tuple[float, ...]:
    """Weights w(c) = median of all f / f(c), so that rare classes count as much as common ones.

    f(c) is the share of c among the pixels, void left out, of the pictures in which it occurs. A
    class that never occurs has weight 1.

    Source: Eigen and Fergus (2015), arXiv:1411.4734, section 6.3.2.
    Raises:
        DataError: when there are no masks, or one of their values is no class.
    """
    masks = split.targets.get("masks")
    if masks is None:
        raise DataError("this dataset has no masks to weigh classes by")
    pixels, present = torch.zeros(2, num_classes, dtype=torch.float64)
    for mask in masks:
        counts = torch.bincount(mask.flatten().long(), minlength=VOID + 1)
        if counts[num_classes:VOID].any():
            value = num_classes + int(counts[num_classes:VOID].nonzero()[0])
            raise DataError(f"a mask holds {value}, expected 0 to {num_classes - 1}, or 255: void")
        counts = counts[:num_classes].double()
        pixels += counts
        present += counts.sum() * (counts > 0)
    occurs = pixels > 0
    shares = pixels[occurs] / present[occurs]
    weights = torch.ones(num_classes, dtype=torch.float64)
    if occurs.any():
        # Of an even number of classes the mean of the middle two.
        weights[occurs] = shares.quantile(0.5) / shares
    return tuple(weights.tolist())


def confusion_counts(predicted: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Pixels of each picture by true class (row) and predicted class (column), without void.

    Shape: predicted and targets (B, H, W) -> int32 (B, K, K)
    """
    batch = len(targets)
    counted = targets != VOID
    picture = torch.arange(batch, device=targets.device)[:, None, None]
    cells = (picture * num_classes + targets.long()) * num_classes + predicted.long()
    counts = torch.bincount(cells[counted], minlength=batch * num_classes**2)
    return counts.view(batch, num_classes, num_classes).to(torch.int32)


def class_iou(confusion: Tensor) -> Tensor:
    """right / (true + predicted − right) of every class; NaN where that is 0 / 0.

    Shape: confusion (..., K, K) -> (..., K)
    """
    counts = confusion.double()
    right = counts.diagonal(dim1=-2, dim2=-1)
    return right / (counts.sum(-1) + counts.sum(-2) - right)


def mean_iou(confusion: Tensor) -> Tensor:
    """The mean of `class_iou` over the classes that occur; NaN where none does.

    Shape: confusion (..., K, K) -> (...,)
    """
    return class_iou(confusion).nanmean(dim=-1)


def _logits(outputs: Outputs, like: Tensor) -> list[Tensor]:
    """The network's own logits, then auxiliary ones, in float32 and the size of (…, H, W)."""
    if isinstance(outputs, Mapping):
        found: list[Tensor] = list(outputs.values())
    elif isinstance(outputs, Tensor):
        found = [outputs]
    else:
        found = [logits for logits in outputs if logits is not None]
    size = like.shape[-2:]
    return [
        logits.float()
        if logits.shape[-2:] == size
        else F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        for logits in found
    ]
