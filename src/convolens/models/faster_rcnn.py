"""Faster R-CNN: a network that proposes regions, and Fast R-CNN on the same features.

Source: Ren, He, Girshick, Sun (2015), Faster R-CNN, arXiv:1506.01497; with a feature pyramid, Lin
et al. (2017), arXiv:1612.03144.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.entry import ModelEntry
from convolens.models.fast_rcnn import HEAD_STDS, POOLED_SIDE, RegionHead
from convolens.models.region_body import (
    BodyName,
    RegionBody,
    Stem,
    default_stem,
    region_body,
    region_weights,
)
from convolens.models.side import check_side
from convolens.nn.anchors import anchor_shapes, grid_anchors
from convolens.nn.feature_pyramid import FeaturePyramid
from convolens.nn.initial import drawn_once
from convolens.nn.objects import Objects
from convolens.nn.region_proposals import RegionProposals, propose, rpn_losses
from convolens.nn.regions import (
    region_detections,
    region_losses,
    sample_regions,
)

RATIOS = (0.5, 1.0, 2.0)
RPN_STDS = {"rpn.conv": 0.01, "rpn.objectness": 0.01, "rpn.offset": 0.01}  # section 3.1.3
FINEST_SIDE = 224 / 16  # cells of a level beyond which a region goes to the next one


class Found(NamedTuple):
    """What the head says of the proposals of each picture.

    Args:
        proposals: (P_i, 4), xyxy [px].
        logits: (P_i, num_classes + 1).
        offsets: (P_i, num_classes, 4).
    """

    proposals: list[Tensor]
    logits: list[Tensor]
    offsets: list[Tensor]


class FasterRCNNOutputs(NamedTuple):
    """What Faster R-CNN knows of a batch.

    Args:
        maps: features (B, C, h_i, w_i) of each level.
        objectness: (B, A), logits of all anchors.
        offsets: (B, A, 4), of all anchors.
        found: of the proposals; None in training, where `detections` finds it.
        size: (H, W) of the pictures.
        network: whose head looks at regions.
    """

    maps: list[Tensor]
    objectness: Tensor
    offsets: Tensor
    found: Found | None
    size: tuple[int, int]
    network: "FasterRCNN"

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        """The losses of proposals and of regions drawn from them, all trained together."""
        net = self.network
        anchors, levels = net.anchors_of(self.maps)
        by_anchor, by_offset = rpn_losses(
            *(self.objectness.float(), self.offsets.float(), anchors, targets, self.size),
            number=net.num_anchors,
        )
        proposals = propose(
            *(self.objectness, self.offsets, anchors, levels, self.size),
            most=net.num_proposals,
        )
        regions = sample_regions(
            proposals,
            targets,
            self.size,
            num_classes=net.head.num_classes,
            number=net.num_regions,
        )
        logits, offsets = net.look_at(self.maps, regions.boxes)
        by_class, by_box = region_losses(logits, offsets, regions)
        return {
            "rpn_object": by_anchor,
            "rpn_box": by_offset,
            "class": by_class,
            "box": by_box,
        }

    def detections(self, *, score: float = 0.001, iou: float = 0.6, most: int = 100) -> Tensor:
        """The objects found: (B, most, 6)."""
        found = self.found or self.network.look(self)
        return region_detections(*found, self.size, score=score, iou=iou, most=most)


class FasterRCNN(nn.Module):
    """A body, perhaps a pyramid, region proposals, RoIAlign and a head; see `faster_rcnn`."""

    def __init__(
        self,
        body: RegionBody,
        pyramid: FeaturePyramid | None,
        rpn: RegionProposals,
        head: RegionHead,
        *,
        shapes: tuple[tuple[tuple[float, float], ...], ...],
        num_anchors: int,
        num_regions: int,
        num_proposals: int,
    ) -> None:
        super().__init__()
        self.body, self.pyramid, self.rpn, self.head = body, pyramid, rpn, head
        last = () if pyramid is None else (2 * body.strides[-1],)
        self.strides = (*body.strides, *last)
        self.shapes = shapes
        self.num_regions, self.num_proposals = num_regions, num_proposals
        self.num_anchors = num_anchors

    def forward(self, x: Tensor) -> FasterRCNNOutputs:
        height, width = x.shape[-2:]
        maps = self.body(x)
        if self.pyramid is not None:
            maps = self.pyramid(maps)
        objectness, offsets = self.rpn(maps)
        outputs = FasterRCNNOutputs(maps, objectness, offsets, None, (height, width), self)
        return outputs if self.training else outputs._replace(found=self.look(outputs))

    def look(self, outputs: FasterRCNNOutputs) -> Found:
        """Proposals, and what the head says of them."""
        anchors, levels = self.anchors_of(outputs.maps)
        proposals = propose(
            *(outputs.objectness, outputs.offsets, anchors, levels, outputs.size),
            most=self.num_proposals,
        )
        logits, offsets = self.look_at(outputs.maps, proposals)
        counts = [len(boxes) for boxes in proposals]
        return Found(
            proposals, list(torch.split(logits, counts)), list(torch.split(offsets, counts))
        )

    def anchors_of(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """All anchors (A, 4), and how many of them are of each level."""
        each = [
            grid_anchors((m.shape[-2], m.shape[-1]), stride, shapes, device=m.device)
            for m, stride, shapes in zip(maps, self.strides, self.shapes, strict=True)
        ]
        return torch.cat(each), [len(a) for a in each]

    def look_at(self, maps: Sequence[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and offsets of the boxes (R_i, 4) of each picture, one after the other."""
        from torchvision.ops import roi_align  # two seconds to import

        picture = torch.cat([b.new_full((len(b), 1), i) for i, b in enumerate(boxes)])
        rows = torch.cat((picture, torch.cat(boxes)), dim=1)
        levels = len(self.body.strides)  # the level above the top is for proposals only
        if levels == 1 or rows.is_meta:
            pooled = roi_align(
                *(maps[0].float(), rows, POOLED_SIDE, 1 / self.strides[0]),
                sampling_ratio=2,
                aligned=True,
            )
        else:
            level = pyramid_level(rows[:, 1:], self.strides[0], levels)
            pooled = rows.new_zeros(len(rows), maps[0].shape[1], POOLED_SIDE, POOLED_SIDE)
            for i in range(levels):
                own = torch.where(level == i)[0]
                part = roi_align(
                    *(maps[i].float(), rows[own], POOLED_SIDE, 1 / self.strides[i]),
                    sampling_ratio=2,
                    aligned=True,
                )
                pooled = pooled.index_put((own,), part)
        logits, offsets = self.head(pooled)
        return logits, offsets


