"""An explanation as a tree for JSON; docs/explanation.md says what is in it."""

import math
from typing import Any

from convolens.analysis.explanation.result import Explanation, Step


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation in plain lists, numbers and words; what is infinite or NaN becomes null.

    Example:
        >>> import torch
        >>> from convolens.analysis.explanation.unit import explain_unit
        >>> net = torch.nn.Sequential(torch.nn.ReLU())
        >>> tree = as_json(explain_unit(net, torch.ones(1, 1, 2, 2), "0", (0, 0, 1)))
        >>> tree["unit"], tree["computed"], tree["steps"][0]["formula"]
        ([0, 0, 1], 1.0, 'max(0, 1)')
    """
    rows, cols = explanation.rows, explanation.cols
    return {
        "layer": explanation.layer,
        "unit": list(explanation.unit),
        "operation": explanation.operation,
        "performed_by": explanation.performed_by,
        "formula": explanation.formula,
        "explained": explanation.explained,
        "field": None if rows is None or cols is None else {"rows": [*rows], "cols": [*cols]},
        "terms": [
            {
                "weight": _number(term.weight),
                "value": _number(term.value),
                "product": _number(term.product),
                "place": list(term.place),
                "padded": term.padded,
                "source": term.source,
                "unit": list(term.unit),
            }
            for term in explanation.terms
        ],
        "total": _number(explanation.total),
        "bias": _number(explanation.bias),
        "steps": [_step(step) for step in explanation.steps],
        "computed": _number(explanation.computed),
        "network": _number(explanation.network),
        "difference": _number(explanation.difference),
        "following": [_step(step) for step in explanation.following],
        "inputs": [
            {
                "name": given.name,
                "shape": list(given.shape),
                "value": _number(given.value),
                "least": _number(given.least),
                "greatest": _number(given.greatest),
            }
            for given in explanation.inputs
        ],
        "children": [as_json(child) for child in explanation.children],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "layer": step.layer,
        "formula": step.formula,
        "result": _number(step.result),
        "network": _number(step.network),
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
