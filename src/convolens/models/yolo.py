"""`yolo`: a one-pass detector of today, put together from published papers.

A cross-stage body (CSPNet), a path-aggregation neck (PANet), and one decoupled head that all levels
share (RetinaNet, FCOS); every position is a point that finds a box by itself (FCOS, YOLOX);
task-aligned assignment (TOOD), a quality-weighted focal loss (GFL) and the generalized IoU.
"""

from collections import OrderedDict
from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.entry import ModelEntry
from convolens.models.side import check_side
from convolens.nn.assignment import Assignment, assign_points
from convolens.nn.box_overlap import generalized_iou
from convolens.nn.detections import best_detections
from convolens.nn.initial import drawn_once, he_weights
from convolens.nn.objects import Objects
from convolens.nn.pyramid_neck import CrossStage, PathAggregation, PooledContext, conv_unit

STRIDES = (8, 16, 32)
FIRST_SIDE = 4.0  # of a box before training, in strides
LARGEST_LOG = 5.0  # of a side over FIRST_SIDE strides: 148 times as much
PRIOR = 0.01  # the score of every class before training
BOX_WEIGHT = 2.0  # TOOD's
FOCUS = 2.0  # GFL's


class YoloOutputs(NamedTuple):
    """What `yolo` says of a batch of pictures: P points, the finest level first, row by row.

    Args:
        logits: (B, P, K), of the classes.
        boxes: float32 (B, P, 4), xyxy [px].
        points: float32 (P, 2), x and y of the middle of each cell [px].
        size: (H, W) of the pictures [px].
    """

    logits: Tensor
    boxes: Tensor
    points: Tensor
    size: tuple[int, int]

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        """The mean over the pictures of two sums over the points, each over the sum of quality.

        "classes" is |q − s|² · BCE(s, q) of score s and quality q, "box" is 2 q (1 − GIoU).

        Source: Feng et al. (2021), arXiv:2108.07755, equations 5 and 6; Li et al. (2020),
            Generalized focal loss, arXiv:2006.04388, equation 6.
        """
        scores = _exact(self.logits).sigmoid()
        found = assign_points(scores, self.boxes, self.points, targets, self.size)
        return self.losses_of(found, targets)

    def losses_of(self, found: Assignment, targets: Objects) -> dict[str, Tensor]:
        """The losses of an assignment that is known."""
        logits = _exact(self.logits)
        quality = found.quality.to(logits)
        per_object = quality.sum(1).clamp(min=1)
        wanted = torch.zeros_like(logits)
        truths = self.boxes
        if targets.labels.shape[1]:
            labels = targets.labels.gather(1, found.truth).clamp(min=0)
            wanted.scatter_(2, labels[..., None], quality[..., None])
            truths = targets.boxes.to(self.boxes).gather(
                1, found.truth[..., None].expand(-1, -1, 4)
            )
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        focus = (wanted - logits.sigmoid()).abs() ** FOCUS
        classes = (focus * entropy).masked_fill(found.void, 0).sum((1, 2))
        box = (quality * (1 - generalized_iou(self.boxes, truths))).sum(1)
        return {
            "classes": (classes / per_object).mean(),
            "box": BOX_WEIGHT * (box / per_object).mean(),
        }

    def detections(self, *, score: float = 0.001, iou: float = 0.6, most: int = 100) -> Tensor:
        """The best boxes of each picture after class-aware suppression, as `best_detections`."""
        chances = _exact(self.logits).sigmoid()
        return best_detections(self.boxes, chances, self.size, score=score, iou=iou, most=most)


