"""The arithmetic behind one unit of a network."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from convolens.analysis.explanation.passage import DiffersError, Passage, keep_values, passage_of
from convolens.analysis.explanation.result import Explanation
from convolens.analysis.explanation.walker import Walker
from convolens.analysis.field import fields_of
from convolens.analysis.tracer import META
from convolens.errors import ConfigError, ShapeError

MOST_NAMED = 12


def explain_unit(
    net: nn.Module, x: Tensor, layer: str, unit: Sequence[int], *, depth: int = 1
) -> Explanation:
    """The arithmetic behind one unit of a layer, for one picture.

    The network runs in evaluation mode and is left as it was found. What it was given at the
    operation in question is recorded; the sum and all that follows it is then computed in float64.

    Args:
        net: any network that reads one tensor.
        x: one picture, as the network reads it.
        layer: a name of the table of layers, such as "conv1"; or the path of a module with others
            in it, whose result is then explained.
        unit: (C, Y, X), or (C,) where the layer gives a vector.
        depth: 1 explains the unit; each further one its strongest terms too.
    Shape: x (1, C, H, W), or (1, …) of other axes
    Returns: the terms, the sum, the steps that follow, and the network's own value.
    Raises:
        ConfigError: when there is no such layer or unit.
        ShapeError: when the network cannot read x.
    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False), nn.ReLU())
        >>> _ = nn.init.constant_(net[0].weight, 0.5)
        >>> found = explain_unit(net, torch.arange(9.0).view(1, 1, 3, 3), "1", (0, 1, 1))
        >>> [term.value for term in found.terms], found.computed
        ([4.0, 5.0, 7.0, 8.0], 12.0)
    """
    return explain_units(net, x, [(layer, unit)], depth=depth)[0]


def explain_units(
    net: nn.Module, x: Tensor, asked: Sequence[tuple[str, Sequence[int]]], *, depth: int = 1
) -> tuple[Explanation, ...]:
    """Explanations as by `explain_unit`, of several units out of one pass.

    Args:
        asked: layer and unit of each.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ConfigError(f"depth must be a whole number from 1, received {depth!r}")
    if x.dim() < 2 or x.shape[0] != 1:
        raise ShapeError(f"x must be one picture (1, C, H, W), received {tuple(x.shape)}")
    device = next((p.device for p in net.parameters()), x.device)
    if device == META:
        raise ConfigError("the weights of the network have no values: they are on the meta device")
    x = x.to(device)
    for on_meta in (True, False):
        try:
            passage = passage_of(net, x, on_meta=on_meta)
            walker = Walker(passage, fields_of(passage.trace))
            places = [_place_of(passage, layer, unit) for layer, unit in asked]
            wanted = [walker.wanted(value, depth) for value, _ in places]
            keep_values(passage, x, frozenset().union(*wanted))
        except DiffersError:
            continue
        return tuple(
            [
                replace(walker.explain(value, element, depth), layer=layer)
                for (value, element), (layer, _) in zip(places, asked, strict=True)
            ]
        )
    raise ConfigError(
        f"{type(net).__name__} cannot be explained: it does something else each time that it runs"
    )


def _place_of(passage: Passage, layer: str, unit: Sequence[int]) -> tuple[int, int]:
    value = _value_of(passage, layer)
    return value, _element(passage, value, layer, unit)


def _value_of(passage: Passage, layer: str) -> int:
    for row in passage.rows:
        if row.name == layer and row.value >= 0:
            return row.value
    for call in passage.trace.calls:
        if call.path == layer and call.outputs and layer:
            return call.outputs[0]
    names = [row.name for row in passage.rows if row.value >= 0]
    paths = [call.path for call in passage.trace.calls if call.path and call.outputs]
    close = difflib.get_close_matches(layer, dict.fromkeys(names + paths), n=3, cutoff=0.55)
    some = f"{', '.join(names[:MOST_NAMED])}{', …' * (len(names) > MOST_NAMED)}"
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {some}"
    raise ConfigError(f"the network has no layer called {layer!r}", hint)


def _element(passage: Passage, value: int, layer: str, unit: Sequence[int]) -> int:
    shape = passage.shape(value)[1:]
    letters = {1: "C", 3: "C,Y,X"}.get(len(shape), f"{len(shape)} numbers")
    size = "×".join(map(str, shape)) or "a single number"
    asked = ",".join(map(str, unit))
    if len(unit) != len(shape):
        raise ConfigError(f"a unit of {layer} ({size}) is {letters}, received {asked}")
    if any(isinstance(i, bool) or not isinstance(i, int) for i in unit):
        raise ConfigError(f"a unit is whole numbers, received {asked}")
    for i, size_of_axis in zip(unit, shape, strict=True):
        if not 0 <= i < size_of_axis:
            last = ",".join(str(n - 1) for n in shape)
            raise ConfigError(
                f"{layer} ({size}) has no unit {asked}: they go from "
                f"{','.join('0' * len(shape))} to {last}"
            )
    return int(np.ravel_multi_index(tuple(unit), shape)) if shape else 0
