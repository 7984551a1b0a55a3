"""Curves of several Runs in one chart, as ECharts takes them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from convolens.web.shelf import Entry

# Okabe and Ito (2008): told apart by colour-blind readers, on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98")
MOST_RUNS = len(COLOURS)
_GREY = "#8a8f98"


def quantities_of(entries: Sequence[Entry]) -> list[str]:
    """What the Runs measured while they trained: the loss first, then by name.

    Example:
        >>> rows = ({"epoch": 1.0, "train_loss": 2.0, "val_accuracy": 0.5, "lr": 0.1},)
        >>> quantities_of([Entry(name="a", state="complete", epochs=rows)])
        ['loss', 'accuracy']
    """
    names = {
        key.partition("_")[2]
        for entry in entries
        for row in entry.epochs
        for key in row
        if key.startswith(("train_", "val_")) and not _is_aside(key)
    }
    return sorted(names, key=lambda name: (name != "loss", name))


def _is_aside(key: str) -> bool:
    """Whether a column is of one class alone, of which there may be hundreds, or a time."""
    return key.endswith("_seconds") or key.partition("_")[2].startswith(("iou_", "ap_", "ap50_"))


def chart_of(entries: Sequence[Entry], quantity: str) -> dict[str, Any]:
    """One quantity against the epoch: training dashed, validation solid, a colour for each Run."""
    series = []
    for entry, colour in zip(entries, COLOURS, strict=False):
        for split, words, kind in (
            ("train", "training", "dashed"),
            ("val", "validation", "solid"),
        ):
            points = points_of(entry.epochs, f"{split}_{quantity}")
            if points:
                series.append(
                    {
                        "name": f"{short_name(entry.name)}, {words}",
                        "type": "line",
                        "data": points,
                        "symbolSize": 5,
                        "lineStyle": {"type": kind, "width": 2},
                        "itemStyle": {"color": colour},
                        "animation": False,
                    }
                )
    axis = {
        "axisLabel": {"color": _GREY},
        "nameTextStyle": {"color": _GREY},
        "splitLine": {"lineStyle": {"color": _GREY, "opacity": 0.25}},
    }
    return {
        "title": {
            "text": quantity.replace("_", " "),
            "textStyle": {"color": _GREY, "fontSize": 14},
            "left": 4,
        },
        "grid": {"left": 48, "right": 16, "top": 40, "bottom": 76},
        "legend": {"type": "scroll", "bottom": 0, "textStyle": {"color": _GREY}},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "value", "name": "epoch", "nameLocation": "middle", "nameGap": 26}
        | axis
        | {"minInterval": 1, "min": "dataMin", "max": "dataMax"},
        "yAxis": {"type": "value", "scale": True} | axis,
        "series": series,
    }


def points_of(rows: Sequence[Mapping[str, float]], key: str) -> list[list[float | None]]:
    """Epoch and value of each row that has one; None leaves a gap in the line.

    Example:
        >>> points_of([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": float("nan")}],
        ...           "val_loss")
        [[1, 0.5], [2, None]]
    """
    return [
        [row.get("epoch", number), row[key] if math.isfinite(row[key]) else None]
        for number, row in enumerate(rows, start=1)
        if key in row
    ]


def short_name(name: str) -> str:
    """The last part of a Run's path."""
    return name.rstrip("/").rpartition("/")[2]


def value_text(metric: str, value: float) -> str:
    """A metric as a person reads it: shares in per cent.

    Example:
        >>> value_text("accuracy", 0.98765), value_text("loss", 0.123456)
        ('98.77 %', '0.1235')
    """
    is_share = any(word in metric for word in ("accuracy", "miou", "map", "dice"))
    return f"{100 * value:.2f} %" if is_share else f"{value:.4g}"
