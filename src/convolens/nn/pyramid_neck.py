"""Parts of one-pass detectors: cross-stage blocks, pooled context, and path aggregation."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_unit(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1
) -> nn.Sequential:
    """Convolution, batch norm and ReLU; ceil(H / stride) positions along each side.

    Shape: x (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    Example:
        >>> conv_unit(3, 16, 3, stride=2)(torch.zeros(2, 3, 33, 20)).shape
        torch.Size([2, 16, 17, 10])
    """
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
    )
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=conv, norm=nn.BatchNorm2d(out_channels), relu=nn.ReLU(inplace=True)
        )
    )


class _Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + y


class CrossStage(nn.Module):
    """merge([a, f(b)]): half of the channels go through residual blocks, half go past them.

    Source: Wang et al. (2019), CSPNet, arXiv:1911.11929, section 3.2; the residual blocks are
        the 1×1 and 3×3 convolutions of Redmon and Farhadi (2018), YOLOv3, arXiv:1804.02767.
    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; even.
        num_blocks: residual blocks.
        residual: whether the blocks add their input.
    Shape: x (N, in_channels, H, W) -> (N, out_channels, H, W)
    Example:
        >>> CrossStage(16, 32, num_blocks=2)(torch.zeros(2, 16, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, num_blocks: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        half = out_channels // 2
        block = _Residual if residual else nn.Sequential
        self.split = conv_unit(in_channels, 2 * half, 1)
        self.blocks = nn.Sequential(
            *(
                block(OrderedDict(conv1=conv_unit(half, half, 1), conv2=conv_unit(half, half, 3)))
                for _ in range(num_blocks)
            )
        )
        self.merge = conv_unit(2 * half, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        past, through = self.split(x).chunk(2, dim=1)
        merged: Tensor = self.merge(torch.cat((past, self.blocks(through)), dim=1))
        return merged


class PooledContext(nn.Module):
    """merge([x, the maxima of windows around every position]), which widens the field.

    Source: He et al. (2014), arXiv:1406.4729, in the form of Bochkovskiy et al. (2020), YOLOv4,
        arXiv:2004.10934, section 3.4.
    Args:
        channels: of input and output; even.
        windows: sides of the windows [px]; odd.
    Shape: x (N, channels, H, W) -> the same
    """

    def __init__(self, channels: int, *, windows: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = conv_unit(channels, half, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in windows)
        self.merge = conv_unit(half * (1 + len(windows)), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        merged: Tensor = self.merge(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))
        return merged


class PathAggregation(nn.Module):
    """A feature pyramid from coarse to fine, then a second path from fine to coarse.

    Source: Liu et al. (2018), Path aggregation network, arXiv:1803.01534, section 3.1; with
        concatenation instead of addition, as in YOLOv4 (arXiv:2004.10934, figure 6).
    Args:
        in_channels: channels of each map, the finest first, each half as large as the one before.
        channels: channels of every map that comes out; even.
        num_blocks: blocks of each `CrossStage`.
    Shape: maps [(N, C_i, H_i, W_i)] -> [(N, channels, H_i, W_i)], H_i+1 = ceil(H_i / 2)
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, num_blocks: int = 1) -> None:
        super().__init__()
        steps = range(len(in_channels) - 1)

        def stages() -> nn.ModuleList:
            return nn.ModuleList(
                CrossStage(2 * channels, channels, num_blocks=num_blocks, residual=False)
                for _ in steps
            )

        self.lateral = nn.ModuleList(conv_unit(c, channels, 1) for c in in_channels)
        self.down = stages()
        self.halve = nn.ModuleList(conv_unit(channels, channels, 3, stride=2) for _ in steps)
        self.up = stages()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [conv(x) for conv, x in zip(self.lateral, maps, strict=True)]
        for i in reversed(range(len(self.down))):
            levels[i] = self.down[i](torch.cat((levels[i], double(levels[i + 1], levels[i])), 1))
        for i, (halve, stage) in enumerate(zip(self.halve, self.up, strict=True)):
            levels[i + 1] = stage(torch.cat((halve(levels[i]), levels[i + 1]), dim=1))
        return levels


def double(coarse: Tensor, fine: Tensor) -> Tensor:
    """Every value of the coarse map four times, cut to the size of the fine one.

    Cut, not scaled: at odd sides position i of the fine map lies under i // 2 of the coarse one.
    """
    return F.interpolate(coarse, scale_factor=2.0)[..., : fine.shape[-2], : fine.shape[-1]]
