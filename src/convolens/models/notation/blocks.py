"""Building the named blocks of the notation, and the branches that a person writes."""

from collections.abc import Iterable, Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn

from convolens.errors import ShapeError
from convolens.models.notation.layers import Built, Maker, Site
from convolens.models.notation.tree import Layer
from convolens.nn.dense import DenseBlock, Transition
from convolens.nn.inception import Inception
from convolens.nn.residual import BasicBlock, Bottleneck

SHORTCUTS: Mapping[str, Literal["identity", "projection", "none"]] = {
    "identity": "identity",
    "projection": "projection",
    "plain": "none",
}


class Add(nn.Module):
    """y = Σ f_i(x) over the branches.

    Args:
        branches: the f_i, whose outputs have one shape.
    Shape: x (N, C, …) -> (N, C', …), the branches' output.
    Example:
        >>> Add([nn.Identity(), nn.Identity()])(torch.ones(1, 2)).tolist()
        [[2.0, 2.0]]
    """

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        for number, branch in enumerate(branches, 1):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (branch(x) for branch in self.children())
        total: Tensor = first
        for other in others:
            total = total + other
        return total


class Concat(nn.Module):
    """y = [f_1(x); f_2(x); …], one after the other along the channels.

    Args:
        branches: the f_i, whose outputs differ in the channels only.
    Shape: x (N, C, …) -> (N, Σ C_i, …)
    Example:
        >>> Concat([nn.Identity(), nn.Identity()])(torch.ones(1, 2, 8, 8)).shape
        torch.Size([1, 4, 8, 8])
    """

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        for number, branch in enumerate(branches, 1):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class Residual(nn.Sequential):
    """y = x + f(x), f one layer after the other.

    Shape: x (N, C, …) -> (N, C, …)
    Example:
        >>> Residual(nn.Identity())(torch.ones(1, 2)).tolist()
        [[2.0, 2.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        f: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + f


def inception(layer: Layer, site: Site) -> Built:
    """GoogLeNet's module; "naive" without reductions, "bn" with batch norm."""
    axes = _axes(site)
    norm = "bn" in layer.flags
    if "naive" in layer.flags:
        ch1x1, ch3x3, ch5x5 = cast("tuple[int, int, int]", layer.numbers)
        block = Inception(
            site.channels, ch1x1, 1, ch3x3, 1, ch5x5, 1, naive=True, norm=norm, num_dimensions=axes
        )
    else:
        ch1x1, (reduce3, ch3x3), (reduce5, ch5x5), pooled = cast(
            "tuple[int, tuple[int, int], tuple[int, int], int]", layer.numbers
        )
        block = Inception(
            site.channels,
            ch1x1,
            reduce3,
            ch3x3,
            reduce5,
            ch5x5,
            pooled,
            norm=norm,
            num_dimensions=axes,
        )
    return block, (block.out_channels, *site.sizes)


def residual(layer: Layer, site: Site) -> Built:
    """Two 3×3 convolutions and a shortcut."""
    axes = _axes(site)
    filters, stride = cast("int", layer.numbers[0]), _stride(layer)
    block = BasicBlock(
        site.channels, filters, stride=stride, shortcut=_shortcut(layer), num_dimensions=axes
    )
    return block, (filters, *(-(-size // stride) for size in site.sizes))


def bottleneck(layer: Layer, site: Site) -> Built:
    """A 1×1, a 3×3 and a 1×1 convolution and a shortcut."""
    axes = _axes(site)
    (filters, out_channels), stride = cast("tuple[int, int]", layer.numbers[0]), _stride(layer)
    block = Bottleneck(
        site.channels,
        filters,
        out_channels,
        stride=stride,
        shortcut=_shortcut(layer),
        num_dimensions=axes,
    )
    return block, (out_channels, *(-(-size // stride) for size in site.sizes))


def dense(layer: Layer, site: Site) -> Built:
    """A dense block of so many layers, each of which adds k channels."""
    axes = _axes(site)
    block = DenseBlock(
        cast("int", layer.numbers[0]),
        site.channels,
        layer.growth or 1,
        bottleneck=0 if "nobottleneck" in layer.flags else 4,
        num_dimensions=axes,
    )
    return block, (block.out_channels, *site.sizes)


def transition(layer: Layer, site: Site) -> Built:
    """DenseNet's compression and 2×2 average pooling."""
    axes = _axes(site)
    compression = layer.numbers[0] if layer.numbers else 0.5
    channels = int(site.channels * cast("float", compression))
    if channels < 1:
        raise ShapeError(f"{compression} of {site.channels} channels leaves none")
    if min(site.sizes) < 2:
        raise ShapeError(f"a window of 2 px does not fit into {min(site.sizes)} px")
    block = Transition(site.channels, channels, num_dimensions=axes)
    return block, (channels, *(size // 2 for size in site.sizes))


BLOCKS: Mapping[str, Maker] = {
    "inception": inception,
    "residual": residual,
    "bottleneck": bottleneck,
    "dense": dense,
    "transition": transition,
}


def _axes(site: Site) -> int:
    """How many axes there are besides the channels."""
    if not site.sizes:
        raise ShapeError(f"it reads a volume and gets {site.channels} numbers")
    return len(site.sizes)


def _stride(layer: Layer) -> int:
    if len(layer.stride) > 1:
        raise ShapeError("its stride is one number for all axes")
    return layer.stride[0] if layer.stride else 1


def _shortcut(layer: Layer) -> Literal["identity", "projection", "none"]:
    return SHORTCUTS[layer.flags[0]] if layer.flags else "projection"
