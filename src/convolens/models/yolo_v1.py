"""YOLO: one pass over the picture, one grid of cells, one box or two for each.

Source: Redmon, Divvala, Girshick, Farhadi (2015), You only look once: unified, real-time object
detection, arXiv:1506.02640.
"""

from collections import OrderedDict
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.entry import ModelEntry, Published
from convolens.models.side import check_side
from convolens.nn.box_overlap import area, iou
from convolens.nn.detections import best_detections
from convolens.nn.initial import drawn_once, he_weights
from convolens.nn.objects import PADDING, Objects

COORD, NO_OBJECT = 5.0, 0.5  # λ of the paper
STRIDE = 64
# Figure 3: (kernel, filters, stride) of a convolution, or "pool" for a maximum over 2×2.
Layer = tuple[int, int, int] | Literal["pool"]
PAPER: tuple[Layer, ...] = (
    *((7, 64, 2), "pool"),
    *((3, 192, 1), "pool"),
    *((1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), "pool"),
    *(4 * ((1, 256, 1), (3, 512, 1))),
    *((1, 512, 1), (3, 1024, 1), "pool"),
    *(2 * ((1, 512, 1), (3, 1024, 1))),
    *((3, 1024, 1), (3, 1024, 2), (3, 1024, 1), (3, 1024, 1)),
)
TINY: tuple[Layer, ...] = (
    *(part for filters in (16, 32, 64, 128, 256, 512) for part in ((3, filters, 1), "pool")),
    *(3 * ((3, 1024, 1),)),
)
LAYERS: dict[str, tuple[Layer, ...]] = {"paper": PAPER, "tiny": TINY}
HIDDEN = {"paper": (4096,), "tiny": (256, 4096)}


