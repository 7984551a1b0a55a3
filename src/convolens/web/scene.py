"""A Run's network and a picture that it looks at, as the Look page shows them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.analysis.explanation import Explanation, explain_unit
from convolens.analysis.field import Fields, fields_of
from convolens.data.picture import decode_as
from convolens.visual.asked import asked
from convolens.visual.layers import Layers, found, layers_of, watched
from convolens.visual.signed_maps import map_tiles
from convolens.visual.style import FRAME
from convolens.visual.tiles import sheet, square_columns
from convolens.workbench.explain import PLAIN
from convolens.workbench.run import Run

Maps = NDArray[np.float32]
Pixels = NDArray[np.uint8]
MOST_PIXELS = 1_500_000  # of one sheet of feature maps
GAP_PX = 1
TOP = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A Run with its network, ready to look at pictures."""

    run: Run
    net: nn.Module


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A network and a picture.

    Args:
        pixels: the picture as it is read, uint8 (C, H, W).
        x: what the network is given, (1, C, H, W).
        layers: with the names of `summary`.
        labels: the most probable classes with their probabilities; none of a Run that does not
            classify.
    """

    opened: Opened
    pixels: Pixels
    x: Tensor
    layers: Layers
    labels: tuple[tuple[str, float], ...]

    @cached_property
    def fields(self) -> Fields:
        """The receptive fields of all units."""
        return fields_of(self.layers.trace)

    @property
    def names(self) -> list[str]:
        """The layers that can be walked, in the order of execution."""
        rows = self.layers.rows
        return [r.name for r in rows if r.name and r.value >= 0 and len(r.output) in (1, 3)]

    @property
    def colour(self) -> Pixels:
        """The picture in colour, uint8 (H, W, 3)."""
        rgb = np.broadcast_to(self.pixels, (3, *self.size)).transpose(1, 2, 0)
        return np.ascontiguousarray(rgb)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture [px]."""
        return self.pixels.shape[1], self.pixels.shape[2]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """Feature maps side by side: a pixel for each unit, and a line between maps.

    Args:
        pixels: uint8 (H, W, 3).
        first: the channel of the first map.
        count: how many maps there are on it.
        columns: how many stand in a row.
        size: (height, width) of a map.
        is_vector: whether each map is one number of a vector.
    """

    pixels: Pixels
    first: int
    count: int
    columns: int
    size: tuple[int, int]
    is_vector: bool = False

    def unit_at(self, x: float, y: float) -> tuple[int, ...] | None:
        """The unit (c, y, x), or (c,), at a place of the sheet; None between the maps."""
        row, top = divmod(int(y), self.size[0] + GAP_PX)
        column, left = divmod(int(x), self.size[1] + GAP_PX)
        number = row * self.columns + column
        inside = top < self.size[0] and left < self.size[1] and column < self.columns
        if not inside or min(x, y) < 0 or number >= self.count:
            return None
        return (self.first + number,) if self.is_vector else (self.first + number, top, left)

    def map_of(self, channel: int) -> Pixels:
        """The map of one channel that is on the sheet."""
        left, top = self.place_of((channel, 0, 0)) or (0, 0)
        return self.pixels[top : top + self.size[0], left : left + self.size[1]]

    def place_of(self, unit: Sequence[int]) -> tuple[int, int] | None:
        """Left and top of a unit's pixel; None where its map is on another sheet."""
        number = unit[0] - self.first
        if not 0 <= number < self.count:
            return None
        row, column = divmod(number, self.columns)
        top, left = (0, 0) if self.is_vector else (unit[1], unit[2])
        return column * (self.size[1] + GAP_PX) + left, row * (self.size[0] + GAP_PX) + top


def open_run(path: Path) -> Opened:
    """A Run's network with PyTorch's own operations, as `explain` has it.

    Raises:
        RunError: when the Run is damaged.
    """
    run = Run.open(path)
    plain = replace(run, facts={**run.facts, "plan": PLAIN.to_json()})
    return Opened(run=run, net=plain.network("cpu"))


def decoded(opened: Opened, content: bytes, name: str) -> Tensor:
    """A picture that a person gave, as the network reads it.

    Shape: -> uint8 (C, H, W)
    Raises:
        DataError: when it is no picture, or a damaged one.
    """
    return decode_as(content, name, opened.run.format)[0]


