"""What a person reads when a network cannot take its input."""

from convolens.analysis.trace import ForwardError
from convolens.errors import ConvolensError, ShapeError


def explain(error: ForwardError, model: str) -> ConvolensError:
    """The error at the layer where it happens, with the network's own message."""
    place = f"{error.call.path} ({error.call.kind})" if error.call.path else error.call.kind
    shapes = ", ".join(str(error.trace.values[value].shape) for value in error.call.inputs)
    reason = str(error.cause).strip().splitlines()
    text = reason[0] if reason else type(error.cause).__name__
    return ShapeError(f"{model} cannot read its input at {place}, which received {shapes}: {text}")
