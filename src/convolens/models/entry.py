"""What the registry knows of a network: its builder, its picture, and what was published of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

Builder = Callable[..., nn.Module]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number that a paper gives of its network, to be recomputed.

    Args:
        quantity: "params" (of the network or of `layer`), "macs" (likewise), or "volume", the
            output (C, H, W) or (units,) of `layer`.
        value: the number, or the volume.
        layer: the path of a module; empty for the whole network.
        within: how far the paper rounds, as a part of the number; 0 for an exact count.
        source: where it stands.
        options: of the builder, where the number is not of the network by default.
    """

    quantity: Literal["params", "macs", "volume"]
    value: int | tuple[int, ...]
    source: str
    layer: str = ""
    within: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A network's builder and what a list of networks says about it.

    Args:
        builder: builds the network; the registry's name is the builder's name.
        input_size: the (C, H, W) that the paper's numbers hold for.
        description: one line.
        published: numbers of the paper, for pictures of input_size and no arguments but `options`.
        weights: whether torchvision has weights whose names and shapes are the network's.
        task: what its outputs are for: "classify", "segment" or "detect".
    """

    builder: Builder
    input_size: tuple[int, int, int]
    description: str
    published: tuple[Published, ...] = ()
    weights: bool = False
    task: Literal["classify", "segment", "detect"] = "classify"