class YoloV1Outputs(NamedTuple):
    """What `yolo_v1` says of a batch of pictures.

    Args:
        boxes: (N, S, S, B, 5): x and y of the centre in the cell, 0 to 1; the square roots of
            width and height as parts of the side; the confidence.
        classes: (N, S, S, K), the probability of each class where there is an object.
        side: of the square that the grid covers, from the picture's first pixel on [px].
        size: (H, W) of the pictures [px].
    """

    boxes: Tensor
    classes: Tensor
    side: int
    size: tuple[int, int]

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        """The five sums of equation 3, each a mean over the pictures.

        The cell that holds an object's centre is to find it, the first one where it holds
        several; the box that overlaps it most is responsible, and its confidence is to be that
        overlap.

        Source: Redmon et al. (2015), section 2.2.
        Deviates: cells in an object to be ignored learn nothing.
        """
        boxes = self.boxes.to(torch.promote_types(self.boxes.dtype, torch.float32))
        classes = self.classes.to(boxes)
        truth, label, there, void = self.objects_of_cells(targets)
        wanted = self.numbers_of(truth)
        with torch.no_grad():
            overlap = iou(self.pixels(boxes), truth[..., None, :])
            best = overlap.argmax(dim=3)
            responsible = F.one_hot(best, boxes.shape[3]).bool() & there[..., None]
        error = (boxes[..., :4] - wanted[..., None, :]).square() * responsible[..., None]
        confidence = boxes[..., 4]
        object_error = (confidence - overlap).square() * responsible
        empty = confidence.square() * ~(responsible | void[..., None])
        kind = F.one_hot(label.clamp(min=0), classes.shape[3])
        class_error = (classes - kind).square() * there[..., None]
        parts = {
            "centre": COORD * error[..., :2],
            "size": COORD * error[..., 2:],
            "object": object_error,
            "empty": NO_OBJECT * empty,
            "classes": class_error,
        }
        return {name: part.flatten(1).sum(1).mean() for name, part in parts.items()}

    def objects_of_cells(self, targets: Objects) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each cell's object and its label, whether there is one, and whether it is void.

        Shape: -> (N, S, S, 4) [px], (N, S, S), bool (N, S, S), bool (N, S, S)
        """
        cells, cell_px = self.boxes.shape[1], self.side / self.boxes.shape[1]
        truths, labels = targets.boxes.to(self.boxes.device), targets.labels
        centre = (truths[..., :2] + truths[..., 2:]) / 2
        place = (centre / cell_px).floor().long()
        within = ((place >= 0) & (place < cells)).all(dim=2)
        counts = (labels != PADDING) & ~targets.ignore & (area(truths) > 0) & within
        number, most = labels.shape
        cell = torch.where(counts, place[..., 1] * cells + place[..., 0], 0)
        order = torch.arange(most, device=labels.device).expand(number, most)
        owner = labels.new_full((number, cells * cells), most)
        owner.scatter_reduce_(1, cell, torch.where(counts, order, most), reduce="amin")
        # One row more, for the cells without an object.
        truths = torch.cat((truths, truths.new_tensor([0, 0, 1, 1]).expand(number, 1, 4)), dim=1)
        labels = F.pad(labels, (0, 1), value=PADDING)
        shape = (number, cells, cells)
        truth = truths.gather(1, owner[..., None].expand(-1, -1, 4)).view(*shape, 4)
        middle = (self.corners() + 0.5) * cell_px
        hidden = targets.boxes[:, None, None].to(middle)
        inside = (middle[..., None, :] > hidden[..., :2]) & (middle[..., None, :] < hidden[..., 2:])
        void = (inside.all(dim=4) & targets.ignore[:, None, None]).any(dim=3)
        return truth, labels.gather(1, owner).view(shape), (owner < most).view(shape), void

    def corners(self) -> Tensor:
        """x and y of each cell's first corner, in cells: (S, S, 1, 2) without the batch's axis."""
        steps = torch.arange(self.boxes.shape[1], device=self.boxes.device, dtype=torch.float32)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        return torch.stack((x, y), dim=2)

    def numbers_of(self, truth: Tensor) -> Tensor:
        """What the responsible box of each cell is to say of it: (N, S, S, 4) -> (N, S, S, 4)."""
        cell_px = self.side / self.boxes.shape[1]
        centre = (truth[..., :2] + truth[..., 2:]) / 2 / cell_px - self.corners()
        sides = (truth[..., 2:] - truth[..., :2]).clamp(min=0) / self.side
        return torch.cat((centre, sides.sqrt()), dim=-1).to(truth)

    def pixels(self, boxes: Tensor) -> Tensor:
        """The boxes in pixels: (N, S, S, B, 5) -> xyxy (N, S, S, B, 4)."""
        cell_px = self.side / boxes.shape[1]
        centre = (boxes[..., :2] + self.corners()[:, :, None].to(boxes)) * cell_px
        half = boxes[..., 2:4].square() * (self.side / 2)
        return torch.cat((centre - half, centre + half), dim=-1)

    def detections(self, *, score: float = 0.001, iou: float = 0.6, most: int = 100) -> Tensor:
        """The best boxes of each picture, scored Pr(class | object) · confidence (equation 1)."""
        boxes = self.boxes.float()
        scores = self.classes.float()[..., None, :].clamp(0, 1) * boxes[..., 4:].clamp(0, 1)
        return best_detections(
            self.pixels(boxes).flatten(1, 3),
            scores.flatten(1, 3),
            self.size,
            score=score,
            iou=iou,
            most=most,
        )


class YoloV1(nn.Module):
    """Convolutions, affine layers, and their numbers as a grid; see `yolo_v1`."""

    def __init__(
        self, body: nn.Sequential, head: nn.Sequential, *, side: int, num_cells: int, num_boxes: int
    ) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.side, self.num_cells, self.num_boxes = side, num_cells, num_boxes

    def forward(self, x: Tensor) -> YoloV1Outputs:
        size = (x.shape[2], x.shape[3])
        if max(size) > self.side:
            raise ShapeError(
                f"a picture of {size[0]}×{size[1]} px does not fit a yolo_v1 built for "
                f"{self.side} px",
                f"Build it with image_size={max(size)}.",
            )
        x = F.pad(x, (0, self.side - size[1], 0, self.side - size[0]))
        numbers = self.head(self.body(x)).unflatten(1, (self.num_cells, self.num_cells, -1))
        boxes = numbers[..., : 5 * self.num_boxes].unflatten(3, (self.num_boxes, 5))
        return YoloV1Outputs(boxes, numbers[..., 5 * self.num_boxes :], self.side, size)


def yolo_v1(
    num_classes: int = 20,
    in_channels: int = 3,
    image_size: int = 448,
    *,
    variant: Literal["paper", "tiny"] = "paper",
    num_cells: int = 7,
    num_boxes: int = 2,
    batch_norm: bool = False,
    dropout: float = 0.5,
) -> YoloV1:
    """Cells of a grid that each find one object: 24 convolutions and two affine layers.

    Source: Redmon et al. (2015), section 2.1 and figure 3.
    Args:
        num_classes: K, classes of objects.
        in_channels: channels of the picture.
        image_size: longer side of the picture [px]; the grid covers the square of the next
            multiple of 64, and what the picture lacks of it is zero.
        variant: "paper", or "tiny" with nine convolutions, the paper's Fast YOLO.
        num_cells: S, cells along a side.
        num_boxes: B, boxes of a cell.
        batch_norm: whether each convolution is followed by batch norm, without which the network
            hardly learns from scratch.
        dropout: probability of dropping a value before the last layer.
    Shape: x (N, in_channels, H, W), at most image_size -> boxes (N, S, S, B, 5), classes
        (N, S, S, K)
    Returns: the network, which gives `YoloV1Outputs`.
    Raises:
        ShapeError: when there is no picture, or one is larger than image_size.
        ConfigError: when an option is out of range.
    Deviates: the paper does not print the layers of Fast YOLO; "tiny" doubles its filters from 16
        to 512 with a pooling after each, then has three times 1024, and an affine layer of 256
        before that of 4096.
    Example:
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in yolo_v1().parameters())
        271703550
    """
    check_side(image_size)
    if variant not in LAYERS:
        raise ConfigError(f"variant must be one of {', '.join(LAYERS)}, received {variant!r}")
    for name, value in (("num_cells", num_cells), ("num_boxes", num_boxes)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, received {value}")
    side = -(-image_size // STRIDE) * STRIDE

    def build() -> YoloV1:
        body, channels = _body(LAYERS[variant], in_channels, batch_norm=batch_norm)
        units = channels * (side // STRIDE) ** 2
        layers = OrderedDict[str, nn.Module](flatten=nn.Flatten())
        for i, hidden in enumerate(HIDDEN[variant], start=1):
            layers[f"fc{i}"] = nn.Linear(units, hidden)
            layers[f"act{i}"] = nn.LeakyReLU(0.1, inplace=True)
            units = hidden
        layers["dropout"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(units, num_cells**2 * (5 * num_boxes + num_classes))
        head = nn.Sequential(layers)
        return YoloV1(body, head, side=side, num_cells=num_cells, num_boxes=num_boxes)

    return drawn_once(build, he_weights())


def _body(
    layers: tuple[Layer, ...], channels: int, *, batch_norm: bool
) -> tuple[nn.Sequential, int]:
    """The convolutions, and the channels that they give."""
    parts = OrderedDict[str, nn.Module]()
    convs = pools = 0
    for layer in layers:
        if layer == "pool":
            pools += 1
            parts[f"pool{pools}"] = nn.MaxPool2d(2)
            continue
        kernel, filters, stride = layer
        convs += 1
        parts[f"conv{convs}"] = nn.Conv2d(
            channels, filters, kernel, stride=stride, padding=kernel // 2, bias=not batch_norm
        )
        if batch_norm:
            parts[f"norm{convs}"] = nn.BatchNorm2d(filters)
        parts[f"act{convs}"] = nn.LeakyReLU(0.1, inplace=True)
        channels = filters
    return nn.Sequential(parts), channels


_FIGURE = "Redmon et al. (2015), figure 3"
ENTRIES = (
    ModelEntry(
        builder=yolo_v1,
        input_size=(3, 448, 448),
        description="YOLO (Redmon et al. 2015): one grid of 7×7 cells, two boxes each",
        published=(
            Published(quantity="volume", layer="body.conv2", value=(192, 112, 112), source=_FIGURE),
            Published(quantity="volume", layer="body.conv4", value=(256, 56, 56), source=_FIGURE),
            Published(quantity="volume", layer="body.conv8", value=(512, 28, 28), source=_FIGURE),
            Published(quantity="volume", layer="body.conv18", value=(1024, 14, 14), source=_FIGURE),
            Published(quantity="volume", layer="body.conv22", value=(1024, 7, 7), source=_FIGURE),
            Published(quantity="volume", layer="body.conv24", value=(1024, 7, 7), source=_FIGURE),
            Published(quantity="volume", layer="head.fc1", value=(4096,), source=_FIGURE),
            Published(quantity="volume", layer="head.output", value=(7 * 7 * 30,), source=_FIGURE),
        ),
        task="detect",
    ),
)
