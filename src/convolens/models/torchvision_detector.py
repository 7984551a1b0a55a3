"""torchvision's detectors, spoken to as ours are: outputs that give losses and detections."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.nn.objects import PADDING, Objects

# Their weights learnt from COCO belong to norms that add nothing to the variance.
WITHOUT_EPS = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")


class TorchvisionOutputs(NamedTuple):
    """What a detector of torchvision knows of a batch: the maps of its body.

    Args:
        pictures: (B, C, H', W'), padded at their ends.
        maps: features of each level, by torchvision's names.
        size: (H, W) of the pictures.
        network: whose other parts look at the maps.
    """

    pictures: Tensor
    maps: dict[str, Tensor]
    size: tuple[int, int]
    network: "TorchvisionDetector"

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        """torchvision's own losses, each weighed over the batch as it does."""
        found = [_learnable(targets, row, self.size) for row in range(len(targets))]
        losses: dict[str, Tensor] = self.network.look(self, found)
        return losses

    def detections(self, *, score: float = 0.001, iou: float = 0.6, most: int = 100) -> Tensor:
        """The objects found: (B, most, 6)."""
        limits = {"score_thresh": score, "nms_thresh": iou, "detections_per_img": most}
        found: list[dict[str, Tensor]] = self.network.look(self, None, limits)
        rows = self.pictures.new_zeros(len(found), most, 6, dtype=torch.float32)
        rows[..., 5] = PADDING
        for row, picture in zip(rows, found, strict=True):
            labels = picture["labels"] - 1
            there = labels >= 0  # some networks can score the background, too
            parts = (picture["boxes"], picture["scores"][:, None], labels[:, None])
            own = torch.cat(parts, dim=1)[there]
            row[: len(own)] = own
        return rows


class TorchvisionDetector(nn.Module):
    """A Faster R-CNN, RetinaNet, FCOS, SSD or SSDlite of torchvision.

    Its parameters have torchvision's names. Its pictures are normalised and of their final size
    already, so torchvision's own transform is left out; `image_mean`, `image_std` and `input_size`
    say what that would have done, and `iou` what torchvision's suppression leaves. The body runs in
    `forward`; what follows, in float32, runs when losses or detections are asked for.

    Args:
        network: as torchvision builds it, for num_classes + 1 classes; it is taken apart.
    Shape: x (N, C, H, W) -> `TorchvisionOutputs`
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        transform: Any = network.transform
        self.image_mean = tuple(transform.image_mean)
        self.image_std = tuple(transform.image_std)
        self.least_side, self.most_side = transform.min_size[-1], transform.max_size
        self.fixed_size = transform.fixed_size
        self.multiple = transform.size_divisible
        self.iou: float = _chooser(network).nms_thresh
        for name, part in network.named_children():
            if name != "transform":
                self.add_module(name, part)
        network.backbone, network.transform = _Recalled(), _Unchanged()
        self._whole: tuple[Any] = (network,)  # in a tuple, so that its parts are not listed twice

    def forward(self, x: Tensor) -> TorchvisionOutputs:
        height, width = x.shape[-2:]
        pictures = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        maps = self.get_submodule("backbone")(pictures)
        by_name = {"0": maps} if isinstance(maps, Tensor) else dict(maps)
        return TorchvisionOutputs(pictures, by_name, (height, width), self)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (h, w) to which torchvision's transform scales a picture of (h, w)."""
        if self.fixed_size is not None:
            return self.fixed_size[1], self.fixed_size[0]
        scale = min(self.least_side / min(size), self.most_side / max(size))
        return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))

    def look(
        self,
        outputs: TorchvisionOutputs,
        targets: list[dict[str, Tensor]] | None,
        limits: Mapping[str, float] | None = None,
    ) -> Any:
        """What torchvision's forward pass gives behind the body: losses with targets, else boxes.

        Args:
            limits: attributes of the part that chooses the detections.
        """
        (network,) = self._whole
        network.backbone.maps = {name: maps.float() for name, maps in outputs.maps.items()}
        network.transform.size = outputs.size
        try:
            with _in_mode(network, targets is not None, limits or {}):
                return network(outputs.pictures, targets)
        finally:
            network.backbone.maps = {}


class _Recalled(nn.Module):
    """In the place of the body: the maps that it has given."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: dict[str, Tensor] = {}

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        return self.maps


class _Unchanged(nn.Module):
    """In the place of torchvision's transform, for padded pictures of (H, W)."""

    size = (0, 0)

    def forward(self, pictures: Tensor, targets: Any) -> tuple[Any, Any]:
        from torchvision.models.detection.image_list import ImageList  # two seconds to import

        return ImageList(pictures, [self.size] * len(pictures)), targets

    def postprocess(self, found: Any, *_sizes: Any) -> Any:
        return found


def _chooser(network: Any) -> Any:
    """The part that chooses the detections."""
    return getattr(network, "roi_heads", network)


@contextmanager
def _in_mode(network: Any, learning: bool, limits: Mapping[str, float]) -> Iterator[None]:
    """While inside, the network gives losses or detections; norms and dropout keep their mode."""
    chooser = _chooser(network)
    parts = [network] + [getattr(network, n) for n in ("rpn", "roi_heads") if hasattr(network, n)]
    modes = [part.training for part in parts]
    before = {name: getattr(chooser, name) for name in limits}
    try:
        for part in parts:
            part.training = learning
        for name, value in limits.items():
            setattr(chooser, name, value)
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
        for name, value in before.items():
            setattr(chooser, name, value)


def _learnable(targets: Objects, row: int, size: tuple[int, int]) -> dict[str, Tensor]:
    """The objects of one picture as torchvision takes them: label 0 is the background.

    Those to ignore, and those without area in the picture, are left out.
    """
    boxes, labels, ignore = targets.of_picture(row)
    limit = boxes.new_tensor([size[1], size[0]] * 2)
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    kept = ~ignore & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return {"boxes": boxes[kept], "labels": labels[kept] + 1}


def without_eps(net: TorchvisionDetector) -> None:
    """Makes the body's batch norms divide by the standard deviation alone."""
    for module in net.get_submodule("backbone").modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
