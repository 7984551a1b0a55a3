"""The loss against the learning rate of a range test."""

from collections.abc import Sequence

import numpy as np

from convolens.visual.axis import axis_over
from convolens.visual.chart import Line, Panel, draw_chart
from convolens.visual.figure import Figure
from convolens.visual.style import BLUE, SOFT

_WIDE_PX = 900
# How far above the first loss the picture reaches: the last steps of a range test may explode.
_HEADROOM = 1.3


def rate_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float,
) -> Figure:
    """Draws the loss of every step of a range test against its learning rate, on a log axis.

    Args:
        rates: positive, rising.
        losses: of each step; those far above the first are cut off.
        smoothed: the same, averaged over neighbours.
        suggestion: one of the rates; a dashed line stands there, and its point is circled.
    Shape: -> pixels (H, W, 3)
    Example:
        >>> rate_curve([0.01, 0.1, 1.0], [2.0, 1.0, 3.0], [2.0, 1.5, 2.0], 0.1).caption
        'Loss at each learning rate; it falls fastest at 0.1.'
    """
    x = np.asarray(rates, np.float64)
    top = _HEADROOM * max(smoothed[: max(1, len(smoothed) // 2)])
    lines = [
        Line(label=label, colour=colour, x=x, y=_below(values, top))
        for label, colour, values in (("each step", SOFT, losses), ("averaged", BLUE, smoothed))
    ]
    seen = [float(v) for line in lines for v in line.y if np.isfinite(v)]
    place = int(np.abs(x - suggestion).argmin())
    words = f"falls fastest at {suggestion:.2g}"
    panel = Panel(
        title="Loss",
        width_px=_WIDE_PX,
        x=axis_over(x.tolist(), log=True),
        y=axis_over(seen),
        x_name="learning rate (log scale)",
        lines=lines,
        rule=suggestion,
        ring=(suggestion, smoothed[place]),
    )
    return Figure(
        name="lr-find",
        caption=f"Loss at each learning rate; it {words}.",
        pixels=draw_chart([panel], f"the loss {words}"),
    )


def _below(values: Sequence[float], top: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    column = np.asarray(values, np.float64)
    return np.where(column <= top, column, np.nan)
