"""Activations as formulas, against PyTorch in float64, over all their pieces."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from convolens.analysis.explanation.links import ACTIVATIONS, ARITHMETIC

CALLS = {
    "relu": (F.relu, ()),
    "relu6": (F.relu6, ()),
    "hardtanh": (F.hardtanh, ()),
    "clamp": (lambda x: x.clamp(-1.5, 0.5), (-1.5, 0.5)),
    "clamp_min": (lambda x: x.clamp_min(0.3), (0.3,)),
    "clamp_max": (lambda x: x.clamp_max(0.3), (0.3,)),
    "leaky_relu": (F.leaky_relu, ()),
    "elu": (lambda x: F.elu(x, 0.4), (0.4,)),
    "celu": (lambda x: F.celu(x, 0.4), (0.4,)),
    "gelu": (F.gelu, ("none",)),
    "softplus": (lambda x: F.softplus(x, 3.0, 5.0), (3.0, 5.0)),
    "threshold": (lambda x: F.threshold(x, 0.2, -9.0), (0.2, -9.0)),
    "hardsigmoid": (F.hardsigmoid, ()),
    "hardswish": (F.hardswish, ()),
    "sigmoid": (torch.sigmoid, ()),
    "silu": (F.silu, ()),
    "mish": (F.mish, ()),
    "log_sigmoid_forward": (F.logsigmoid, ()),
    "tanh": (torch.tanh, ()),
    "exp": (torch.exp, ()),
    "abs": (torch.abs, ()),
    "neg": (torch.neg, ()),
    "sign": (torch.sign, ()),
    "sin": (torch.sin, ()),
    "cos": (torch.cos, ()),
    "erf": (torch.erf, ()),
    "square": (torch.square, ()),
    "reciprocal": (torch.reciprocal, ()),
    "log": (torch.log, ()),
    "sqrt": (torch.sqrt, ()),
    "rsqrt": (torch.rsqrt, ()),
    "pow": (lambda x: x.pow(3), (3,)),
}


@pytest.mark.parametrize("name", CALLS)
@given(x=st.floats(-30, 30, allow_subnormal=False))
def test_a_function_is_pytorchs(name: str, x: float) -> None:
    call, options = CALLS[name]
    expected = float(call(torch.tensor(x, dtype=torch.float64)))  # type: ignore[no-untyped-call]
    if not math.isfinite(expected) or (x == 0 and name in ("log", "rsqrt", "reciprocal")):
        return
    _, found = ACTIVATIONS[name](x, options)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_every_function_with_a_rule_is_tested() -> None:
    assert CALLS.keys() | {"rrelu_with_noise"} == ACTIVATIONS.keys()


def test_formulas_with_their_numbers() -> None:
    assert ACTIVATIONS["relu"](-0.5, ()) == ("max(0, -0.5)", 0.0)
    assert ACTIVATIONS["leaky_relu"](-0.5, (0.2,)) == ("0.2 × (-0.5)", -0.1)
    assert ACTIVATIONS["hardtanh"](7.0, (0.0, 6.0)) == ("7 kept within 0 and 6", 6.0)
    assert ARITHMETIC["sub"](1.0, -2.0) == ("1 - (-2)", 3.0)
    assert ARITHMETIC["div"](1.0, 0.0)[1] != ARITHMETIC["div"](1.0, 0.0)[1]  # NaN, no exception