def scene_of(opened: Opened, pixels: Tensor) -> Scene:
    """A network and a picture, uint8 (C, H, W).

    Raises:
        ShapeError: when the network cannot read it.
    """
    run, net = opened.run, opened.net
    x = run.task.inputs(pixels[None])
    return Scene(
        opened=opened,
        pixels=pixels.numpy(),
        x=x,
        layers=layers_of(net, x),
        labels=_labels(net, x, run),
    )


def _labels(net: nn.Module, x: Tensor, run: Run) -> tuple[tuple[str, float], ...]:
    if run.config.task != "classify":
        return ()
    with torch.inference_mode():
        output = net(x.clone())
    names = run.task.class_names
    best = output[0].float().softmax(0).topk(min(TOP, len(names)))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return tuple((names[index], share) for share, index in pairs)


def maps_in(scene: Scene, layer: str) -> Maps:
    """What a layer gives for the picture, (C, H, W) or (C,)."""
    net = scene.opened.net
    scene.layers.value(layer)  # says which layers there are
    with asked(net), torch.no_grad(), watched(net, [layer]) as readings:
        net(scene.x.clone())
    values: Maps = found(readings, layer).value[0].float().numpy()
    return values


def sheet_of(maps: Maps, page: int = 0) -> Sheet:
    """A sheet of feature maps on one scale of all channels; blue is negative, vermillion positive.

    Args:
        page: of large maps, several sheets are needed.
    """
    volume = maps[:, None, None] if maps.ndim == 1 else maps
    count, height, width = volume.shape
    most = _maps_on_a_sheet(height, width)
    first = min(page, (count - 1) // most) * most
    part = volume[first : first + most]
    finite = np.abs(volume[np.isfinite(volume)])
    tiles = map_tiles(part, float(finite.max(initial=0.0)) or 1.0)
    columns = square_columns(len(part))
    return Sheet(
        pixels=sheet(tiles, columns, (GAP_PX, GAP_PX), FRAME),
        first=first,
        count=len(part),
        columns=columns,
        size=(height, width),
        is_vector=maps.ndim == 1,
    )


def can_unfold(scene: Scene, one: Explanation) -> bool:
    """Whether a term of an explanation is a layer's unit, which has an explanation of its own."""
    if one.children:
        return any(can_unfold(scene, child) for child in one.children)
    return any(term.source in scene.layers.values for term in one.terms)


def num_pages(shape: Sequence[int]) -> int:
    """How many sheets the maps of a layer (C, H, W) take."""
    if len(shape) != 3:
        return 1
    return -(-shape[0] // _maps_on_a_sheet(shape[1], shape[2]))


def page_of(shape: Sequence[int], channel: int) -> int:
    """The sheet on which a channel stands."""
    return channel // _maps_on_a_sheet(shape[1], shape[2]) if len(shape) == 3 else 0


def first_on_page(shape: Sequence[int], page: int) -> int:
    """The first channel on a sheet."""
    return page * _maps_on_a_sheet(shape[1], shape[2]) if len(shape) == 3 else 0


def _maps_on_a_sheet(height: int, width: int) -> int:
    return max(1, MOST_PIXELS // ((height + GAP_PX) * (width + GAP_PX)))


def inside(shape: Sequence[int], unit: Sequence[int]) -> tuple[int, ...]:
    """The unit of a layer that is nearest to one that is asked for.

    Example:
        >>> inside((6, 28, 28), (9, 3, -2)), inside((10,), (3, 4, 5))
        ((5, 3, 0), (3,))
    """
    wanted = (*unit, 0, 0, 0)[: len(shape)]
    return tuple(min(max(0, int(i)), n - 1) for i, n in zip(wanted, shape, strict=True))


def strongest(maps: Maps) -> tuple[int, ...]:
    """The unit with the greatest value."""
    place = int(np.nan_to_num(maps, nan=-math.inf).argmax())
    return tuple(int(i) for i in np.unravel_index(place, maps.shape))


def explained(scene: Scene, layer: str, unit: Sequence[int], depth: int = 1) -> Explanation:
    """The arithmetic behind a unit, as `convolens explain` gives it."""
    return explain_unit(scene.opened.net, scene.x, layer, unit, depth=depth)
