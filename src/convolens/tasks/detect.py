"""Detection: a box, a class and a score for every object of a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from convolens.data.augment import AugmentConfig, Share
from convolens.data.base import Split
from convolens.data.joint import Moved, augment_together, check_together
from convolens.errors import DataError
from convolens.nn.objects import Objects, pad_objects
from convolens.tasks.average_precision import THRESHOLDS, Curve, Found, Truth, precision_recall
from convolens.tasks.base import Meter
from convolens.tasks.misses import worst_misses
from convolens.tasks.pixels import normalized
from convolens.visual.figure import Figure
from convolens.visual.precision_recall import precision_recall as precision_recall_figure

AT_HALF = THRESHOLDS.index(0.5)
AT_THREE_QUARTERS = THRESHOLDS.index(0.75)


class Outputs(Protocol):
    """What a detector's forward pass gives."""

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        """The parts of the loss, each a mean over the pictures."""
        ...

    def detections(
        self, *, score: float, iou: float, most: int, proposals: Tensor | None = None
    ) -> Tensor:
        """The detections (B, most, 6): x0, y0, x1, y1, score, label; −1 where there is none."""
        ...


@dataclass
class DetectMeter:
    """The loss, and every detection and object of one pass."""

    class_names: tuple[str, ...]
    num_examples: int
    losses: list[Tensor] = field(default_factory=list)
    found: dict[int, Found] = field(default_factory=dict)
    truths: dict[int, Truth] = field(default_factory=dict)

    def update(self, indices: Tensor, results: Mapping[str, Tensor]) -> None:
        self.losses.append(results["loss"].double().cpu())
        rows = results["detections"].double().cpu().numpy()
        boxes = results["boxes"].double().cpu().numpy()
        labels = results["labels"].cpu().numpy()
        ignore = results["ignore"].cpu().numpy()
        for row, index in enumerate(indices.tolist()):
            seen = rows[row][rows[row][:, 5] >= 0]
            there = labels[row] >= 0
            self.found[index] = Found(
                boxes=seen[:, :4], labels=seen[:, 5].astype(np.int64), scores=seen[:, 4]
            )
            self.truths[index] = Truth(
                boxes=boxes[row][there], labels=labels[row][there], ignore=ignore[row][there]
            )

    def curves(self) -> list[Curve]:
        """Precision and recall of every class."""
        places = sorted(self.found)
        return precision_recall(
            [self.truths[i] for i in places],
            [self.found[i] for i in places],
            len(self.class_names),
        )

    def metrics(self) -> dict[str, float]:
        """The loss; mAP over IoU .5 to .95, at .5 and at .75; each class's average precision.

        A class without objects has no average precision, and none where no class has objects.
        """
        curves = self.curves()
        each = np.stack([curve.average for curve in curves])
        known = np.array([curve.num_objects > 0 for curve in curves])
        mean = each[known].mean(axis=0) if known.any() else np.full(len(THRESHOLDS), 0.0)
        loss = torch.cat(self.losses) if self.losses else torch.tensor([float("nan")])
        values = {
            "loss": float(loss.mean()),
            "map": float(mean.mean()),
            "map50": float(mean[AT_HALF]),
            "map75": float(mean[AT_THREE_QUARTERS]),
        }
        for name, average, is_known in zip(self.class_names, each, known, strict=True):
            if is_known:
                values |= {
                    f"ap_{name}": float(average.mean()),
                    f"ap50_{name}": float(average[AT_HALF]),
                }
        return values


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Detection with the loss that the network's outputs compute.

    Args:
        class_names: one for each label.
        mean, std: per channel, of pixels in [0, 1]; the network reads (x − mean) / std.
        fill: per channel, in [0, 1]: what augmentation puts where the picture does not reach.
        augmentation: what is done to training pictures, and to their boxes.
        score: the least score of a detection in metrics.
        iou: non-maximum suppression leaves out what overlaps a better one of its class by more.
        most: detections of one picture.
    Raises:
        ConfigError: when the augmentation does not fit boxes.
    """

    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[float, ...]
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    score: float = 0.001
    iou: float = 0.6
    most: int = 100
    name: str = "detect"
    best_metric: str = "map"

    def __post_init__(self) -> None:
        check_together(self.augmentation, with_boxes=True)

    def targets(self, split: Split, indices: Tensor) -> Objects:
        boxes, labels = split.targets.get("boxes"), split.targets.get("box_labels")
        if boxes is None or labels is None:
            raise DataError("this dataset has no boxes to detect")
        ignore, proposals = split.targets.get("box_ignore"), split.targets.get("proposals")
        places = indices.tolist()
        return pad_objects(
            [boxes[i] for i in places],
            [labels[i] for i in places],
            None if ignore is None else [ignore[i] for i in places],
            None if proposals is None else [proposals[i] for i in places],
        )

    def inputs(self, pixels: Tensor) -> Tensor:
        return normalized(pixels, self.mean, self.std)

    def prepare(
        self,
        pixels: Tensor,
        targets: Objects,
        generator: torch.Generator | None,
        share: Share | None = None,
        flipped: Tensor | None = None,
    ) -> tuple[Tensor, Objects]:
        if generator is None:
            return self.inputs(pixels), targets
        proposals = targets.proposals
        boxes = targets.boxes if proposals is None else torch.cat((targets.boxes, proposals), 1)
        moved = augment_together(
            pixels,
            generator,
            self.augmentation,
            fill=self.fill,
            share=share,
            flipped=flipped,
            boxes=boxes,
        )
        return self.inputs(moved.pixels), _moved_objects(targets, moved)

    def loss(self, outputs: Outputs, targets: Objects) -> Tensor:
        """The sum of the parts of the network's own loss."""
        return torch.stack([*outputs.losses(targets).values()]).sum()

    def batch_metrics(self, outputs: Outputs, targets: Objects) -> dict[str, Tensor]:  # noqa: ARG002
        return {}

    def results(self, outputs: Outputs, targets: Objects) -> dict[str, Tensor]:
        given = {} if targets.proposals is None else {"proposals": targets.proposals}
        detections = outputs.detections(score=self.score, iou=self.iou, most=self.most, **given)
        return {
            "detections": detections,
            "loss": self.loss(outputs, targets).detach().expand(len(targets)),
            "boxes": targets.boxes,
            "labels": targets.labels,
            "ignore": targets.ignore,
        }

    def meter(self, num_examples: int) -> DetectMeter:
        return DetectMeter(self.class_names, num_examples)

    def figures(
        self,
        meter: Meter,
        split: Split,
        predict: Callable[[Tensor], Any] | None = None,  # noqa: ARG002  # the meter holds it all
    ) -> Sequence[Figure]:
        seen = cast("DetectMeter", meter)
        curves = seen.curves()
        precision = np.stack([curve.precision[AT_HALF] for curve in curves])
        average = np.array([curve.average[AT_HALF] for curve in curves])
        return [
            precision_recall_figure(precision, average, self.class_names),
            worst_misses(seen.truths, seen.found, split, self.class_names),
        ]

    def to_json(self) -> Mapping[str, Any]:
        return {
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "fill": list(self.fill),
        }


def _moved_objects(targets: Objects, moved: Moved) -> Objects:
    """The objects where augmentation has put them; those that it has moved out are padding."""
    every, there = cast("Tensor", moved.boxes), cast("Tensor", moved.kept)
    most = targets.labels.shape[1]
    boxes, kept, proposals = every[:, :most], there[:, :most], None
    if targets.proposals is not None:
        proposals = every[:, most:].masked_fill(~there[:, most:, None], float("nan"))
    return Objects(
        boxes=boxes.masked_fill(~kept[..., None], 0.0),
        labels=targets.labels.masked_fill(~kept, -1),
        ignore=targets.ignore & kept,
        proposals=proposals,
    )


def detect_from_json(tree: Mapping[str, Any]) -> Detect:
    """The task whose `to_json` this is, without augmentation."""
    return Detect(
        class_names=tuple(tree["class_names"]),
        mean=tuple(tree["mean"]),
        std=tuple(tree["std"]),
        fill=tuple(tree["fill"]),
    )
