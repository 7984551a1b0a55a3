"""Operations that make one element of one: activations, batch norm in use, constants."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from convolens.analysis.explanation.head import number
from convolens.analysis.explanation.passage import Passage
from convolens.analysis.explanation.sums import broadcast_element, broadcast_number
from convolens.analysis.field.arguments import Arguments

Index = tuple[int, ...]
Result = tuple[str, float]  # the formula with its numbers, and what it gives
Options = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Link:
    """What an operation makes of one element.

    Args:
        name: of the operation, in words.
        value, element: of the input.
        act: from the element to the formula with its numbers and the result.
    """

    name: str
    value: int
    element: int
    act: Callable[[float], Result]


def link_of(passage: Passage, given: Arguments, index: Index) -> Link | None:
    """The rule of an operation that makes one element of one; None where it is another kind."""
    name = given.name.strip("_")
    if name in ACTIVATIONS:
        return _activation(passage, given, index, name)
    if name in ARITHMETIC:
        return _with_constant(passage, given, index, name)
    if name in NORMS:
        return _batch_norm(passage, given, index)
    if name == "prelu_kernel":
        slope = broadcast_number(passage, given.value(1), given.output, index)
        return _link(passage, given, index, "prelu", lambda x: _leaky(x, (slope,)))
    return None


def _link(
    passage: Passage, given: Arguments, index: Index, name: str, act: Callable[[float], Result]
) -> Link:
    value = given.value(0)
    element = int(broadcast_element(passage, value, given.output, index)[0])
    return Link(name=name, value=value, element=element, act=act)


def _activation(passage: Passage, given: Arguments, index: Index, name: str) -> Link | None:
    act = ACTIVATIONS[name]
    options: Options = given.operation.args[1:]
    if name == "gelu":
        options = (given.operation.kwargs.get("approximate", "none"),)
    if name == "rrelu_with_noise":
        options = ((given.get(2, 1 / 8) + given.get(3, 1 / 3)) / 2,)
    if not all(isinstance(option, int | float | str | type(None)) for option in options):
        return None  # limits or exponents that are tensors
    return _link(passage, given, index, WORDS.get(name, name), lambda x: act(x, options))


def _with_constant(passage: Passage, given: Arguments, index: Index, name: str) -> Link | None:
    """A sum or product of which one part does not depend on the picture."""
    held, varies = [], []
    for at in (0, 1):
        value = given.value(at)
        varies.append(value in passage.varying)
        if value < 0:
            held.append(float(given.get(at)))
        elif varies[at]:
            held.append(0.0)
        else:
            held.append(broadcast_number(passage, value, given.output, index))
    if all(varies) or not any(varies):
        return None
    own = given.value(1 if varies[1] else 0)
    element = int(broadcast_element(passage, own, given.output, index)[0])
    alpha = float(given.operation.kwargs.get("alpha", 1))
    if given.operation.kwargs.get("rounding_mode") is not None:
        return None

    def act(x: float) -> Result:
        a, b = (held[0], x) if varies[1] else (x, held[1])
        if name == "rsub":
            a, b = b, a
        return ARITHMETIC[name](a, b if name not in ("add", "sub") else alpha * b)

    return Link(name=CONSTANT_WORDS[name], value=own, element=element, act=act)


def _batch_norm(passage: Passage, given: Arguments, index: Index) -> Link | None:
    """(x − mean) / √(variance + ε) · γ + β with the running statistics."""
    has_flag = given.name != "_native_batch_norm_legit_no_training"
    if has_flag and given.get(5) is not False:
        return None
    epsilon = float(given.get(7 if has_flag else 6))
    channel = index[1]

    def held(at: int, absent: float) -> float:
        value = given.value(at)
        return absent if value < 0 else float(passage.array(value)[channel])

    factor, shift, mean, variance = held(1, 1.0), held(2, 0.0), held(3, 0.0), held(4, 1.0)

    def act(x: float) -> Result:
        formula = f"({x:.6g} - {number(mean)}) / √({variance:.6g} + {epsilon:.6g})"
        formula += f" × {number(factor)} + {number(shift)}"
        return formula, (x - mean) / math.sqrt(variance + epsilon) * factor + shift

    return _link(passage, given, index, "batch norm", act)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _relu(x: float, _: Options) -> Result:
    return f"max(0, {x:.6g})", x if math.isnan(x) else max(0.0, x)


def _leaky(x: float, options: Options) -> Result:
    slope = float(options[0]) if options else 0.01
    return (f"{x:.6g}, not negative", x) if x >= 0 else (f"{slope:.6g} × {number(x)}", slope * x)


def _clamp(x: float, options: Options) -> Result:
    least, greatest = (*options, None, None)[:2]
    inside = x if least is None else max(float(least), x)
    inside = inside if greatest is None else min(float(greatest), inside)
    ends = [
        "-∞" if least is None else f"{least:.6g}",
        "∞" if greatest is None else f"{greatest:.6g}",
    ]
    return f"{x:.6g} kept within {ends[0]} and {ends[1]}", inside


def _hardtanh(x: float, options: Options) -> Result:
    return _clamp(x, options if len(options) == 2 else (-1.0, 1.0))


def _elu(x: float, options: Options) -> Result:
    alpha, scale, inner = ([*options, 1.0, 1.0, 1.0])[:3]
    if x > 0:
        return f"{scale:.6g} × {x:.6g}", scale * x
    formula = f"{scale:.6g} × {alpha:.6g} × (exp({inner:.6g} × {number(x)}) - 1)"
    return formula, scale * alpha * math.expm1(inner * x)


def _celu(x: float, options: Options) -> Result:
    alpha = float(options[0]) if options else 1.0
    if x > 0:
        return f"{x:.6g}, positive", x
    return f"{alpha:.6g} × (exp({x:.6g} / {alpha:.6g}) - 1)", alpha * math.expm1(x / alpha)


def _gelu(x: float, options: Options) -> Result:
    if options[0] == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        formula = f"{x:.6g} / 2 × (1 + tanh({inner:.6g}))"
        return formula, x / 2 * (1 + math.tanh(inner))
    formula = f"{x:.6g} / 2 × (1 + erf({x:.6g} / √2))"
    return formula, x / 2 * (1 + math.erf(x / math.sqrt(2)))


def _soft_plus(x: float, options: Options) -> Result:
    beta = float(options[0]) if options else 1.0
    threshold = float(options[1]) if len(options) > 1 else 20.0
    if x * beta > threshold:
        return f"{x:.6g}, beyond the threshold", x
    return f"log(1 + exp({beta:.6g} × {number(x)})) / {beta:.6g}", _softplus(beta * x) / beta


def _threshold(x: float, options: Options) -> Result:
    limit, below = float(options[0]), float(options[1])
    return (f"{x:.6g} > {limit:.6g}", x) if x > limit else (f"{x:.6g} ≤ {limit:.6g}", below)


def _hard_sigmoid(x: float, _: Options) -> Result:
    return f"{x:.6g} / 6 + 1/2, kept within 0 and 1", min(max(x / 6 + 0.5, 0.0), 1.0)


def _hard_swish(x: float, _: Options) -> Result:
    share = min(max(x / 6 + 0.5, 0.0), 1.0)
    return f"{x:.6g} × {share:.6g}", x * share


def _power(x: float, options: Options) -> Result:
    return f"{number(x)}^{number(float(options[0]))}", _or_nan(lambda: float(x ** options[0]))


def _or_nan(compute: Callable[[], Any]) -> float:
    """What PyTorch gives where Python raises."""
    try:
        result = compute()
    except (ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    return result if isinstance(result, float) else math.nan


def _function(word: str, compute: Callable[[float], float]) -> Callable[[float, Options], Result]:
    return lambda x, _: (f"{word}({x:.6g})", _or_nan(lambda: float(compute(x))))


ACTIVATIONS: Mapping[str, Callable[[float, Options], Result]] = {
    "relu": _relu,
    "relu6": lambda x, _: _clamp(x, (0.0, 6.0)),
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": lambda x, options: _clamp(x, (options[0], None)),
    "clamp_max": lambda x, options: _clamp(x, (None, options[0])),
    "leaky_relu": _leaky,
    "rrelu_with_noise": _leaky,
    "elu": _elu,
    "celu": _celu,
    "gelu": _gelu,
    "softplus": _soft_plus,
    "threshold": _threshold,
    "hardsigmoid": _hard_sigmoid,
    "hardswish": _hard_swish,
    "pow": _power,
    "sigmoid": _function("sigmoid", _sigmoid),
    "silu": lambda x, _: (f"{x:.6g} × sigmoid({x:.6g})", x * _sigmoid(x)),
    "mish": lambda x, _: (
        f"{x:.6g} × tanh(log(1 + exp({x:.6g})))",
        x * math.tanh(_softplus(x)),
    ),
    "log_sigmoid_forward": _function("log sigmoid", lambda x: -_softplus(-x)),
    "tanh": _function("tanh", math.tanh),
    "exp": _function("exp", math.exp),
    "log": _function("log", math.log),
    "sqrt": _function("√", math.sqrt),
    "rsqrt": _function("1/√", lambda x: 1.0 / math.sqrt(x)),
    "abs": _function("abs", abs),
    "neg": lambda x, _: (f"-{number(x)}", -x),
    "sign": lambda x, _: (f"the sign of {x:.6g}", float((x > 0) - (x < 0))),
    "reciprocal": lambda x, _: (f"1 / {number(x)}", _or_nan(lambda: 1.0 / x)),
    "sin": _function("sin", math.sin),
    "cos": _function("cos", math.cos),
    "erf": _function("erf", math.erf),
    "square": lambda x, _: (f"{number(x)}²", x * x),
}
WORDS = {
    "hardtanh": "clamp",
    "clamp_min": "clamp",
    "clamp_max": "clamp",
    "leaky_relu": "leaky relu",
    "rrelu_with_noise": "randomized leaky relu in use",
    "log_sigmoid_forward": "log sigmoid",
    "pow": "power",
    "sqrt": "square root",
    "rsqrt": "inverse square root",
    "abs": "absolute value",
}
ARITHMETIC: Mapping[str, Callable[[float, float], Result]] = {
    "add": lambda a, b: (f"{a:.6g} + {number(b)}", a + b),
    "sub": lambda a, b: (f"{a:.6g} - {number(b)}", a - b),
    "rsub": lambda a, b: (f"{a:.6g} - {number(b)}", a - b),
    "mul": lambda a, b: (f"{a:.6g} × {number(b)}", a * b),
    "div": lambda a, b: (f"{a:.6g} / {number(b)}", _or_nan(lambda: a / b)),
}
CONSTANT_WORDS = {
    "add": "plus a constant",
    "sub": "minus a constant",
    "rsub": "from a constant",
    "mul": "times a constant",
    "div": "divided by a constant",
}
NORMS = frozenset({"native_batch_norm", "native_batch_norm_legit_no_training"})
LINKS = frozenset({*ACTIVATIONS, *ARITHMETIC, *NORMS, "prelu_kernel"})
