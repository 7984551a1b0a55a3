"""Pooling over the whole picture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convolens.errors import ConfigError, ShapeError

ADAPTIVE_MAX_POOL = {3: F.adaptive_max_pool1d, 4: F.adaptive_max_pool2d, 5: F.adaptive_max_pool3d}


class GlobalAveragePool(nn.Module):
    """y_c = the mean of x_c over all positions.

    Source: Lin, Chen, Yan (2013), Network in network, arXiv:1312.4400, section 3.2.
    Args:
        flatten: whether the axes of one position are dropped.
    Shape: x (N, C, …) -> (N, C), or (N, C, 1, …) without flatten; any number of spatial axes.
    Raises:
        ShapeError: when x has no spatial axis.
    Example:
        >>> GlobalAveragePool()(torch.zeros(2, 10, 7, 7)).shape
        torch.Size([2, 10])
    """

    def __init__(self, *, flatten: bool = True) -> None:
        super().__init__()
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3:
            raise ShapeError(
                f"GlobalAveragePool expects (N, C, …) with one or more spatial axes, received "
                f"{tuple(x.shape)}"
            )
        return x.mean(tuple(range(2, x.dim())), keepdim=not self.flatten)

    def extra_repr(self) -> str:
        return f"flatten={self.flatten}"


class SpatialPyramidPool(nn.Module):
    """The maxima of l×l bins for every level l, one after the other: Σ l² values per channel.

    Source: He, Zhang, Ren, Sun (2014), Spatial pyramid pooling in deep convolutional networks
        for visual recognition, arXiv:1406.4729, section 2.2.
    Args:
        levels: l of each level; the picture's sides are divided into l bins each.
    Shape: x (N, C, H, W) -> (N, C·Σ l²), for any H and W; likewise with one or three axes.
    Raises:
        ConfigError: when there is no level or one is less than 1.
        ShapeError: when x does not have one, two or three spatial axes.
    Example:
        >>> SpatialPyramidPool((4, 2, 1))(torch.zeros(1, 256, 13, 9)).shape
        torch.Size([1, 5376])
    """

    def __init__(self, levels: Sequence[int] = (6, 3, 2, 1)) -> None:
        super().__init__()
        if not levels or min(levels) < 1:
            raise ConfigError(
                f"levels must be one or more numbers from 1, received {tuple(levels)}"
            )
        self.levels = tuple(levels)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in ADAPTIVE_MAX_POOL:
            raise ShapeError(
                "SpatialPyramidPool expects (N, C, …) with one to three spatial axes, received "
                f"{tuple(x.shape)}"
            )
        pool = ADAPTIVE_MAX_POOL[x.dim()]
        return torch.cat([pool(x, level).flatten(1) for level in self.levels], 1)

    def extra_repr(self) -> str:
        return f"{self.levels}"
