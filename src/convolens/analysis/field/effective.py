"""The effective receptive field: how strongly each input pixel changes a unit."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.analysis.borrow import borrowed
from convolens.errors import ConfigError, ShapeError, near_matches


class _ReachedError(Exception):
    """The layer has run; the rest of the network need not."""


def effective_field(
    net: nn.Module, path: str, unit: Sequence[int], pictures: Tensor
) -> NDArray[np.float32]:
    """The mean absolute gradient of a unit by each input pixel, E|∂u/∂x|, in evaluation mode.

    The network is left exactly as it was found.

    Source: Luo, Li, Urtasun and Zemel (2016), Understanding the effective receptive field in deep
        convolutional neural networks, arXiv:1701.04128, section 2.
    Args:
        net: the network, with its weights.
        path: dotted name of the layer.
        unit: (channel, y, x), or (y, x) for the sum over the channels at that position.
        pictures: (N, C, H, W), on the network's device, as the network takes them.
    Shape: pictures (N, C, H, W) -> (H, W)
    Returns: the gradient's absolute value, its mean over channels and pictures; not negative.
    Raises:
        ConfigError: when the network has no such layer, or does not call it.
        ShapeError: when the layer has no such unit.
    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
        >>> nn.init.ones_(net[0].weight).shape
        torch.Size([1, 1, 3, 3])
        >>> effective_field(net, "0", (1, 1), torch.zeros(1, 1, 4, 4))[0].tolist()
        [1.0, 1.0, 1.0, 0.0]
    """
    layers = dict(net.named_modules())
    if path not in layers:
        known = [name for name in layers if name]
        raise ConfigError(f"the network has no layer {path!r}", near_matches(path, known))
    reached: list[Tensor] = []

    def read(_module: nn.Module, _inputs: Any, output: Any) -> None:
        reached.append(_unit_of(output, unit, path))
        raise _ReachedError

    handle = layers[path].register_forward_hook(read)
    try:
        with (
            borrowed(net, lambda tensor: tensor.detach(), training=False),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            given = pictures.detach().clone().requires_grad_()
            with suppress(_ReachedError):
                net(given)
            if not reached:
                raise ConfigError(f"the network does not call its layer {path!r}")
            gradient = None
            if reached[0].requires_grad:
                (gradient,) = torch.autograd.grad(reached[0], given, allow_unused=True)
    finally:
        handle.remove()
    if gradient is None:
        gradient = torch.zeros_like(given)
    result: NDArray[np.float32] = gradient.abs().mean((0, 1)).float().cpu().numpy()
    return result


def _unit_of(output: Any, unit: Sequence[int], path: str) -> Tensor:
    """The unit's sum over the pictures, and over the channels where none is named."""
    if not isinstance(output, Tensor) or output.dim() < 3:
        kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ShapeError(f"{path} gives {kind}, and a unit is of a tensor (N, C, H, W)")
    shape = tuple(output.shape[1:])
    index = tuple(unit) if len(unit) == len(shape) else (None, *unit)
    inside = all(i is None or 0 <= i < n for i, n in zip(index, shape, strict=False))
    if len(index) != len(shape) or not inside:
        raise ShapeError(f"{path} gives {shape} and has no unit {tuple(unit)}")
    where = tuple(slice(None) if i is None else i for i in index)
    return output[(slice(None), *where)].sum()
