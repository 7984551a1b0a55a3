"""R-CNN: every proposal is cut out, warped, and classified by a ConvNet.

Source: Girshick, Donahue, Darrell, Malik (2014), Rich feature hierarchies for accurate object
detection and semantic segmentation, arXiv:1311.2524.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.alexnet import alexnet
from convolens.models.entry import Builder, ModelEntry
from convolens.models.fast_rcnn import given_proposals
from convolens.models.region_body import region_weights
from convolens.models.resnet import resnet18
from convolens.models.side import check_side
from convolens.models.small_convnet import small_convnet
from convolens.nn.initial import drawn_once
from convolens.nn.objects import Objects
from convolens.nn.region_warp import warp_regions
from convolens.nn.regions import region_detections, region_losses, sample_regions

Body = Literal["small", "resnet18", "alexnet"]
REGION_SIDES = {"small": 48, "resnet18": 64, "alexnet": 227}
BUILDERS: Mapping[str, Builder] = {"small": small_convnet, "resnet18": resnet18, "alexnet": alexnet}
REGIONS_AT_ONCE = 256


class RCNNOutputs(NamedTuple):
    """What R-CNN knows of a batch before it is told where to look: its pictures.

    Args:
        pictures: (B, C, H, W).
        whole: logits (B, num_classes + 1) of the whole pictures; None in training.
        network: that looks at regions.
    """

    pictures: Tensor
    whole: Tensor | None
    network: "RCNN"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.pictures.shape[-2], self.pictures.shape[-1]

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        """The losses of classes and boxes on regions drawn from `targets.proposals`.

        Raises:
            ConfigError: when the targets have no proposals.
        """
        net = self.network
        regions = sample_regions(
            given_proposals(targets.proposals),
            targets,
            self.size,
            num_classes=net.num_classes,
            number=net.num_regions,
        )
        logits, offsets = net.look_at(self.pictures, regions.boxes)
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
        logits, offsets = [], []
        for row, own in enumerate(boxes):
            parts = [
                self.network.look_at(self.pictures[row : row + 1], [some])
                for some in torch.split(own, REGIONS_AT_ONCE)
            ]
            logits.append(torch.cat([of_class for of_class, _ in parts]))
            offsets.append(torch.cat([of_box for _, of_box in parts]))
        return region_detections(
            *(boxes, logits, offsets, self.size), score=score, iou=iou, most=most
        )


class RCNN(nn.Module):
    """A classification network for regions, and offsets of their boxes; see `rcnn`."""

    needs_proposals = True

    def __init__(
        self,
        body: nn.Sequential,
        num_features: int,
        num_classes: int,
        *,
        region_size: int,
        num_regions: int,
    ) -> None:
        super().__init__()
        self.body = body
        self.score = nn.Linear(num_features, num_classes + 1)
        self.offset = nn.Linear(num_features, 4 * num_classes)
        self.num_classes, self.num_regions = num_classes, num_regions
        self.region_size = region_size

    def forward(self, x: Tensor) -> RCNNOutputs:
        whole = None
        if not self.training:
            picture = x.new_tensor([[0, 0, x.shape[-1], x.shape[-2]]])
            whole = self.look_at(x, [picture] * len(x))[0]
        return RCNNOutputs(x, whole, self)

    def look_at(self, pictures: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and offsets of the boxes (R_i, 4) of each picture, one after the other."""
        features = self.body(warp_regions(pictures, boxes, self.region_size))
        return self.score(features), self.offset(features).unflatten(1, (self.num_classes, 4))


def rcnn(
    num_classes: int = 20,
    in_channels: int = 3,
    image_size: int = 320,
    *,
    body: Body = "small",
    region_size: int | None = None,
    num_regions: int = 32,
) -> RCNN:
    """R-CNN: proposals of any origin, each warped and classified on its own.

    Source: Girshick et al. (2014), section 2; body="alexnet" is the paper's network.
    Args:
        num_classes: without background.
        in_channels: channels of the picture.
        image_size: longer side of the picture [px]. No weight's shape depends on it.
        body: "small", a network of four convolutions, "resnet18" or "alexnet".
        region_size: side to which regions are warped, 16/227 of it at each end being surroundings
            [px]; None takes 48, 64 or 227.
        num_regions: drawn of each picture for the loss, a quarter of them objects.
    Shape: x (N, in_channels, H, W) of any H and W -> `RCNNOutputs`
    Returns: the network. In evaluation mode its forward pass looks at one region, the whole
        picture; `detections(proposals=…)` looks at all regions that are given.
    Raises:
        ConfigError: when the body is not known.
        ShapeError: when there is no picture, or regions are too small for the body.
    Deviates: classes are told by the softmax of the fine-tuning, background among them, and not by
        one SVM for each; offsets are regressed from the last hidden layer, trained together with
        the classes, and not from pool5 afterwards.
    Example:
        >>> rcnn(num_classes=3).eval()(torch.zeros(1, 3, 64, 96)).whole.shape
        torch.Size([1, 4])
    """
    check_side(image_size)
    if body not in get_args(Body):
        raise ConfigError(f"body must be one of {', '.join(get_args(Body))}, received {body!r}")
    side = region_size or REGION_SIDES[body]

    def build() -> RCNN:
        network = BUILDERS[body](num_classes, in_channels, side)
        *layers, (last, _) = network.named_children()
        return RCNN(
            nn.Sequential(OrderedDict(layers)),
            network.get_parameter(f"{last}.weight").shape[1],
            num_classes,
            region_size=side,
            num_regions=num_regions,
        )

    return drawn_once(build, region_weights({"score": 0.01, "offset": 0.001}))


ENTRIES = (
    ModelEntry(
        builder=rcnn,
        input_size=(3, 320, 320),
        description="R-CNN (Girshick et al. 2014): every proposal warped through a ConvNet",
        task="detect",
    ),
)
