"""What a person reads when a network cannot take its input."""

import inspect
import re
import traceback
from pathlib import Path

import torch
from torch import nn

from convolens.analysis.explain_layer import EXPLANATIONS, Mismatch
from convolens.analysis.explain_operation import OPERATIONS
from convolens.analysis.graph import Trace
from convolens.analysis.trace import ForwardError
from convolens.errors import ConfigError, ConvolensError, ShapeError

LIBRARY = Path(torch.__file__).parent
RAISES = re.compile(r"\b(raise|assert)\b")
BINDING = re.compile(r"forward\(\) (missing|takes|got)")


def explain(error: ForwardError, net: nn.Module, model: str) -> ConvolensError:
    """The error at the layer where it happens, with the sizes and the arithmetic.

    Args:
        error: what the pass raised.
        net: the network.
        model: what it is called.
    Returns: a ShapeError where sizes do not fit, a ConfigError where the network's own code
        raised; where nothing explains it, PyTorch's own first line.
    """
    trace, call = error.trace, error.call
    place = f"{call.path} ({call.kind})" if call.path else model
    where = f"{model}, {place}" if call.path else model
    if isinstance(error.cause, TypeError) and BINDING.search(str(error.cause)):
        return _wrong_arguments(error, net, where)
    own = _own_line(error.cause)
    if own is not None:
        kind, text = type(error.cause).__name__, _text(error.cause)
        return ConfigError(f"{where}: {kind}" + (f": {text}" if text != kind else ""), own)
    module = dict(net.named_modules()).get(call.path)
    found: Mismatch | None = None
    shapes = [trace.values[value] for value in call.inputs]
    if module is not None and shapes:
        kinds = (rule for kinds, rule in EXPLANATIONS if isinstance(module, kinds))
        found = next(
            (m for m in (rule(module, call.inputs[0], trace) for rule in kinds) if m), None
        )
    if found is None and error.failed is not None:
        name = error.failed.name.removeprefix("aten.").rstrip("_")
        rule = OPERATIONS.get(name)
        found = rule(error.failed, trace) if rule is not None else None
    if found is not None:
        return ShapeError(f"{where}: {found.text}", found.hint)
    return ShapeError(f"{where}{_received(trace, call.inputs)}: {_text(error.cause)}")


def _received(trace: Trace, inputs: tuple[int, ...]) -> str:
    shapes = [str(trace.values[value].shape) for value in inputs]
    return f" received {' and '.join(shapes)}" if shapes else ""


def _text(cause: BaseException) -> str:
    """The first line of what an exception says, or all of it where it is short."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    whole = " ".join(lines)
    return (whole if len(whole) < 200 else lines[0]) if lines else type(cause).__name__


def _own_line(cause: BaseException) -> str | None:
    """Where the network's own code raised the exception by itself; None where PyTorch did."""
    frames = traceback.extract_tb(cause.__traceback__)
    if not frames:
        return None
    last = frames[-1]
    in_library = Path(last.filename).is_relative_to(LIBRARY)
    here = Path(last.filename).is_relative_to(Path(__file__).parent)
    if in_library or here or not RAISES.search(last.line or ""):
        return None
    return f"It is raised in {last.filename}, line {last.lineno}."


def _wrong_arguments(error: ForwardError, net: nn.Module, where: str) -> ConvolensError:
    module = dict(net.named_modules()).get(error.call.path, net)
    taken = ", ".join(str(p) for p in inspect.signature(module.forward).parameters.values())
    given = len(error.call.inputs)
    reason = _text(error.cause).partition("forward() ")[2]
    return ConfigError(
        f"{where}: forward({taken}) {reason}; it received {given} tensor{'s' * (given != 1)}",
        None if error.call.path else "--input (input_size) names one shape for each input.",
    )
