"""The objects of a batch of pictures: boxes, labels, and which of them do not count."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convolens.errors import ShapeError

PADDING = -1


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The targets of detection: one row per picture, padded to the most objects of the batch.

    Args:
        boxes: float32 (B, M, 4), xyxy in pixels of the picture; zeros where padded.
        labels: int64 (B, M); −1 where padded.
        ignore: bool (B, M); objects that neither count as missed nor make a detection wrong.
        proposals: float32 (B, P, 4), boxes that may hold an object; NaN rows where padded.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    proposals: Tensor | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Objects":
        """The same objects on another device."""
        return Objects(
            boxes=self.boxes.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            ignore=self.ignore.to(device, non_blocking=non_blocking),
            proposals=None
            if self.proposals is None
            else self.proposals.to(device, non_blocking=non_blocking),
        )

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> "Objects":
        """The objects of some pictures."""
        return Objects(
            boxes=self.boxes[index],
            labels=self.labels[index],
            ignore=self.ignore[index],
            proposals=None if self.proposals is None else self.proposals[index],
        )

    def of_picture(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (M, 4), labels (M,) and ignore (M,) of one picture, without padding."""
        there = self.labels[row] != PADDING
        return self.boxes[row][there], self.labels[row][there], self.ignore[row][there]

    def proposals_of(self, row: int) -> Tensor:
        """Proposals (P, 4) of one picture, without padding; none where there are no proposals."""
        if self.proposals is None:
            return self.boxes.new_zeros(0, 4)
        proposals = self.proposals[row]
        return proposals[~proposals.isnan().any(dim=1)]


def pad_objects(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    ignore: Sequence[Tensor] | None = None,
    proposals: Sequence[Tensor] | None = None,
) -> Objects:
    """The objects of B pictures as rows of equal length.

    Args:
        boxes: (M_i, 4) of every picture; NumPy arrays are taken too. M_i may be 0.
        labels: (M_i,) of every picture.
        ignore: (M_i,) of every picture; None where all objects count.
        proposals: (P_i, 4) of every picture, or None.
    Returns: the objects, with M the most of M_i.
    Raises:
        ShapeError: when a picture has other numbers of boxes and labels.
    Example:
        >>> boxes = [torch.zeros(2, 4), torch.zeros(0, 4)]
        >>> pad_objects(boxes, [torch.tensor([1, 0]), torch.zeros(0)]).labels
        tensor([[ 1,  0],
                [-1, -1]])
    """
    each = [torch.as_tensor(b, dtype=torch.float32).reshape(-1, 4) for b in boxes]
    names = [torch.as_tensor(label, dtype=torch.int64).reshape(-1) for label in labels]
    if ignore is None:
        void = [torch.zeros(len(label), dtype=torch.bool) for label in names]
    else:
        void = [torch.as_tensor(flags, dtype=torch.bool).reshape(-1) for flags in ignore]
    if not len(each) == len(names) == len(void):
        raise ShapeError(
            f"every picture has boxes, labels and ignore; received {len(each)}, {len(names)} "
            f"and {len(void)} pictures"
        )
    for i, (box, label, flags) in enumerate(zip(each, names, void, strict=True)):
        if not len(box) == len(label) == len(flags):
            raise ShapeError(
                f"every box has a label and an ignore flag; picture {i} has {len(box)} boxes, "
                f"{len(label)} labels and {len(flags)} flags"
            )
    return Objects(
        boxes=_rows(each, 0.0, (4,)),
        labels=_rows(names, PADDING, ()),
        ignore=_rows(void, False, ()),
        proposals=None
        if proposals is None
        else _rows(
            [torch.as_tensor(p, dtype=torch.float32).reshape(-1, 4) for p in proposals],
            float("nan"),
            (4,),
        ),
    )


def _rows(parts: Sequence[Tensor], padding: float, shape: tuple[int, ...]) -> Tensor:
    most = max((len(part) for part in parts), default=0)
    like = parts[0] if parts else torch.zeros(0)
    rows = like.new_full((len(parts), most, *shape), padding)
    for row, part in zip(rows, parts, strict=True):
        row[: len(part)] = part
    return rows
