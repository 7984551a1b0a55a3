"""`predict` with a network that segments: a class for every pixel of a person's picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.data.picture import PictureFormat, fit_picture, read_picture
from convolens.data.placement import Placement, placement_of
from convolens.tasks.segment import Segment
from convolens.train.plan import Plan

STRIP_PX = 256  # rows of a large picture that are enlarged at once


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskPrediction:
    """The class of every pixel of one picture.

    Args:
        image: the file.
        mask: uint8 (h, w) of the picture's own size, places in class_names.
        class_names: of the network.
    """

    image: str
    mask: Tensor
    class_names: tuple[str, ...]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the picture that each class takes, the largest first; none of 0."""
        counts = torch.bincount(self.mask.flatten().long(), minlength=len(self.class_names))
        order = counts.argsort(descending=True, stable=True).tolist()
        total = self.mask.numel()
        return {self.class_names[k]: int(counts[k]) / total for k in order if counts[k]}


def predict_masks(
    network: nn.Module,
    task: Segment,
    plan: Plan,
    format: PictureFormat,
    images: Sequence[Path],
) -> list[MaskPrediction]:
    """The mask of each picture, in the picture's own size.

    Raises:
        DataError: when a picture cannot be read.
    """
    found = []
    for path in images:
        picture = read_picture(path)
        place = placement_of((picture.height, picture.width), format)
        pixels = fit_picture(picture, format)[None].to(plan.device)
        with torch.inference_mode(), plan.autocast():
            logits = network(plan.arrange(task.inputs(pixels)))
        mask = enlarged_mask(logits[0].float().cpu(), place)
        found.append(MaskPrediction(image=str(path), mask=mask, class_names=task.class_names))
    return found


def enlarged_mask(logits: Tensor, place: Placement) -> Tensor:
    """The class of greatest logit at every pixel of the picture, interpolating between logits.

    Shape: logits (K, H, W) of the fitted form -> uint8 (h, w) of the picture
    """
    height, width = place.original
    (sy, sx), (rows, columns) = place.scale, logits.shape[1:]
    across = ((torch.arange(width) + 0.5) * sx + place.left) * 2 / columns - 1
    down = ((torch.arange(height) + 0.5) * sy + place.top) * 2 / rows - 1
    strips = []
    for part in torch.split(down, STRIP_PX):
        grid = torch.stack(torch.meshgrid(part, across, indexing="ij"), dim=-1).flip(-1)
        values = F.grid_sample(
            logits[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        strips.append(values[0].argmax(dim=0).to(torch.uint8))
    return torch.cat(strips)
