"""Bilinear upsampling as a transposed convolution."""

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError


class BilinearUpsample(nn.ConvTranspose2d):
    """Transposed convolution that interpolates bilinearly until it is trained otherwise.

    The kernel is w(y, x) = t(y)·t(x) with t(i) = 1 − |i − (K − 1)/2| / f, K = 2f − f mod 2. In the
    interior the output is that of `interpolate(mode="bilinear", align_corners=False)`; where the
    kernel hangs over the border it sees zeros, whereas `interpolate` repeats the last pixel.

    Source: Long, Shelhamer, Darrell (2015), Fully convolutional networks for semantic
        segmentation, arXiv:1411.4038, section 3.3.
    Args:
        channels: C, of the input and of the output.
        factor: f, how many times larger the output is.
        trainable: whether training may change the kernel.
        per_channel: one kernel for each channel; False gives the paper's kernel from every
            channel to every channel, zero off the diagonal at first, at C times the cost.
    Shape: x (N, C, H, W) -> (N, C, f·H, f·W)
    Raises:
        ConfigError: when channels or factor is less than 1.
    Example:
        >>> BilinearUpsample(21, 8)(torch.zeros(1, 21, 4, 5)).shape
        torch.Size([1, 21, 32, 40])
    """

    def __init__(
        self, channels: int, factor: int, *, trainable: bool = True, per_channel: bool = True
    ) -> None:
        for name, value in (("channels", channels), ("factor", factor)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, received {value}")
        super().__init__(
            channels,
            channels,
            2 * factor - factor % 2,
            stride=factor,
            padding=factor // 2,  # ceil((f − 1)/2): the output is exactly f times as large
            groups=channels if per_channel else 1,
            bias=False,
        )
        self.weight.requires_grad_(trainable)

    def reset_parameters(self) -> None:
        """Sets the kernel to the interpolation; PyTorch's constructor calls it."""
        kernel = bilinear_kernel(self.stride[0]).to(self.weight)
        with torch.no_grad():
            if self.groups > 1:
                self.weight.copy_(kernel.expand_as(self.weight))
            else:
                self.weight.zero_()
                self.weight.diagonal().copy_(kernel[..., None].expand(-1, -1, self.in_channels))


def bilinear_kernel(factor: int) -> Tensor:
    """The (K, K) kernel that upsamples `factor` times, K = 2f − f mod 2.

    Example:
        >>> bilinear_kernel(2)[0].tolist()
        [0.0625, 0.1875, 0.1875, 0.0625]
    """
    size = 2 * factor - factor % 2
    tent = 1 - (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs() / factor
    return torch.outer(tent, tent)
