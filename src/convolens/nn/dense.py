"""Dense blocks, in which every layer reads what all layers before it gave, and transitions.

They are described for pictures (N, C, H, W); with `num_dimensions` 1 or 3, a 3×3 window has 3 or
3×3×3 numbers, and so on.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convolens.errors import ConfigError
from convolens.nn.dimensions import BatchNorm, layers_for
from convolens.nn.initial import he_conv


class DenseLayer(nn.Sequential):
    """H(x): batch norm, ReLU and a 3×3 convolution that gives k new channels.

    With a bottleneck, batch norm, ReLU and a 1×1 convolution to bottleneck·k channels stand before.

    Source: Huang, Liu, van der Maaten, Weinberger (2016), Densely connected convolutional networks,
        arXiv:1608.06993, section 3: "composite function" and "bottleneck layers".
    Args:
        in_channels: channels of x, those of the block's input and of all layers before.
        growth_rate: k.
        bottleneck: channels between the two convolutions, in k; 0 leaves the first one out.
        dropout: probability of dropping a value after each convolution.
        num_dimensions: spatial axes of x: 1 for signals, 2 for pictures, 3 for volumes.
    Shape: x (N, in_channels, H, W) -> (N, growth_rate, H, W)
    Example:
        >>> [name for name, _ in DenseLayer(64, 32).named_children()]
        ['norm1', 'relu1', 'conv1', 'norm2', 'relu2', 'conv2']
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        *,
        bottleneck: int = 4,
        dropout: float = 0.0,
        num_dimensions: int = 2,
    ) -> None:
        _check(in_channels=in_channels, growth_rate=growth_rate)
        batch_norm = layers_for(num_dimensions).batch_norm
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        filters_by_side = {1: bottleneck * growth_rate, 3: growth_rate}
        if bottleneck == 0:
            del filters_by_side[1]
        channels = in_channels
        for number, (side, filters) in enumerate(filters_by_side.items(), 1):
            layers[f"norm{number}"] = batch_norm(channels)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"conv{number}"] = he_conv(
                *(channels, filters, side),
                padding=side // 2,
                bias=False,
                num_dimensions=num_dimensions,
            )
            if dropout:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
            channels = filters
        super().__init__(layers)


class DenseBlock(nn.Module):
    """y = [x₀; x₁; …; x_L], where x_i = H_i([x₀; …; x_{i−1}]) and H_i is a `DenseLayer`.

    Source: Huang et al. (2016), arXiv:1608.06993, equation 2 and figure 1; Pleiss et al. (2017),
        Memory-efficient implementation of DenseNets, arXiv:1707.06990.
    Args:
        num_layers: L.
        in_channels: channels of x₀.
        growth_rate: k, channels that each layer adds.
        bottleneck: channels between a layer's two convolutions, in k; 0 for one 3×3 convolution.
        dropout: probability of dropping a value after each convolution.
        memory_efficient: in training, keep only the x_i and compute each layer again on the way
            back: memory that grows with L rather than L², for about a third more time.
        num_dimensions: spatial axes of x₀: 1 for signals, 2 for pictures, 3 for volumes.
    Shape: x₀ (N, in_channels, H, W) -> (N, out_channels, H, W); out_channels = in_channels + L·k
        is an attribute.
    Raises:
        ConfigError: when a number of layers or channels is below 1.
    Example:
        >>> DenseBlock(6, 64, 32)(torch.zeros(1, 64, 8, 8)).shape
        torch.Size([1, 256, 8, 8])
    """

    def __init__(
        self,
        num_layers: int,
        in_channels: int,
        growth_rate: int,
        *,
        bottleneck: int = 4,
        dropout: float = 0.0,
        memory_efficient: bool = False,
        num_dimensions: int = 2,
    ) -> None:
        super().__init__()
        _check(num_layers=num_layers, in_channels=in_channels, growth_rate=growth_rate)
        self.memory_efficient = memory_efficient
        self.out_channels = in_channels + num_layers * growth_rate
        for i in range(num_layers):
            layer = DenseLayer(
                in_channels + i * growth_rate,
                growth_rate,
                bottleneck=bottleneck,
                dropout=dropout,
                num_dimensions=num_dimensions,
            )
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        volumes = [x]
        for layer in self.children():
            if self.memory_efficient and self.training:
                volumes.append(_forgetful(layer, volumes))
            else:
                volumes.append(layer(torch.cat(volumes, dim=1)))
        return torch.cat(volumes, dim=1)


class Transition(nn.Sequential):
    """Batch norm, ReLU, a 1×1 convolution and 2×2 average pooling, between two dense blocks.

    Source: Huang et al. (2016), arXiv:1608.06993, section 3: "pooling layers" and "compression".
    Args:
        in_channels: m, channels of the block before.
        out_channels: floor(θ·m), where θ is the compression.
        dropout: probability of dropping a value after the convolution.
        num_dimensions: spatial axes of x: 1 for signals, 2 for pictures, 3 for volumes.
    Shape: x (N, in_channels, H, W) -> (N, out_channels, H', W'), H' = floor(H / 2)
    Deviates: ReLU after the batch norm, which the paper leaves out of the sentence but its
        authors' code has.
    Example:
        >>> Transition(256, 128)(torch.zeros(1, 256, 56, 56)).shape
        torch.Size([1, 128, 28, 28])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dropout: float = 0.0,
        num_dimensions: int = 2,
    ) -> None:
        _check(in_channels=in_channels, out_channels=out_channels)
        kinds = layers_for(num_dimensions)
        layers = OrderedDict[str, nn.Module](
            norm=kinds.batch_norm(in_channels),
            relu=nn.ReLU(),
            conv=he_conv(in_channels, out_channels, 1, bias=False, num_dimensions=num_dimensions),
        )
        if dropout:
            layers["dropout"] = nn.Dropout(dropout)
        layers["pool"] = kinds.avg_pool(2)
        super().__init__(layers)


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, received {value}")


def _forgetful(layer: nn.Module, volumes: list[Tensor]) -> Tensor:
    """The layer's output; of its inner volumes nothing is kept."""

    def run(*inputs: Tensor) -> Tensor:
        out: Tensor = layer(torch.cat(inputs, dim=1))
        return out

    out: Tensor = checkpoint(
        run,
        *volumes,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _without_running_statistics(layer)),
    )
    return out


@contextmanager
def _without_running_statistics(layer: nn.Module) -> Iterator[None]:
    """The batch was counted on the way forward, and must not count twice."""
    norms = [m for m in layer.modules() if isinstance(m, BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches
