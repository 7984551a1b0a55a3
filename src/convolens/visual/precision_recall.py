"""Precision against recall of a detector, class by class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convolens.errors import ShapeError
from convolens.visual.axis import Axis
from convolens.visual.chart import Line, Panel, draw_chart
from convolens.visual.figure import Figure
from convolens.visual.style import BLUE, GREEN, INK, PURPLE, SMALL_PX, VERMILLION
from convolens.visual.text import measure

_COLOURS = (VERMILLION, BLUE, GREEN, PURPLE, (230, 159, 0))
_LEAST_WIDTH_PX = 760
_LEGEND_PX = 90  # of an entry, beside its words


def precision_recall(
    precision: NDArray[np.floating], average: NDArray[np.floating], class_names: Sequence[str]
) -> Figure:
    """Draws precision against recall: the mean of all classes, and the five classes that are worst.

    Args:
        precision: of each class at equally spaced recalls from 0 to 1.
        average: each class's average precision; NaN for one without objects, which is left out.
    Shape: precision (K, R), average (K,) -> pixels (H, W, 3)
    Raises:
        ShapeError: when the three do not fit together.
    Example:
        >>> precision_recall(np.ones((1, 101)), np.ones(1), ["cat"]).caption
        'Precision against recall at IoU 0.5; mAP@.5 100.0 %. A curve that ends early misses objects; one that starts low is wrong where it is sure.'
    """  # noqa: E501
    if precision.ndim != 2 or len(precision) != len(average) or len(average) != len(class_names):
        raise ShapeError(
            f"expected a curve, an average and a name for each class, received "
            f"{precision.shape}, {average.shape} and {len(class_names)}"
        )
    known = np.flatnonzero(np.isfinite(average))
    recall = np.linspace(0.0, 1.0, precision.shape[1])
    worst = known[np.argsort(average[known], kind="stable")][: len(_COLOURS)]
    lines = [
        Line(
            label=f"{class_names[k]} {100 * average[k]:.1f} %",
            colour=colour,
            x=recall,
            y=precision[k].astype(np.float64),
        )
        for k, colour in zip(worst.tolist(), _COLOURS, strict=False)
    ]
    value = float(average[known].mean()) if len(known) else float("nan")
    if len(known) > 1:
        mean = precision[known].mean(axis=0).astype(np.float64)
        lines.append(Line(label=f"mean {100 * value:.1f} %", colour=INK, x=recall, y=mean))
    legend = sum(measure(line.label, SMALL_PX) + _LEGEND_PX for line in lines)
    panel = Panel(
        title="",
        width_px=max(_LEAST_WIDTH_PX, int(legend)),
        x=Axis(low=0.0, high=1.0, percent=True),
        y=Axis(low=0.0, high=1.02, percent=True),
        x_name="recall",
        lines=lines,
    )
    words = f"mAP@.5 {100 * value:.1f} %" if len(known) else "there are no objects to find"
    return Figure(
        name="precision_recall",
        caption=f"Precision against recall at IoU 0.5; {words}. A curve that ends early misses "
        "objects; one that starts low is wrong where it is sure.",
        pixels=draw_chart([panel], f"precision against recall at IoU 0.5: {words}"),
    )
