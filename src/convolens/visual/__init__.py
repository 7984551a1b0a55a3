"""Pictures of a training: arrays in, Figure out; no file, no window, no torch."""

from convolens.visual.column_matrix import column_matrix
from convolens.visual.confusion import confusion
from convolens.visual.curves import curves
from convolens.visual.descent import descent
from convolens.visual.figure import Figure, Pixels, png_bytes
from convolens.visual.filters import filters
from convolens.visual.histograms import histograms
from convolens.visual.mistakes import worst_mistakes
from convolens.visual.rate import rate_curve
from convolens.visual.signed_maps import MapRow, signed_maps
from convolens.visual.sliding_window import sliding_window

__all__ = [
    "Figure",
    "MapRow",
    "Pixels",
    "column_matrix",
    "confusion",
    "curves",
    "descent",
    "filters",
    "histograms",
    "png_bytes",
    "rate_curve",
    "signed_maps",
    "sliding_window",
    "worst_mistakes",
]
