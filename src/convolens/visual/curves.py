"""Loss, metrics and learning rate against the epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from convolens.visual.axis import axis_over
from convolens.visual.chart import Line, Panel, draw_chart
from convolens.visual.figure import Figure
from convolens.visual.style import BLUE, GREEN, VERMILLION

_SPLITS = (("train", "train", BLUE), ("val", "validation", VERMILLION))
# What a task's metrics are called; the first one that was measured names the best epoch.
_METRICS = {
    "accuracy": "accuracy",
    "miou": "mean IoU",
    "map": "mAP@[.5:.95]",
    "map50": "mAP@.5",
}
_JUDGED_BY = ("miou", "map", "accuracy")
_WIDE_PX, _NARROW_PX = 640, 260
# A training that diverged may report any number; beyond these it is as good as infinite or zero.
_LARGEST, _LEAST = 1e100, 1e-100
# A loss that falls further than this is shown by its ratios: its end would lie on the axis.
_LOG_RATIO = 100.0

Column = NDArray[np.float64]


def curves(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draws loss and metrics against the epoch, with the learning rate beside them.

    A value that is missing, NaN or infinite leaves a gap in its line, and a quantity without any
    value leaves its panel out. The best epoch is the last of greatest validation mean IoU, mAP or
    accuracy, or of least validation loss where none of them is known.

    Args:
        rows: one per epoch, with any of epoch, lr, and train_… and val_… of loss, accuracy,
            miou, map and map50 (all but the loss from 0 to 1); an epoch that has no number is
            its row's.
    Shape: -> pixels (H, W, 3)
    Example:
        >>> curves([{"epoch": 1, "val_accuracy": 0.9}, {"epoch": 2, "val_accuracy": 0.8}]).caption
        'Loss and accuracy after each epoch; best epoch 1: validation accuracy 90.00 %.'
    """
    epochs = _column(rows, "epoch")
    epochs = np.where(np.isfinite(epochs), epochs, np.arange(1, len(rows) + 1))
    order = np.argsort(epochs, kind="stable")
    columns = {"epoch": epochs[order]}
    for split, _, _ in _SPLITS:
        for quantity in ("loss", *_METRICS):
            columns[f"{split}_{quantity}"] = _column(rows, f"{split}_{quantity}")[order]
    columns["lr"] = _column(rows, "lr")[order]
    best, words = _best(columns)
    measured = [name for name in _METRICS if _is_known(columns, name)]
    panels = [_panel(columns, quantity, best) for quantity in ("loss", *measured)]
    if np.isfinite(columns["lr"]).any():
        panels.append(_rate_panel(columns))
    named = " and ".join(_METRICS[name] for name in measured) or "accuracy"
    caption = f"Loss and {named} after each epoch"
    return Figure(
        name="curves",
        caption=f"{caption}; {words}." if rows else f"{caption}: none is finished yet.",
        pixels=draw_chart(panels, words),
    )


def _column(rows: Sequence[Mapping[str, float]], key: str) -> Column:
    values = np.array([row.get(key, np.nan) for row in rows], np.float64)
    values[np.abs(values) < _LEAST] = 0.0
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def _is_known(columns: Mapping[str, Column], quantity: str) -> bool:
    return any(np.isfinite(columns[f"{split}_{quantity}"]).any() for split, _, _ in _SPLITS)


def _best(columns: Mapping[str, Column]) -> tuple[int | None, str]:
    """The row of the best epoch, and what makes it the best."""
    loss = columns["val_loss"]
    judges = [name for name in _JUDGED_BY if np.isfinite(columns[f"val_{name}"]).any()]
    if judges:
        values = columns[f"val_{judges[0]}"]
        best = _last(values == np.nanmax(values))
        words = f"validation {_METRICS[judges[0]]} {100 * values[best]:.2f} %"
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
    title = _METRICS.get(quantity, quantity)
    title = title if title.startswith("mAP") else title[0].upper() + title[1:]
    ring = None
    if best is not None and np.isfinite(columns[f"val_{quantity}"][best]):
        ring = (float(epochs[best]), float(columns[f"val_{quantity}"][best]))
    return Panel(
        title=title + (" (log scale)" if y.log else ""),
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
