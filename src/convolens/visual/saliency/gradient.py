"""The gradient of a class's score by the pixels, plain and guided, and of a unit."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convolens.errors import ShapeError
from convolens.visual.asked import Target, asked, chosen, class_scores, own_input
from convolens.visual.layers import found, layers_of, watched

# The nodes of the gradient's graph that are a ReLU, with the attribute that must be 0 for it.
_RECTIFIERS: dict[str, str | None] = {
    "ReluBackward0": None,
    "ThresholdBackward0": "_saved_threshold",
    "HardtanhBackward0": "_saved_min_val",
    "ClampBackward1": "_saved_min",
    "ClampMinBackward0": "_saved_min",
}


def gradient(net: nn.Module, pictures: Tensor, target: Target = None) -> Tensor:
    """The gradient of a class's logit by each pixel, ∂s_c/∂x.

    The network is left exactly as it was found.

    Source: Simonyan, Vedaldi and Zisserman (2013), Deep inside convolutional networks,
        arXiv:1312.6034, section 3. They show its greatest absolute value over the channels.
    Args:
        net: any network that gives (N, K).
        pictures: as the network reads them.
        target: the class, or one for each picture; None is the class that the network says.
    Shape: pictures (N, C, H, W) -> (N, C, H, W)
    Raises:
        ConfigError: when there is no such class.
        ShapeError: when the pictures or the network's output have another form.
    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> nn.init.ones_(net[1].weight).shape
        torch.Size([2, 4])
        >>> gradient(net, torch.rand(1, 1, 2, 2), 0).flatten().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    return _gradient(net, pictures, target, guided=False)


def guided_backprop(net: nn.Module, pictures: Tensor, target: Target = None) -> Tensor:
    """The gradient by each pixel, where each ReLU passes back only what is positive.

    The ReLUs are found in the graph of the gradient itself: modules, functions, in place or used
    several times, ReLU6, `clamp(min=0)` and `threshold(0, 0)`. Other activations pass their
    gradient on as it is.

    Source: Springenberg, Dosovitskiy, Brox and Riedmiller (2014), Striving for simplicity,
        arXiv:1412.6806, section 3.4.
    Args:
        net, pictures, target: as for `gradient`.
    Shape: pictures (N, C, H, W) -> (N, C, H, W)
    """
    return _gradient(net, pictures, target, guided=True)


def unit_gradient(net: nn.Module, pictures: Tensor, layer: str, unit: Sequence[int]) -> Tensor:
    """How strongly each pixel changes one unit of a layer, |∂u/∂x|, its mean over the channels.

    Unlike `effective_field` it takes any layer that `summarize` names, such as the second call of
    a module. The network is left exactly as it was found.

    Args:
        net, pictures: as for `gradient`.
        layer: as `summarize` names it, or a module.
        unit: its place in what the layer gives for one picture, such as (channel, y, x).
    Shape: pictures (N, C, H, W) -> (N, H, W)
    Raises:
        ConfigError: when there is no such layer.
        ShapeError: when it has no such unit.
    """
    shape = layers_of(net, pictures).shape(layer)
    if len(unit) != len(shape) or not all(0 <= i < n for i, n in zip(unit, shape, strict=True)):
        raise ShapeError(f"{layer} gives {shape} and has no unit {tuple(unit)}")
    with asked(net):
        x = own_input(pictures)
        with watched(net, [layer]) as readings:
            net(x.clone())
        reading = found(readings, layer)
        slope = None
        if reading.edge is not None:
            start = torch.zeros_like(reading.value)
            start.flatten(1)[:, np.ravel_multi_index(tuple(unit), shape)] = 1.0
            (slope,) = torch.autograd.grad((reading.edge,), x, (start,), allow_unused=True)
    return pictures.new_zeros(pictures[:, 0].shape) if slope is None else slope.abs().mean(1)


def _gradient(net: nn.Module, pictures: Tensor, target: Target, *, guided: bool) -> Tensor:
    with asked(net):
        x = own_input(pictures)
        scores = class_scores(net(x.clone()))
        classes = chosen(scores, target)
        score = scores.gather(1, classes[:, None]).sum()
        if not score.requires_grad:
            return torch.zeros_like(pictures)
        if guided:
            for node in _nodes(score.grad_fn):
                if _is_rectifier(node):
                    node.register_prehook(_positive)
        (result,) = torch.autograd.grad(score, x, allow_unused=True)
    return torch.zeros_like(pictures) if result is None else result


def _nodes(root: Any) -> Iterator[Any]:
    """Every operation of a gradient's graph, once."""
    seen, waiting = {root}, [root]
    while waiting:
        node = waiting.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def _is_rectifier(node: Any) -> bool:
    if node.name() not in _RECTIFIERS:
        return False
    bound = _RECTIFIERS[node.name()]
    return bound is None or getattr(node, bound) == 0


def _positive(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if g is None else g.clamp(min=0) for g in gradients)