def _exact(x: Tensor) -> Tensor:
    """At least float32, whatever autocast has made of it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class YoloHead(nn.Module):
    """The logits of the classes and four numbers of a box, at every position of every level.

    The convolutions are the same for all levels; each level has batch norms of its own.

    Source: Tian et al. (2019), FCOS, arXiv:1904.01355, section 3; norms as in Lyu et al. (2022),
        RTMDet, arXiv:2212.07784, section 3.2.
    Shape: maps [(N, channels, H_i, W_i)] -> (N, P, num_classes), (N, P, 4), P = Σ H_i·W_i
    """

    def __init__(self, channels: int, num_classes: int, *, num_levels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {
                name: nn.Conv2d(channels, channels, 3, padding=1, bias=False)
                for name in ("score", "box")
            }
        )
        self.norms = nn.ModuleDict(
            {
                name: nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_levels))
                for name in self.branches
            }
        )
        self.score = nn.Conv2d(channels, num_classes, 1)
        self.box = nn.Conv2d(channels, 4, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        scores, boxes = [], []
        for level, x in enumerate(maps):
            found = {
                name: self.relu(self.norms[name][level](conv(x)))  # type: ignore[index]
                for name, conv in self.branches.items()
            }
            scores.append(self.score(found["score"]).flatten(2))
            boxes.append(self.box(found["box"]).flatten(2))
        return torch.cat(scores, dim=2).transpose(1, 2), torch.cat(boxes, dim=2).transpose(1, 2)


class Yolo(nn.Module):
    """Body, neck and head; see `yolo`."""

    def __init__(
        self, num_classes: int, in_channels: int, widths: list[int], channels: int, depth: int
    ) -> None:
        super().__init__()
        stages = OrderedDict[str, nn.Module](stage1=conv_unit(in_channels, widths[0], 3, stride=2))
        for i, blocks in enumerate((1, 1, 2, 1), start=1):
            stages[f"stage{i + 1}"] = nn.Sequential(
                OrderedDict[str, nn.Module](
                    halve=conv_unit(widths[i - 1], widths[i], 3, stride=2),
                    blocks=CrossStage(widths[i], widths[i], num_blocks=blocks * depth),
                )
            )
        self.body = nn.Sequential(stages)
        self.context = PooledContext(widths[4])
        self.neck = PathAggregation(widths[2:], channels, num_blocks=depth)
        self.head = YoloHead(channels, num_classes, num_levels=len(STRIDES))

    def forward(self, x: Tensor) -> YoloOutputs:
        size = (x.shape[2], x.shape[3])
        maps = []
        for stage in self.body:
            x = stage(x)
            maps.append(x)
        levels = self.neck([*maps[2:4], self.context(maps[4])])
        logits, numbers = self.head(levels)
        points, strides = grid([(m.shape[2], m.shape[3]) for m in levels], numbers.device)
        return YoloOutputs(logits, boxes_at(points, strides, numbers), points, size)


def grid(
    sizes: list[tuple[int, int]], device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """The middle (x, y) of every cell of every level, and its stride, both [px].

    Cell i of a level of stride s covers the pixels from s·i to s·(i + 1), at any size of picture.

    Source: Tian et al. (2019), FCOS, arXiv:1904.01355, section 3.1.
    Shape: -> (P, 2), (P, 1)
    """
    points, strides = [], []
    for (rows, cols), stride in zip(sizes, STRIDES, strict=True):
        y = (torch.arange(rows, dtype=torch.float32, device=device) + 0.5) * stride
        x = (torch.arange(cols, dtype=torch.float32, device=device) + 0.5) * stride
        points.append(torch.stack((x.repeat(rows), y.repeat_interleave(cols)), dim=1))
        strides.append(torch.full((rows * cols, 1), float(stride), device=device))
    return torch.cat(points), torch.cat(strides)


def boxes_at(points: Tensor, strides: Tensor, numbers: Tensor) -> Tensor:
    """Boxes whose middle is p + s·(a, b) and whose sides are 4s·exp(c, d).

    Source: Ge et al. (2021), YOLOX, arXiv:2107.08430, section 2.1; the factor 4 is ours.
    Shape: points (P, 2), strides (P, 1), numbers (N, P, 4) -> xyxy (N, P, 4)
    """
    numbers = _exact(numbers)
    middle = points + strides * numbers[..., :2]
    half = strides * (FIRST_SIDE / 2) * numbers[..., 2:].clamp(-LARGEST_LOG, LARGEST_LOG).exp()
    return torch.cat((middle - half, middle + half), dim=-1)


def yolo(
    num_classes: int = 80,
    in_channels: int = 3,
    image_size: int = 320,
    *,
    width: float = 1.0,
    depth: int = 1,
) -> Yolo:
    """A one-pass detector: at every point of three grids, the classes' scores and one box.

    Source: the papers named at each part; none of the code that others have made of them.
    Args:
        num_classes: classes of objects.
        in_channels: channels of the picture.
        image_size: longer side of the picture [px]; pictures of any size and shape are read.
        width: factor on the number of channels.
        depth: factor on the number of residual blocks; at least 1.
    Shape: x (N, in_channels, H, W) -> logits (N, P, num_classes) and boxes (N, P, 4), with
        P = Σ ceil(H / s)·ceil(W / s) over the strides s of 8, 16 and 32
    Returns: the network, which gives `YoloOutputs`.
    Raises:
        ShapeError: when there is no picture.
        ConfigError: when width or depth is out of range.
    Example:
        >>> yolo(3)(torch.zeros(1, 3, 64, 96)).boxes.shape
        torch.Size([1, 126, 4])
    """
    check_side(image_size)
    if width <= 0:
        raise ConfigError(f"width must be more than 0, received {width}")
    if depth < 1:
        raise ConfigError(f"depth must be at least 1, received {depth}")
    widths = [max(8, round(c * width / 8) * 8) for c in (16, 32, 64, 128, 256)]
    return drawn_once(
        lambda: Yolo(num_classes, in_channels, widths, widths[2], depth), _first_weights
    )


def _first_weights(name: str, module: nn.Module) -> None:
    """He's weights; the head begins with scores of 0.01 and boxes of four strides.

    Source: Lin et al. (2017), RetinaNet, arXiv:1708.02002, section 4.1.
    """
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.normal_(module.weight, std=0.01)
        nn.init.constant_(module.bias, log(PRIOR / (1 - PRIOR)) if name == "head.score" else 0)
    else:
        he_weights(fan="fan_out")(name, module)


ENTRIES = (
    ModelEntry(
        builder=yolo,
        input_size=(3, 320, 320),
        description="a one-pass detector of today, without anchors, from published papers",
        task="detect",
    ),
)
