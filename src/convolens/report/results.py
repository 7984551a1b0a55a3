"""What the test said: the metrics, class by class, and where the network is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convolens.report.numbers import interval, metric_text, percent
from convolens.report.parts import Bar, Facts, Fold, Heading, Part, Row, Table, Text
from convolens.report.picture import picture
from convolens.visual.calibration import calibration
from convolens.visual.confusion import confusion, most_confused
from convolens.visual.figure import Figure

MOST_CLASSES = 40
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PerClass:
    """Metrics of each class; NaN where a class has no picture, or is never predicted.

    Args:
        totals: pictures of the class, (K,).
        recall: share of them that is right.
        precision: share of what is called so that is so.
        f1: harmonic mean of the two.
    """

    totals: Counts
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    f1: NDArray[np.float64]


def per_class_of(matrix: Counts) -> PerClass:
    """Recall, precision and F1 = 2·right / (true + predicted) of each class.

    Args:
        matrix: pictures by true class (row) and predicted class (column).
    Shape: matrix (K, K) -> (K,) each
    Example:
        >>> found = per_class_of(np.array([[8, 2], [0, 10]]))
        >>> found.recall.tolist(), found.f1.round(3).tolist()
        ([0.8, 1.0], [0.889, 0.909])
    """
    right = matrix.diagonal().astype(np.float64)
    totals, called = matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore"):
        return PerClass(
            totals=totals,
            recall=right / totals,
            precision=right / called,
            f1=2 * right / (totals + called),
        )


def metric_parts(metrics: Mapping[str, float], matrix: Counts) -> list[Part]:
    """The metrics of the whole test, with the interval in which the accuracy lies."""
    right, total = int(matrix.diagonal().sum()), int(matrix.sum())
    items = [(name.replace("_", " "), metric_text(name, value)) for name, value in metrics.items()]
    if total:
        low, high = interval(right, total)
        items.append(("right", f"{right:,} of {total:,}"))
        items.append(("95 % interval of the accuracy", f"{percent(low)} to {percent(high)}"))
        f1 = per_class_of(matrix).f1
        if np.isfinite(f1).any():
            items.append(("mean F1 of the classes", percent(float(np.nanmean(f1)))))
    return [Facts(items=tuple(items))]


def class_parts(matrix: Counts, class_names: Sequence[str]) -> list[Part]:
    """A table of the classes, the least recall first."""
    found = per_class_of(matrix)
    order = np.argsort(np.where(found.totals > 0, found.recall, 2.0), kind="stable")
    others = dict(
        reversed(most_confused(matrix, matrix.size))
    )  # the first of a class is its greatest
    lines = []
    for index in order.tolist():
        recall = float(found.recall[index])
        other = others.get(index)
        lines.append(
            Row(
                cells=(
                    class_names[index],
                    f"{found.totals[index]:,}",
                    Bar(text=percent(recall), share=recall) if np.isfinite(recall) else "–",
                    _share(found.precision[index]),
                    _share(found.f1[index]),
                    "" if other is None else f"{class_names[other]} ({matrix[index, other]:,})",
                )
            )
        )
    parts: list[Part] = [
        Heading(text="Class by class"),
        Text(
            text="The class of least recall stands first. Recall is the share of a class's "
            "pictures that is right; precision the share of what is called so that is so.",
            tone="soft",
        ),
        _class_table(lines[:MOST_CLASSES]),
    ]
    if len(lines) > MOST_CLASSES:
        rest = _class_table(lines[MOST_CLASSES:])
        parts.append(Fold(title=f"The other {len(lines) - MOST_CLASSES:,} classes", parts=(rest,)))
    return parts


def _class_table(lines: Sequence[Row]) -> Table:
    return Table(
        about="Test metrics of each class",
        columns=(
            ("class", "left"),
            ("pictures", "right"),
            ("recall", "right"),
            ("precision", "right"),
            ("F1", "right"),
            ("most often taken for", "left"),
        ),
        rows=tuple(lines),
    )


def _share(value: float) -> str:
    return percent(float(value)) if np.isfinite(value) else "–"


def confusion_part(matrix: Counts, class_names: Sequence[str]) -> Part:
    """The confusion matrix."""
    look_for = (
        "a pair of strong cells on both sides of the diagonal (two classes that look alike, or "
        "labels that people mix up) and a strong column (a class that the network falls back on)."
    )
    return picture(confusion(matrix, class_names), look_for=look_for)


def calibration_part(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Part:
    """Whether the network is right as often as it is sure.

    Args:
        confidence: probability of the predicted class.
        right: whether it is the true one.
    """
    return picture(calibration(np.clip(confidence, 0.0, 1.0), right))  # a softmax may exceed 1


def mistakes_part(figure: Figure) -> Part:
    """The worst mistakes, as a task draws them."""
    look_for = (
        "labels that are plainly wrong (confident mistakes are the quickest way to find them), the "
        "same confusion again and again, and great confidence in what nobody could tell."
    )
    return picture(figure, look_for=look_for)
