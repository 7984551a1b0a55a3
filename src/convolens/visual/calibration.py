"""Whether a classifier is right as often as it is sure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convolens.errors import DataError, ShapeError
from convolens.visual.axis import Axis
from convolens.visual.chart import Line, Panel, draw_chart
from convolens.visual.figure import Figure
from convolens.visual.style import BLUE, FRAME, SOFT

BINS = 15
_SIDE_PX = 460


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Predictions sorted into bins of equal width by their confidence; NaN in a bin without any.

    Args:
        counts: pictures in each bin, (B,).
        confidence: mean confidence in each bin, (B,).
        accuracy: share that is right in each bin, (B,).
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error, Σ_b (n_b / n) · |accuracy_b − confidence_b|."""
        used = self.counts > 0
        gaps = np.abs(self.accuracy[used] - self.confidence[used])
        return float((self.counts[used] * gaps).sum() / self.counts.sum())


def calibration_of(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS
) -> Calibration:
    """How often predictions of about the same confidence are right.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks,
        arXiv:1706.04599, section 2.
    Args:
        confidence: probability of the predicted class.
        right: whether it is the true one.
        bins: of equal width, each including its upper end.
    Shape: (N,), (N,)
    Raises:
        ShapeError: when they are not of one length, at least 1.
        DataError: when a confidence is not from 0 to 1.
    Example:
        >>> sure = np.array([0.9, 0.9, 0.9, 0.9])
        >>> round(calibration_of(sure, np.array([True, True, True, False])).error, 3)
        0.15
    """
    if confidence.ndim != 1 or confidence.shape != right.shape or bins < 1 or not confidence.size:
        raise ShapeError(
            "confidence and right must be (N,) with N at least 1, for at least one bin; received "
            f"{confidence.shape}, {right.shape} and {bins} bins"
        )
    values = np.asarray(confidence, np.float64)
    if not ((values >= 0) & (values <= 1 + 1e-6)).all():  # NaN is neither
        raise DataError(
            f"a confidence must be from 0 to 1, received {values.min()} to {values.max()}"
        )
    which = np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    sums = np.bincount(which, weights=values, minlength=bins)
    hits = np.bincount(which, weights=np.asarray(right, np.float64), minlength=bins)
    with np.errstate(invalid="ignore"):
        return Calibration(counts=counts, confidence=sums / counts, accuracy=hits / counts)


def calibration(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS
) -> Figure:
    """Draws accuracy against confidence, and how many predictions have each confidence.

    Args:
        confidence, right, bins: as for `calibration_of`.
    Shape: (N,), (N,) -> pixels (H, W, 3)
    """
    found = calibration_of(confidence, right, bins)
    used = found.counts > 0
    middles = (np.arange(bins) + 0.5) / bins
    ends = np.array([0.0, 1.0])
    unit = Axis(low=0.0, high=1.0, percent=True)
    shares = found.counts / found.counts.sum()
    # Steps, drawn as a line: each bin from its lower to its upper end.
    edges = np.repeat(np.arange(bins + 1) / bins, 2)
    heights = np.concatenate(([0.0], np.repeat(shares, 2), [0.0]))
    panels = [
        Panel(
            title="accuracy",
            width_px=_SIDE_PX,
            x=unit,
            y=unit,
            x_name="confidence",
            lines=[
                Line(label="ideal", colour=FRAME, x=ends, y=ends),
                Line(
                    label="network",
                    colour=BLUE,
                    x=found.confidence[used],
                    y=found.accuracy[used],
                ),
            ],
        ),
        Panel(
            title="pictures",
            width_px=_SIDE_PX,
            x=unit,
            y=Axis(low=0.0, high=max(0.05, float(shares.max()) * 1.05), percent=True),
            x_name="confidence",
            lines=[Line(label="share", colour=SOFT, x=edges, y=heights)],
        ),
    ]
    mean, accuracy = float(np.mean(confidence)), float(np.mean(right))
    words = "more" if mean > accuracy else "less"
    caption = (
        f"Expected calibration error {found.error:.2%} in {bins} bins: the network is on average "
        f"{mean:.1%} sure and {accuracy:.1%} right, {words} sure than right. Below the grey line "
        "it is too sure of itself, above it too modest; bins with few pictures jump about "
        f"(the fullest is around {middles[int(found.counts.argmax())]:.0%})."
    )
    heading = f"expected calibration error {found.error:.2%}, {found.counts.sum():,} pictures"
    return Figure(name="calibration", caption=caption, pixels=draw_chart(panels, heading, _SIDE_PX))
