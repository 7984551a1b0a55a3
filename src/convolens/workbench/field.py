"""`field`: what one unit of a network sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convolens.analysis.field import Textbook, effective_field, fields_of, textbook_of
from convolens.analysis.summarize import Graph
from convolens.data.picture import PictureFormat, read_as
from convolens.errors import ConfigError, ShapeError, near_matches
from convolens.visual.field import draw_field
from convolens.visual.figure import Figure
from convolens.workbench.design import Design, Sizes, design_of
from convolens.workbench.summary import graph_of

Span = tuple[int, int]
NUM_PICTURES = 16


@dataclass(frozen=True, kw_only=True)
class UnitField:
    """What one unit of a network sees.

    Args:
        layer: the unit's layer.
        unit: (y, x) in the layer's map; empty for a unit of a vector.
        rows: first and last row of the input that the unit sees, both included; None where it
            sees nothing but padding.
        cols: first and last column, likewise.
        textbook: size, stride and start, where the network is regular.
        unknown: operations that are taken to read the whole picture, for want of a rule.
        effective: (H, W), mean absolute gradient of the unit; None where it was not asked for.
        figure: the field drawn on a picture; None where no picture was given.
    """

    layer: str
    unit: tuple[int, ...]
    rows: Span | None
    cols: Span | None
    textbook: Textbook | None
    unknown: tuple[str, ...] = ()
    effective: NDArray[np.float32] | None = None
    figure: Figure | None = None

    def to_json(self) -> dict[str, Any]:
        """The numbers; `size`, `stride` and `start` are null where there is no textbook form."""
        form = self.textbook
        tree: dict[str, Any] = {
            "layer": self.layer,
            "unit": list(self.unit),
            "rows": list(self.rows) if self.rows else None,
            "cols": list(self.cols) if self.cols else None,
            "size": list(form.size) if form else None,
            "stride": list(form.stride) if form else None,
            "start": list(form.start) if form else None,
        }
        if self.unknown:
            tree["unknown"] = list(self.unknown)
        if self.effective is not None:
            tree["effective_side"] = self.effective_side
        return tree

    @property
    def effective_side(self) -> float | None:
        """√ of the number of pixels whose gradient is more than 4.55 % of the largest.

        Source: Luo et al. (2016), arXiv:1701.04128, section 3: two standard deviations.
        """
        if self.effective is None:
            return None
        largest = float(self.effective.max())
        return float(np.sqrt((self.effective > (1 - 0.9545) * largest).sum())) if largest else 0.0


def field(
    model: str | Path | nn.Module,
    layer: str,
    unit: Sequence[int] | None = None,
    *,
    input_size: Sizes | None = None,
    image: str | Path | None = None,
    effective: bool = False,
) -> UnitField:
    """The input pixels that can change one unit of a network, and how much each of them does.

    Args:
        model: as of `summarize`.
        layer: the name of a row of `summarize`, or of a module.
        unit: (y, x) in the layer's map; by default the middle one.
        input_size: shape of the input without the batch; by default what the network is made for.
        image: a picture on which the field is drawn.
        effective: whether to compute the effective field too: the gradient of the unit, on the
            picture, or on 16 of noise where there is none. A Run has its trained weights; other
            networks that are named have random ones.
    Returns: the rows and columns, exactly, clipped at the border; the textbook form; the drawing.
    Raises:
        ConfigError: when the network has no such layer.
        ShapeError: when the layer has no such unit.
        DataError: when the picture cannot be read.
    Example:
        >>> seen = field("lenet5", "conv2", (0, 0))
        >>> seen.rows, seen.textbook.size
        ((0, 13), (14, 14))
    """
    design = design_of(model, input_size)
    graph = graph_of(design)
    value = _value_of(graph, layer)
    shape = graph.trace.shape(value)
    position = _position(layer, shape, unit)
    fields = fields_of(graph.trace)
    seen = fields.unit(value, *position)
    form = textbook_of(graph.trace).get(value)
    unknown = tuple(dict.fromkeys(f"{one.name} in {one.place}" for one in fields.unknown))
    picture = None if image is None else _read(image, graph)
    strengths = _strengths(design, graph, layer, position, picture) if effective else None
    has_box = seen is not None and len(seen.intervals) == 2
    figure = None
    if picture is not None:
        if seen is None or not has_box:
            raise ShapeError(f"the field of {layer} cannot be drawn: it has no rows and columns")
        rows, cols = _unclipped(form, position) or (seen.rows, seen.cols)
        title = f"{graph.model}, {layer}, unit ({', '.join(map(str, position))})"
        figure = draw_field(picture, rows, cols, effective=strengths, title=title)
    return UnitField(
        layer=layer,
        unit=position,
        rows=seen.rows if seen else None,
        cols=seen.cols if seen else None,
        textbook=form,
        unknown=unknown,
        effective=strengths,
        figure=figure,
    )


def _value_of(graph: Graph, layer: str) -> int:
    """The value that a layer gives: a row, or a module with rows in it."""
    row = graph.by_name.get(layer)
    if row is not None and row.value >= 0:
        return row.value
    for call in graph.trace.calls:
        if call.path == layer and call.outputs:
            return call.outputs[0]
    names = dict.fromkeys([*graph.by_name, *(call.path for call in graph.trace.calls if call.path)])
    raise ConfigError(f"{graph.model} has no layer named {layer!r}", _near(layer, names))


def _near(layer: str, names: Sequence[str] | dict[str, None]) -> str:
    close = near_matches(layer, names)
    return close if len(close) < 200 else "`convolens summary` lists them."


def _position(layer: str, shape: tuple[int, ...], unit: Sequence[int] | None) -> tuple[int, ...]:
    space = shape[2:]
    if unit is None:
        return tuple([side // 2 for side in space])
    if not space and not any(unit):
        return ()
    if len(unit) != len(space) or any(not 0 <= i < n for i, n in zip(unit, space, strict=True)):
        sides = "×".join(map(str, space)) or "no positions"
        asked = ",".join(map(str, unit))
        raise ShapeError(f"{layer} has {sides}, and no unit {asked}", "Units are counted from 0,0.")
    return tuple(unit)


def _read(image: str | Path, graph: Graph) -> NDArray[np.uint8]:
    """The picture as the network would read it, in colour."""
    channels, *sides = graph.inputs[0][1:]
    if len(sides) != 2:
        raise ShapeError(f"{graph.model} reads {channels} × {sides}, which is no picture")
    pixels, _ = read_as(image, PictureFormat(channels=3, size=(sides[0], sides[1])))
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _strengths(
    design: Design,
    graph: Graph,
    layer: str,
    position: tuple[int, ...],
    picture: NDArray[np.uint8] | None,
) -> NDArray[np.float32]:
    net = design.rebuild() if design.rebuild is not None else design.net
    shape = graph.inputs[0][1:]
    source = torch.Generator().manual_seed(0)
    if picture is None:
        pictures = torch.randn(NUM_PICTURES, *shape, generator=source)
    else:
        pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
        mean = pixels if shape[0] == 3 else pixels.mean(0, keepdim=True)
        pictures = mean.expand(shape).unsqueeze(0)
    place = next(net.parameters(), torch.empty(0))
    return effective_field(net, layer, position, pictures.to(place.device, place.dtype))


def _unclipped(form: Textbook | None, position: tuple[int, ...]) -> tuple[Span, Span] | None:
    """Rows and columns with those of the padding, where the network is regular."""
    if form is None or len(form.size) != 2:
        return None
    firsts = [s + step * i for s, step, i in zip(form.start, form.stride, position, strict=True)]
    (top, left), (height, width) = firsts, form.size
    return (top, top + height - 1), (left, left + width - 1)
