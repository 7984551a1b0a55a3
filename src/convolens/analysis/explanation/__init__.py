"""The arithmetic behind one unit of a network: what it sums, and what follows."""

from convolens.analysis.explanation.as_json import as_json
from convolens.analysis.explanation.plain import text_of
from convolens.analysis.explanation.result import Explanation, Given, Step, Term
from convolens.analysis.explanation.unit import explain_unit, explain_units
from convolens.analysis.explanation.volume import Volume, volume_of

__all__ = [
    "Explanation",
    "Given",
    "Step",
    "Term",
    "Volume",
    "as_json",
    "explain_unit",
    "explain_units",
    "text_of",
    "volume_of",
]
