"""Regions of pictures, each warped to the same square with some of what surrounds it.

Source: Girshick, Donahue, Darrell, Malik (2014), arXiv:1311.2524, section 2.1 and appendix A.
"""

from collections.abc import Sequence

from torch import Tensor

CONTEXT = 16 / 227  # of the square's side, at each end of it


def warp_regions(
    pictures: Tensor, boxes: Sequence[Tensor], side: int, *, context: float = CONTEXT
) -> Tensor:
    """Every box and its surroundings, stretched to a square of `side` pixels.

    Source: Girshick et al. (2014), appendix A, "warp with context padding".
    Args:
        pictures: (B, C, H, W), standardised; 0, their mean, is beyond their border.
        boxes: (R_i, 4) of each picture, xyxy [px].
        side: S [px].
        context: what surrounds the box at each end, as a part of the square's side.
    Returns: (sum of R_i, C, S, S), the regions of the first picture first.
    """
    from torchvision.ops import roi_align  # two seconds to import

    grown = []
    for own in boxes:
        reach = (own[:, 2:] - own[:, :2]) * (context / (1 - 2 * context))
        grown.append(own + own.new_tensor((-1, -1, 1, 1)) * reach.repeat(1, 2))
    regions: Tensor = roi_align(pictures, grown, side, sampling_ratio=-1, aligned=True)
    return regions
