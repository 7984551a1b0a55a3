"""Fast R-CNN: one pass over the picture, and a small head for every region.

Source: Girshick (2015), Fast R-CNN, arXiv:1504.08083.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.entry import ModelEntry
from convolens.models.region_body import (
    BodyName,
    RegionBody,
    Stem,
    default_stem,
    region_body,
    region_weights,
)
from convolens.models.side import check_side
from convolens.nn.initial import drawn_once
from convolens.nn.objects import Objects
from convolens.nn.regions import region_detections, region_losses, sample_regions

POOLED_SIDE = 7
HEAD_STDS = {"head.score": 0.01, "head.offset": 0.001}  # section 3.1 of the paper


class RegionHead(nn.Module):
    """Two affine layers, then the logits and the box offsets of every class.

    Source: Girshick (2015), section 2 and figure 1.
    Args:
        in_features: C·7·7, numbers that are pooled of a region.
        num_classes: without background.
        hidden: units of fc6 and fc7; 4096 in the paper.
        dropout: probability of dropping a unit after each of them.
    Shape: x (R, C, 7, 7) -> (R, num_classes + 1), (R, num_classes, 4)
    """

    def __init__(
        self, in_features: int, num_classes: int, *, hidden: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc6 = nn.Linear(in_features, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(hidden, num_classes + 1)
        self.offset = nn.Linear(hidden, 4 * num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))
        x = self.dropout(self.relu(self.fc7(x)))
        return self.score(x), self.offset(x).unflatten(1, (self.num_classes, 4))


class FastRCNNOutputs(NamedTuple):
    """What Fast R-CNN knows of a batch before it is told where to look.

    Args:
        features: (B, C, h, w).
        whole: logits (B, num_classes + 1) of the whole pictures; None in training.
        size: (H, W) of the pictures.
        network: whose head looks at the regions.
    """

    features: Tensor
    whole: Tensor | None
    size: tuple[int, int]
    network: "FastRCNN"

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        """The losses of classes and boxes on regions drawn from `targets.proposals`.

        Raises:
            ConfigError: when the targets have no proposals.
        """
        net = self.network
        proposals = given_proposals(targets.proposals)
        regions = sample_regions(
            proposals,
            targets,
            self.size,
            num_classes=net.head.num_classes,
            number=net.num_regions,
            least=net.least_iou,
        )
        logits, offsets = net.look_at(self.features, regions.boxes)
        by_class, by_box = region_losses(logits, offsets, regions)
        return {"class": by_class, "box": by_box}

    def detections(
        self,
        *,
        proposals: Tensor | None = None,
        score: float = 0.001,
        iou: float = 0.6,
        most: int = 100,
    ) -> Tensor:
        """The objects found among the proposals (B, P, 4), NaN rows left out: (B, most, 6).

        Raises:
            ConfigError: when there are no proposals.
        """
        boxes = given_proposals(proposals)
        logits, offsets = self.network.look_at(self.features, boxes)
        counts = [len(b) for b in boxes]
        return region_detections(
            *(boxes, torch.split(logits, counts), torch.split(offsets, counts), self.size),
            score=score,
            iou=iou,
            most=most,
        )


def given_proposals(proposals: Tensor | None) -> list[Tensor]:
    """The proposals (P_i, 4) of each picture, without the rows of NaN that pad them.

    Raises:
        ConfigError: when there are none.
    """
    if proposals is None:
        raise ConfigError(
            "this detector looks at proposals and received none",
            "Give boxes (B, P, 4), such as those of selective search.",
        )
    return [rows[~rows.isnan().any(dim=1)] for rows in proposals]


class FastRCNN(nn.Module):
    """A body, RoI pooling, and a head; see `fast_rcnn`."""

    needs_proposals = True

    def __init__(
        self, body: RegionBody, head: RegionHead, *, num_regions: int, least_iou: float
    ) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.num_regions, self.least_iou = num_regions, least_iou

    def forward(self, x: Tensor) -> FastRCNNOutputs:
        size = (x.shape[-2], x.shape[-1])
        (features,) = self.body(x)
        whole = None
        if not self.training:
            picture = x.new_tensor([[0, 0, size[1], size[0]]])
            whole = self.look_at(features, [picture] * len(x))[0]
        return FastRCNNOutputs(features, whole, size, self)

    def look_at(self, features: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and offsets of the boxes (R_i, 4) of each picture, one after the other."""
        from torchvision.ops import roi_pool  # two seconds to import

        pooled = roi_pool(
            features.float(), boxes, POOLED_SIDE, spatial_scale=1 / self.body.strides[0]
        )
        logits, offsets = self.head(pooled)
        return logits, offsets


def fast_rcnn(
    num_classes: int = 20,
    in_channels: int = 3,
    image_size: int = 320,
    *,
    body: BodyName = "resnet18",
    width: int = 32,
    stem: Stem | None = None,
    hidden: int | None = None,
    dropout: float | None = None,
    num_regions: int = 64,
    least_iou: float = 0.0,
) -> FastRCNN:
    """Fast R-CNN: proposals of any origin, pooled from one feature map.

    Source: Girshick (2015), section 2; body="vgg16" is the paper's network.
    Args:
        num_classes: without background.
        in_channels: channels of the picture.
        image_size: longer side of the picture [px].
        body: "resnet18", "resnet34" or "resnet50" up to the third stage, or "vgg16".
        width: channels of a ResNet's first stage; 64 for ImageNet weights.
        stem: "full" divides a ResNet's side by four before its first stage, "small" does not, for
            small pictures; None takes "small" below 128 px.
        hidden: units of both affine layers; None takes 8·width, and 4096 for vgg16.
        dropout: after each of them; None takes 0, and 0.5 for vgg16.
        num_regions: drawn of each picture for the loss; 64 in the paper.
        least_iou: with an object, for a region to be learnt from as background; 0.1 in the paper.
    Shape: x (N, in_channels, H, W) of any H and W -> `FastRCNNOutputs`
    Returns: the network. In evaluation mode its forward pass also looks at one region, the whole
        picture; `detections(proposals=…)` looks at the regions that are given.
    Raises:
        ConfigError: when an option is not known.
        ShapeError: when there is no picture.
    Deviates: a ResNet body trains from scratch, batch norm included; the objects' own boxes are
        among the regions; background need not be near an object, for a network that starts from
        scratch knows nothing of the rest.
    Example:
        >>> fast_rcnn(num_classes=3).eval()(torch.zeros(1, 3, 64, 96)).whole.shape
        torch.Size([1, 4])
    """
    check_side(image_size)
    is_vgg = body == "vgg16"
    units = hidden or (4096 if is_vgg else 8 * width)

    def build() -> FastRCNN:
        trunk = region_body(body, in_channels, width=width, stem=stem or default_stem(image_size))
        head = RegionHead(
            trunk.channels[-1] * POOLED_SIDE**2,
            num_classes,
            hidden=units,
            dropout=(0.5 if is_vgg else 0.0) if dropout is None else dropout,
        )
        return FastRCNN(trunk, head, num_regions=num_regions, least_iou=least_iou)

    return drawn_once(build, region_weights(HEAD_STDS))


ENTRIES = (
    ModelEntry(
        builder=fast_rcnn,
        input_size=(3, 320, 320),
        description="Fast R-CNN (Girshick 2015): RoI pooling of proposals from one map",
        task="detect",
    ),
)
