"""Loss, accuracy and learning rate against the epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from convolens.visual.axis import axis_over
from convolens.visual.chart import Line, Panel, draw_chart
from convolens.visual.figure import Figure
from convolens.visual.style import BLUE, GREEN, VERMILLION

_SPLITS = (("train", "train", BLUE), ("val", "validation", VERMILLION))
_WIDE_PX, _NARROW_PX = 640, 260
# A training that diverged may report any number; beyond these it is as good as infinite or zero.
_LARGEST, _LEAST = 1e100, 1e-100
# A loss that falls further than this is shown by its ratios: its end would lie on the axis.
_LOG_RATIO = 100.0

Column = NDArray[np.float64]


def curves(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draws loss and accuracy against the epoch, with the learning rate beside them.

    A value that is missing, NaN or infinite leaves a gap in its line, and a quantity without any
    value leaves its panel out. The best epoch is the last
    of greatest validation accuracy, or of least validation loss where no accuracy is known.

    Args:
        rows: one per epoch, with any of epoch, train_loss, val_loss, train_accuracy,
            val_accuracy (from 0 to 1) and lr; an epoch that has no number is its row's.
    Shape: -> pixels (H, W, 3)
    Example:
        >>> curves([{"epoch": 1, "val_accuracy": 0.9}, {"epoch": 2, "val_accuracy": 0.8}]).caption
        'Loss and accuracy after each epoch; best epoch 1: validation accuracy 90.00 %.'
    """
    epochs = _column(rows, "epoch")
    epochs = np.where(np.isfinite(epochs), epochs, np.arange(1, len(rows) + 1))
    order = np.argsort(epochs, kind="stable")
    columns = {"epoch": epochs[order]}
    for key in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr"):
        columns[key] = _column(rows, key)[order]
    best, words = _best(columns)
    panels = [_panel(columns, "loss", best)]
    if any(np.isfinite(columns[key]).any() for key in ("train_accuracy", "val_accuracy")):
        panels.append(_panel(columns, "accuracy", best))
    if np.isfinite(columns["lr"]).any():
        panels.append(_rate_panel(columns))
    caption = "Loss and accuracy after each epoch"
    return Figure(
        name="curves",
        caption=f"{caption}; {words}." if rows else f"{caption}: none is finished yet.",
        pixels=draw_chart(panels, words),
    )


def _column(rows: Sequence[Mapping[str, float]], key: str) -> Column:
    values = np.array([row.get(key, np.nan) for row in rows], np.float64)
    values[np.abs(values) < _LEAST] = 0.0
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def _best(columns: Mapping[str, Column]) -> tuple[int | None, str]:
    """The row of the best epoch, and what makes it the best."""
    accuracy, loss = columns["val_accuracy"], columns["val_loss"]
    if np.isfinite(accuracy).any():
        best = _last(accuracy == np.nanmax(accuracy))
        words = f"validation accuracy {100 * accuracy[best]:.2f} %"
    elif np.isfinite(loss).any():
        best = _last(loss == np.nanmin(loss))
        words = f"validation loss {loss[best]:.4g}"
    elif len(loss) == 0:
        return None, "no epoch is finished yet"
    else:
        return None, "no validation, so no best epoch"
    return best, f"best epoch {columns['epoch'][best]:g}: {words}"


def _last(found: NDArray[np.bool_]) -> int:
    """Of equal epochs the one that was trained longer, as training keeps its weights."""
    return int(np.flatnonzero(found)[-1])


def _panel(columns: Mapping[str, Column], quantity: str, best: int | None) -> Panel:
    epochs = columns["epoch"]
    lines = [
        Line(label=label, colour=colour, x=epochs, y=columns[f"{split}_{quantity}"])
        for split, label, colour in _SPLITS
        if np.isfinite(columns[f"{split}_{quantity}"]).any()
    ]
    values = [float(v) for line in lines for v in line.y if np.isfinite(v)]
    if quantity == "loss":
        log = bool(values) and min(values) > 0 and max(values) > _LOG_RATIO * min(values)
        y = axis_over(values, log=log, from_zero=True)
    else:
        y = axis_over(values, percent=True)
    ring = None
    if best is not None and np.isfinite(columns[f"val_{quantity}"][best]):
        ring = (float(epochs[best]), float(columns[f"val_{quantity}"][best]))
    return Panel(
        title=quantity.capitalize() + (" (log scale)" if y.log else ""),
        width_px=_WIDE_PX,
        x=axis_over(epochs.tolist(), whole=True),
        y=y,
        x_name="epoch",
        lines=lines,
        rule=None if best is None else float(epochs[best]),
        ring=ring,
    )


def _rate_panel(columns: Mapping[str, Column]) -> Panel:
    rates = columns["lr"]
    return Panel(
        title="Learning rate",
        width_px=_NARROW_PX,
        x=axis_over(columns["epoch"].tolist(), whole=True),
        y=axis_over(rates[np.isfinite(rates)].tolist(), from_zero=True),
        x_name="epoch",
        lines=[Line(label="learning rate", colour=GREEN, x=columns["epoch"], y=rates)],
        legend=False,
    )
