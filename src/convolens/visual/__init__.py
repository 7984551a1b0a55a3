"""Pictures of a training: arrays in, Figure out; no file, no window, no torch."""

from convolens.visual.confusion import confusion
from convolens.visual.curves import curves
from convolens.visual.figure import Figure, Pixels, png_bytes
from convolens.visual.filters import filters
from convolens.visual.mistakes import worst_mistakes
from convolens.visual.rate import rate_curve

__all__ = [
    "Figure",
    "Pixels",
    "confusion",
    "curves",
    "filters",
    "png_bytes",
    "rate_curve",
    "worst_mistakes",
]
