"""A pyramid of feature maps, all with the same channels and each with the meaning of the top.

Source: Lin, Dollár, Girshick, He, Hariharan, Belongie (2017), arXiv:1612.03144, section 3.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """P_i = conv3×3(M_i) with M_i = conv1×1(C_i) + upsampled(M_{i+1}), and one map above the top.

    Source: Lin et al. (2017), figure 3; the map above the top, every second pixel of it, is that of
        section 4.1.
    Args:
        in_channels: channels of the maps that come in, the finest first.
        channels: of the maps that come out.
    Shape: maps (N, in_channels[i], H_i, W_i) -> len(in_channels) + 1 maps (N, channels, H_i, W_i),
        the last of ceil(H / 2), ceil(W / 2)
    Example:
        >>> import torch
        >>> maps = [torch.zeros(1, 8, 5, 7), torch.zeros(1, 16, 3, 4)]
        >>> [tuple(p.shape) for p in FeaturePyramid((8, 16), 4)(maps)]
        [(1, 4, 5, 7), (1, 4, 3, 4), (1, 4, 2, 2)]
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.output = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        merged = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for i in range(len(merged) - 2, -1, -1):
            merged[i] = merged[i] + F.interpolate(merged[i + 1], size=merged[i].shape[-2:])
        levels = [output(m) for output, m in zip(self.output, merged, strict=True)]
        return [*levels, levels[-1][:, :, ::2, ::2]]
