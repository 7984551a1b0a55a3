"""Anchors: boxes of fixed sizes and shapes around every cell of a feature map.

Source: Ren, He, Girshick, Sun (2015), Faster R-CNN, arXiv:1506.01497, section 3.1.1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from convolens.errors import ConfigError


def anchor_shapes(
    sizes: Sequence[float], ratios: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """(height, width) of each anchor: h = s·√r and w = s / √r for every ratio r and size s.

    Args:
        sizes: s, the square root of an anchor's area [px].
        ratios: r, height to width.
    Returns: the shapes [px], all sizes of the first ratio first.
    Raises:
        ConfigError: when there is none, or one is not above 0.
    Example:
        >>> anchor_shapes([16, 32], [1.0])
        ((16.0, 16.0), (32.0, 32.0))
    """
    for name, values in (("sizes", sizes), ("ratios", ratios)):
        if not values or min(values) <= 0:
            raise ConfigError(f"anchors need {name} above 0, received {tuple(values)}")
    return tuple((s * r**0.5, s / r**0.5) for r in ratios for s in sizes)


def grid_anchors(
    map_size: tuple[int, int],
    stride: int,
    shapes: Sequence[tuple[float, float]],
    *,
    offset: float = 0.5,
    device: torch.device | str | None = None,
) -> Tensor:
    """The anchors of a feature map, around the points ((x + offset)·stride, (y + offset)·stride).

    Source: Ren et al. (2015), section 3.1.1.
    Args:
        map_size: (h, w) of the feature map.
        stride: from one cell to the next, in pixels of the picture [px].
        shapes: (height, width) of each anchor [px].
        offset: of an anchor's centre from its cell's first corner, in cells. 0.5 is the cell's
            centre, as in the authors' code; torchvision has 0.
        device: where the anchors are made.
    Returns: float32 (h·w·A, 4), xyxy, some beyond the border; rows of cells, the anchors of a cell
        next to each other.
    Example:
        >>> grid_anchors((1, 2), 16, [(32, 32)])
        tensor([[-8., -8., 24., 24.],
                [ 8., -8., 40., 24.]])
    """
    rows, columns = (
        (torch.arange(count, dtype=torch.float32, device=device) + offset) * stride
        for count in map_size
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
    around = torch.tensor(
        [(-w / 2, -h / 2, w / 2, h / 2) for h, w in shapes], dtype=torch.float32, device=device
    )
    return (centres + around).reshape(-1, 4)
