"""The Inception module: four views of one volume, side by side."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.nn.dimensions import layers_for
from convolens.nn.initial import he_conv


class Inception(nn.Module):
    """Concatenates 1×1, 3×3 and 5×5 convolutions and a max-pooling of x over the channels.

    y = [r(W₁x); r(W₃ r(V₃x)); r(W₅ r(V₅x)); r(W_p max(x))], where r is ReLU, max has a 3×3 window,
    and V₃, V₅ and W_p are 1×1 convolutions that reduce the channels, absent from the naive form.

    Source: Szegedy et al. (2014), Going deeper with convolutions, arXiv:1409.4842, section 4 and
        figure 2: (a) the naive form, (b) the form with reductions.
    Args:
        in_channels: channels of x.
        ch1x1: 1×1 filters.
        ch3x3_reduce: 1×1 filters before the 3×3 ones; unused in the naive form.
        ch3x3: 3×3 filters.
        ch5x5_reduce: 1×1 filters before the 5×5 ones; unused in the naive form.
        ch5x5: 5×5 filters.
        pool_proj: 1×1 filters after the pooling; unused in the naive form, whose pooling gives
            in_channels.
        naive: figure 2(a) rather than 2(b).
        norm: batch norm between each convolution, then without bias, and its ReLU.
        num_dimensions: spatial axes of x: 1 for signals, 2 for pictures, 3 for volumes, whose
            windows have 3 or 3×3×3 numbers where those of pictures have 3×3, and so on.
    Shape: x (N, in_channels, H, W) -> (N, out_channels, H, W); out_channels = ch1x1 + ch3x3 + ch5x5
        + (in_channels where naive, else pool_proj) is an attribute.
    Raises:
        ConfigError: when a number of channels in use is below 1.
    Example:
        >>> block = Inception(192, 64, 96, 128, 16, 32, 32)  # GoogLeNet's 3a
        >>> block.out_channels, sum(p.numel() for p in block.parameters())
        (256, 163696)
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3_reduce: int,
        ch3x3: int,
        ch5x5_reduce: int,
        ch5x5: int,
        pool_proj: int,
        *,
        naive: bool = False,
        norm: bool = False,
        num_dimensions: int = 2,
    ) -> None:
        super().__init__()
        counts = {"in_channels": in_channels, "ch1x1": ch1x1, "ch3x3": ch3x3, "ch5x5": ch5x5}
        if not naive:
            counts |= {
                "ch3x3_reduce": ch3x3_reduce,
                "ch5x5_reduce": ch5x5_reduce,
                "pool_proj": pool_proj,
            }
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"Inception: {name} must be at least 1, received {value}")
        pool = layers_for(num_dimensions).max_pool(3, stride=1, padding=1)
        branch = partial(conv_relu, norm=norm, num_dimensions=num_dimensions)
        self.out_channels = ch1x1 + ch3x3 + ch5x5 + (in_channels if naive else pool_proj)
        self.branch1x1 = branch(in_channels, ch1x1, 1)
        if naive:
            self.branch3x3 = branch(in_channels, ch3x3, 3, padding=1)
            self.branch5x5 = branch(in_channels, ch5x5, 5, padding=2)
            self.branch_pool = nn.Sequential(OrderedDict(pool=pool))
            return
        self.branch3x3 = nn.Sequential(
            OrderedDict(
                reduce=branch(in_channels, ch3x3_reduce, 1),
                conv=branch(ch3x3_reduce, ch3x3, 3, padding=1),
            )
        )
        self.branch5x5 = nn.Sequential(
            OrderedDict(
                reduce=branch(in_channels, ch5x5_reduce, 1),
                conv=branch(ch5x5_reduce, ch5x5, 5, padding=2),
            )
        )
        self.branch_pool = nn.Sequential(
            OrderedDict[str, nn.Module](pool=pool, project=branch(in_channels, pool_proj, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1x1, self.branch3x3, self.branch5x5, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], dim=1)


def conv_relu(
    in_channels: int,
    filters: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    norm: bool = False,
    num_dimensions: int = 2,
) -> nn.Sequential:
    """A convolution and ReLU, with batch norm between them, and then no bias, where `norm` is set.

    Shape: x (N, in_channels, H, W) -> (N, filters, H', W'), H' = floor((H + 2P − K)/S) + 1
    Example:
        >>> [name for name, _ in conv_relu(3, 8, 3, norm=True).named_children()]
        ['conv', 'norm', 'relu']
    """
    layers = OrderedDict[str, nn.Module](
        conv=he_conv(
            in_channels,
            filters,
            kernel_size,
            stride=stride,
            padding=padding,
            bias=not norm,
            num_dimensions=num_dimensions,
        )
    )
    if norm:
        layers["norm"] = layers_for(num_dimensions).batch_norm(filters)
    layers["relu"] = nn.ReLU()
    return nn.Sequential(layers)
