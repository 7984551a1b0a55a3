"""From boxes and scores to the detections that are left."""

import torch
from torch import Tensor

from convolens.nn.regions import suppress


def best_detections(
    boxes: Tensor,
    scores: Tensor,
    size: tuple[int, int],
    *,
    score: float = 0.001,
    iou: float = 0.6,
    most: int = 100,
) -> Tensor:
    """The detections of each picture, the best first, none doubled.

    Boxes are clipped to the picture. Of boxes of one class that overlap by more than `iou`, the
    one with the largest score stays; boxes of two classes do not concern each other, and one
    box may be detected as several classes. Of equal scores the first stays.

    Args:
        boxes: xyxy [px].
        scores: of each class, 0 to 1.
        size: (H, W) of the picture [px].
        score: the least score of a detection, itself excluded.
        iou: the largest overlap of two detections of one class.
        most: detections of a picture.
    Shape: boxes (B, P, 4), scores (B, P, K) -> (B, most, 6)
    Returns: x0, y0, x1, y1 [px], score and label; zeros and label −1 where there is none.
    Example:
        >>> boxes, scores = torch.tensor([[[0.0, 0, 9, 9]]]), torch.tensor([[[0.1, 0.7]]])
        >>> best_detections(boxes, scores, (8, 8), score=0.5, most=1)
        tensor([[[0.0000, 0.0000, 8.0000, 8.0000, 0.7000, 1.0000]]])
    """
    height, width = size
    limit = boxes.new_tensor([width, height, width, height]).float()
    found = boxes.new_empty((len(boxes), most, 6), dtype=torch.float32)
    clipped = torch.minimum(boxes.float().clamp(min=0), limit)
    there = (clipped[..., 2:] > clipped[..., :2]).all(dim=2, keepdim=True)
    flat = torch.where(there, scores.float(), 0).flatten(1)
    for row, (corners, values) in enumerate(zip(clipped, flat, strict=True)):
        (chosen,) = torch.where(values > score)
        # In float64, since suppression keeps classes apart by adding to the coordinates.
        found[row] = suppress(
            corners[chosen // scores.shape[2]].double(),
            values[chosen].double(),
            chosen % scores.shape[2],
            iou=iou,
            most=most,
        )
    return found
