"""Residual blocks: f(x) + x, with two 3×3 convolutions or with a 3×3 between two 1×1.

Source: He, Zhang, Ren, Sun (2015), Deep residual learning for image recognition,
arXiv:1512.03385, sections 3 and 4.1. They are described for pictures (N, C, H, W); with
`num_dimensions` 1 or 3, a 3×3 window has 3 or 3×3×3 numbers, and so on.
"""

from typing import Literal, cast, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.nn.dimensions import BatchNorm, Convolution, layers_for

Shortcut = Literal["projection", "identity", "none"]
StrideAt = Literal["3x3", "1x1"]


class ZeroPadShortcut(nn.Module):
    """Every stride-th pixel, and channels of zeros up to the number wanted: option A.

    Source: He et al. (2015), section 3.3.
    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; at least in_channels.
        stride: the step from one pixel to the next [px].
        num_dimensions: spatial axes of x: 1 for signals, 2 for pictures, 3 for volumes.
    Shape: x (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    Raises:
        ConfigError: when there are fewer output channels than input channels.
    Example:
        >>> import torch
        >>> ZeroPadShortcut(16, 32, stride=2)(torch.ones(1, 16, 8, 8)).sum().item()
        256.0
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, num_dimensions: int = 2
    ) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise ConfigError(
                f"an identity shortcut adds channels of zeros and can take none away: "
                f"from {in_channels} to {out_channels}",
                'Use shortcut="projection".',
            )
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.num_dimensions = num_dimensions

    def forward(self, x: Tensor) -> Tensor:
        added = self.out_channels - self.in_channels
        every = slice(None, None, self.stride)
        read = x[:, :, *[every] * self.num_dimensions]
        return F.pad(read, (*[0, 0] * self.num_dimensions, 0, added))

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}"


def _shortcut(
    kind: Shortcut, in_channels: int, out_channels: int, stride: int, num_dimensions: int
) -> nn.Module | None:
    """What takes x to the block's output shape; None where x has it or nothing is added."""
    if kind not in get_args(Shortcut):
        known = ", ".join(get_args(Shortcut))
        raise ConfigError(f"shortcut must be one of {known}, received {kind!r}")
    if kind == "none" or (in_channels == out_channels and stride == 1):
        return None
    if kind == "identity":
        return ZeroPadShortcut(
            in_channels, out_channels, stride=stride, num_dimensions=num_dimensions
        )
    return nn.Sequential(
        _conv(num_dimensions, in_channels, out_channels, 1, stride),
        _norm(num_dimensions, out_channels),
    )


def _conv(
    num_dimensions: int, in_channels: int, out_channels: int, side: int, stride: int = 1
) -> Convolution:
    conv = layers_for(num_dimensions).conv
    made = conv(in_channels, out_channels, side, stride=stride, padding=side // 2, bias=False)
    return cast("Convolution", made)


def _norm(num_dimensions: int, channels: int) -> BatchNorm:
    return cast("BatchNorm", layers_for(num_dimensions).batch_norm(channels))


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + s(x)), two 3×3 convolutions and a shortcut s.

    Source: He et al. (2015), figure 5, left.
    Args:
        in_channels: channels of the input.
        channels: filters of both convolutions, and channels of the output.
        stride: of the first convolution and of the shortcut [px].
        shortcut: where the shapes differ, "projection" is a 1×1 convolution with batch norm
            (option B of the paper) and "identity" pads with zeros (option A); where they do not,
            both add x itself. "none" adds nothing, which leaves a plain network.
        num_dimensions: spatial axes of x: 1 for signals, 2 for pictures, 3 for volumes.
    Shape: x (N, in_channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride))
    Raises:
        ConfigError: when the shortcut is not known or cannot be.
    Example:
        >>> import torch
        >>> BasicBlock(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        shortcut: Shortcut = "projection",
        num_dimensions: int = 2,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(num_dimensions, in_channels, channels, 3, stride)
        self.bn1 = _norm(num_dimensions, channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(num_dimensions, channels, channels, 3)
        self.bn2 = _norm(num_dimensions, channels)
        self.downsample = _shortcut(shortcut, in_channels, channels, stride, num_dimensions)
        self.adds = shortcut != "none"
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(out)
        if not self.adds:
            result: Tensor = self.relu(self.bn2(out))
            return result
        return self.join(out, x if self.downsample is None else self.downsample(x))

    def join(self, volume: Tensor, shortcut: Tensor) -> Tensor:
        """relu(bn2(volume) + shortcut), the block's end, which kernels compute as one."""
        result: Tensor = self.relu(self.bn2(volume) + shortcut)
        return result


class Bottleneck(nn.Module):
    """relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + s(x)): 1×1, 3×3, 1×1.

    Source: He et al. (2015), figure 5, right.
    Args:
        in_channels: channels of the input.
        channels: filters of the first 1×1 and of the 3×3 convolution.
        out_channels: filters of the last 1×1 convolution; four times `channels` in the paper.
        stride: of one convolution and of the shortcut [px].
        shortcut: as of `BasicBlock`.
        stride_at: the convolution with the stride, "3x3" or, as in the paper, the first "1x1",
            which computes less and leaves three of four pixels unread.
        num_dimensions: spatial axes of x: 1 for signals, 2 for pictures, 3 for volumes.
    Shape: x (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    Raises:
        ConfigError: when the shortcut or the stride's place is not known or cannot be.
    Example:
        >>> sum(p.numel() for p in Bottleneck(256, 64, 256).parameters())
        70400
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        shortcut: Shortcut = "projection",
        stride_at: StrideAt = "3x3",
        num_dimensions: int = 2,
    ) -> None:
        super().__init__()
        if stride_at not in get_args(StrideAt):
            known = ", ".join(get_args(StrideAt))
            raise ConfigError(f"stride_at must be one of {known}, received {stride_at!r}")
        first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
        self.conv1 = _conv(num_dimensions, in_channels, channels, 1, first)
        self.bn1 = _norm(num_dimensions, channels)
        self.conv2 = _conv(num_dimensions, channels, channels, 3, second)
        self.bn2 = _norm(num_dimensions, channels)
        self.conv3 = _conv(num_dimensions, channels, out_channels, 1)
        self.bn3 = _norm(num_dimensions, out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(shortcut, in_channels, out_channels, stride, num_dimensions)
        self.adds = shortcut != "none"
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.conv3(out)
        if not self.adds:
            result: Tensor = self.relu(self.bn3(out))
            return result
        return self.join(out, x if self.downsample is None else self.downsample(x))

    def join(self, volume: Tensor, shortcut: Tensor) -> Tensor:
        """relu(bn3(volume) + shortcut), the block's end, which kernels compute as one."""
        result: Tensor = self.relu(self.bn3(volume) + shortcut)
        return result