def pyramid_level(boxes: Tensor, finest: int, levels: int) -> Tensor:
    """k = floor(log₂(√(w·h) / (14·s))), within 0 … levels − 1, s being the finest stride.

    Source: Lin et al. (2017), equation 1, in which a region of 224 px has stride 16: 14 cells.
    """
    side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    level = (side / (FINEST_SIDE * finest) + 1e-6).log2().floor()
    return level.clamp(0, levels - 1).long()


def faster_rcnn(
    num_classes: int = 20,
    in_channels: int = 3,
    image_size: int = 320,
    *,
    body: BodyName = "resnet18",
    width: int = 32,
    stem: Stem | None = None,
    pyramid: bool = False,
    anchor_sizes: Sequence[float] | None = None,
    anchor_ratios: Sequence[float] = RATIOS,
    hidden: int | None = None,
    dropout: float | None = None,
    num_anchors: int = 256,
    num_regions: int = 64,
    num_proposals: int = 300,
) -> FasterRCNN:
    """Faster R-CNN: a region proposal network and Fast R-CNN on shared features, trained as one.

    Source: Ren et al. (2015), section 3; body="vgg16" is the paper's network. The pyramid: Lin et
        al. (2017), section 4.
    Args:
        num_classes: without background.
        in_channels: channels of the picture.
        image_size: longer side of the picture [px].
        body: "resnet18", "resnet34", "resnet50", or "vgg16".
        width: channels of a ResNet's first stage; 64 for ImageNet weights.
        stem: "full" divides a ResNet's side by four before its first stage, "small" does not, for
            small pictures; None takes "small" below 128 px.
        pyramid: whether objects are sought on four levels, the larger the coarser, or on one map.
        anchor_sizes: square roots of the anchors' areas, dealt out to the levels of a pyramid, the
            smallest first [px]; None takes image_size / 16 times 1, 2, 4, 8, and for a pyramid
            1, √2, 2, … 8√2.
        anchor_ratios: height to width of the anchors of every size.
        hidden: units of both affine layers; None takes 8·width, and 4096 for vgg16.
        dropout: after each of them; None takes 0, and 0.5 for vgg16.
        num_anchors: drawn of each picture for the loss of the proposals.
        num_regions: drawn of each picture for the loss of the head.
        num_proposals: the head looks at; in training, the loss draws from them.
    Shape: x (N, in_channels, H, W) of any H and W -> `FasterRCNNOutputs`
    Returns: the network; in evaluation mode its forward pass includes proposals and head.
    Raises:
        ConfigError: when an option is not known, or sizes cannot be dealt out to four levels.
        ShapeError: when there is no picture.
    Deviates: RoIAlign (He et al. 2017, arXiv:1703.06870) for RoI pooling; trained from scratch,
        batch norm included; anchors over the border are learnt from; the objects' own boxes are
        among the regions; a ResNet's head is two affine layers; the pyramid begins at stride 8
        (vgg16: 4), where Lin et al. have 4, and has 2·width channels where they have 256.
    Example:
        >>> net = faster_rcnn(num_classes=3, width=8).eval()
        >>> net(torch.zeros(1, 3, 64, 96)).detections(most=5).shape
        torch.Size([1, 5, 6])
    """
    check_side(image_size)
    is_vgg = body == "vgg16"
    sizes = _dealt(anchor_sizes or _default_sizes(image_size, pyramid), 4 if pyramid else 1)
    units = hidden or (4096 if is_vgg else 8 * width)

    def build() -> FasterRCNN:
        trunk = region_body(
            *(body, in_channels),
            width=width,
            stem=stem or default_stem(image_size),
            num_maps=3 if pyramid else 1,
        )
        channels = (256 if is_vgg else 2 * width) if pyramid else trunk.channels[-1]
        return FasterRCNN(
            trunk,
            FeaturePyramid(trunk.channels, channels) if pyramid else None,
            RegionProposals(channels, len(sizes[0]) * len(anchor_ratios)),
            RegionHead(
                channels * POOLED_SIDE**2,
                num_classes,
                hidden=units,
                dropout=(0.5 if is_vgg else 0.0) if dropout is None else dropout,
            ),
            shapes=tuple(anchor_shapes(of_level, anchor_ratios) for of_level in sizes),
            num_anchors=num_anchors,
            num_regions=num_regions,
            num_proposals=num_proposals,
        )

    return drawn_once(build, region_weights(HEAD_STDS | RPN_STDS))


def _default_sizes(image_size: int, pyramid: bool) -> tuple[float, ...]:
    steps = [2 ** (i / 2) for i in range(8)] if pyramid else [1, 2, 4, 8]
    return tuple(image_size / 16 * step for step in steps)


def _dealt(sizes: Sequence[float], levels: int) -> list[tuple[float, ...]]:
    """As many sizes for each level, the smallest first."""
    if len(sizes) % levels or not sizes:
        raise ConfigError(
            f"anchor_sizes are dealt out to {levels} levels; received {len(sizes)} sizes",
            f"Give {levels} or {2 * levels} of them.",
        )
    own, ordered = len(sizes) // levels, sorted(sizes)
    return [tuple(ordered[i * own : (i + 1) * own]) for i in range(levels)]


ENTRIES = (
    ModelEntry(
        builder=faster_rcnn,
        input_size=(3, 320, 320),
        description="Faster R-CNN (Ren et al. 2015): region proposals and regions on one map",
        task="detect",
    ),
)
