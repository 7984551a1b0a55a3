"""The paths of optimizers down a surface of two parameters, and the loss after each step."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from convolens.errors import ShapeError
from convolens.visual.axis import Axis, axis_over
from convolens.visual.chart import Frame, Line, Panel, draw_chart, frames
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import BLUE, GREEN, INK, PURPLE, VERMILLION, Colour

_COLOURS: tuple[Colour, ...] = (INK, BLUE, GREEN, PURPLE, VERMILLION)
_COLUMNS = 2
_FRAME_PX = (266, 220)  # across, down
_BANDS = 10
_OVERSAMPLING = 3
_CONTOUR = 180.0
_LIGHTEST, _DARKEST = 255.0, 226.0
# Beyond this ratio of losses a log scale is needed to tell the better paths apart.
_LOG_RATIO = 100.0
_HEADING_PX = 56  # what a chart leaves free for a heading, which rows below the first do not have

Grid = NDArray[np.float64]
Surface = Callable[[Grid, Grid], Grid]


def descent(
    surface: Surface,
    paths: Mapping[str, Grid],
    *,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    heading: str = "",
) -> Figure:
    """Draws each path on the contours of f(x, y), and f along all paths against the step.

    Dark is high. Between two contours lies an equal part of the area. What leaves the ranges is not
    drawn, nor is a loss that is not finite. The last panel is on a log scale where all losses are
    positive and differ by more than a factor of 100; its colours are those of the paths.

    Args:
        surface: f, of arrays x and y of one shape.
        paths: up to five, by the name of what took them; row 0 is where it began.
        x_range, y_range: what is shown, low before high.
        heading: a line above the picture.
    Shape: each path (steps + 1, 2) -> pixels (H, W, 3)
    Raises:
        ShapeError: when there is no path, there are more than five, or one is no (steps + 1, 2).
    Example:
        >>> def bowl(x, y): return x**2 + y**2
        >>> path = np.array([[2.0, 1.0], [1.0, 0.5]])
        >>> descent(bowl, {"SGD": path}, x_range=(-3, 3), y_range=(-2, 2)).caption
        'Each path on the contours of the surface, dark is high; last loss: SGD 1.25.'
    """
    _check(paths)
    x, y = (Axis(low=low, high=high) for low, high in (x_range, y_range))
    losses = {name: surface(path[:, 0], path[:, 1]) for name, path in paths.items()}
    panels = []
    for (name, path), colour in zip(paths.items(), _COLOURS, strict=False):
        across, up = _drawable(path, x, y).T
        line = Line(label=name, colour=colour, x=across, y=up)
        panels.append(
            Panel(title="", width_px=_FRAME_PX[0], x=x, y=y, x_name="x across, y up", lines=[line])
        )
    panels.append(_loss_panel(losses))
    field = _contours(surface, x, y)
    rows = [
        _draw_row(panels[first : first + _COLUMNS], len(paths) - first, field, heading)
        for first in range(0, len(panels), _COLUMNS)
    ]
    ends = ", ".join(f"{name} {values[-1]:.3g}" for name, values in losses.items())
    return Figure(
        name="descent",
        caption=f"Each path on the contours of the surface, dark is high; last loss: {ends}.",
        pixels=_stack([rows[0], *(row[_HEADING_PX:] for row in rows[1:])]),
    )


def _check(paths: Mapping[str, Grid]) -> None:
    if not 1 <= len(paths) <= len(_COLOURS):
        raise ShapeError(f"1 to {len(_COLOURS)} paths can be drawn, received {len(paths)}")
    for name, path in paths.items():
        if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0:
            raise ShapeError(f"path '{name}' must have shape (steps + 1, 2), received {path.shape}")


def _drawable(path: Grid, x: Axis, y: Axis) -> Grid:
    """The path to a hundredth of a pixel, NaN where it is outside.

    Pillow draws a line across the whole picture for a step that is upright but for 1e-10 px.
    """
    low, high = np.array([x.low, y.low]), np.array([x.high, y.high])
    inside = ((path >= low) & (path <= high)).all(axis=1, keepdims=True)
    grain = (high - low) / (100.0 * np.array(_FRAME_PX))
    return np.where(inside, low + np.rint((path - low) / grain) * grain, np.nan)


def _loss_panel(losses: Mapping[str, Grid]) -> Panel:
    finite = np.concatenate([values[np.isfinite(values)] for values in losses.values()])
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    log = low > 0.0 and high > _LOG_RATIO * low
    steps = max(len(values) for values in losses.values()) - 1
    lines = [
        Line(label=name, colour=colour, x=np.arange(float(len(values))), y=values)
        for (name, values), colour in zip(losses.items(), _COLOURS, strict=False)
    ]
    return Panel(
        title="Loss",
        width_px=_FRAME_PX[0],
        x=axis_over([0.0, float(steps)], whole=True),
        y=axis_over(finite.tolist(), log=log),
        x_name="step (loss on a log scale)" if log else "step",
        lines=lines,
        legend=False,
    )


def _draw_row(panels: Sequence[Panel], num_paths: int, field: Grid, heading: str) -> Pixels:
    """One row of panels, the first `num_paths` of them on contours."""
    pixels = draw_chart(panels, heading, _FRAME_PX[1]).astype(np.float64)
    for frame in frames(panels, _FRAME_PX[1])[: max(0, num_paths)]:
        # Multiplied, as a print on coloured paper, the lines stay dark.
        _part(pixels, frame)[:] *= field[..., None] / 255.0
    drawn: Pixels = np.rint(pixels).astype(np.uint8)
    return drawn


def _part(pixels: Grid, frame: Frame) -> Grid:
    return pixels[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]


def _contours(surface: Surface, x: Axis, y: Axis) -> Grid:
    """The brightness of each pixel of a frame, 0 to 255: bands of height with lines between."""
    width, height = (side * _OVERSAMPLING for side in _FRAME_PX)
    across = x.low + (np.arange(width) + 0.5) / width * (x.high - x.low)
    up = y.high - (np.arange(height) + 0.5) / height * (y.high - y.low)
    heights = surface(*np.meshgrid(across, up))
    edges = np.quantile(heights, np.linspace(0.0, 1.0, _BANDS + 1)[1:-1])
    band = np.searchsorted(edges, heights)
    grey = _LIGHTEST + (_DARKEST - _LIGHTEST) * band / (_BANDS - 1)
    line = np.zeros(band.shape, bool)
    line[1:] |= band[1:] != band[:-1]
    line[:, 1:] |= band[:, 1:] != band[:, :-1]
    grey[line] = _CONTOUR
    cells = grey.reshape(_FRAME_PX[1], _OVERSAMPLING, _FRAME_PX[0], _OVERSAMPLING)
    return np.asarray(cells.mean(axis=(1, 3)))


def _stack(rows: Sequence[Pixels]) -> Pixels:
    """Rows of pictures one below the other, on white where one is narrower."""
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded)
