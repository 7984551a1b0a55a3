"""The arithmetic of parameters, MACs and FLOPs of an operation, written out."""

from collections.abc import Sequence
from math import prod

from convolens.analysis.counting import PER_INPUT, PER_OUTPUT, cost_of
from convolens.analysis.graph import Operation, Trace
from convolens.analysis.table.window import number, windows_of


def product(factors: Sequence[int]) -> str:
    """Factors of a product; those of 1 are left out where others remain.

    Example:
        >>> product((11, 11, 3, 96)), product((1, 4096)), product(())
        ('11·11·3·96', '4096', '1')
    """
    shown = [factor for factor in factors if factor != 1]
    return "·".join(map(number, shown)) or "1"


def params_text(value: int, trace: Trace, groups: int = 1) -> str:
    """The elements of a parameter; of a kernel in the order K·K·C_in·C_out."""
    shape = trace.shape(value)
    if len(shape) < 3:
        return product(shape[::-1])
    kernel = product(shape[2:]) if prod(shape[2:]) > 1 else "1·1"
    inputs = f"({number(shape[1] * groups)}/{groups})" if groups > 1 else number(shape[1])
    return f"{kernel}·{inputs}·{number(shape[0])}"


def macs_text(operation: Operation, trace: Trace) -> str:
    """The multiply-accumulates of a convolution or matrix product; empty for another."""
    kind = operation.name.partition(".")[2]
    shapes = [trace.shape(value) for value in operation.inputs]
    out = trace.shape(operation.outputs[0]) if operation.outputs else ()
    if kind == "convolution":
        x, weight = shapes[:2]
        transposed, groups = bool(operation.args[6]), int(operation.args[8])
        batch = [x[0]] if x[0] > 1 else []
        kernel = product(weight[2:]) if prod(weight[2:]) > 1 else "1·1"
        inner = f"({number(weight[1] * groups)}/{groups})" if groups > 1 else number(weight[1])
        places = (*x[1:],) if transposed else (*out[1:],)
        first = f"{product(batch)}·" if batch else ""
        return f"{first}{kernel}·{inner}·{'·'.join(map(number, places))}"
    if kind in ("mm", "bmm", "matmul", "mv", "dot", "linear"):
        return product((*out[:-1], shapes[0][-1], *out[-1:]))
    if kind in ("addmm", "addmv", "addbmm", "baddbmm"):
        return product((*out[:-1], shapes[1][-1], *out[-1:]))
    if kind.startswith("_scaled_dot_product"):
        q, k, v = shapes[:3]
        return f"{product((*q[:-1], k[-2]))}·({q[-1]} + {v[-1]})"
    return ""


def flops_text(operation: Operation, trace: Trace) -> str:
    """The floating-point operations of an operation; the number itself where no rule is short."""
    cost = cost_of(operation, trace)
    if cost is None or not cost.flops:
        return ""
    kind = operation.name.partition(".")[2].rstrip("_")
    out = trace.shape(operation.outputs[0])
    outputs = prod(out)
    windows = windows_of(operation, trace)
    if cost.macs:
        rest = cost.flops - 2 * cost.macs
        sums = f" + {product(out)}" if rest == outputs else f" + {number(rest)}" if rest else ""
        return f"2·{cost.macs:,}{sums}"
    if windows:
        kernel = product([w.kernel for w in windows])
        is_max = kind.startswith("max")
        return f"{product(out)}·({kernel} − 1)" if is_max else f"{product(out)}·{kernel}"
    x = trace.shape(operation.inputs[0])
    reads = prod(x)
    if kind in PER_INPUT and cost.flops == PER_INPUT[kind] * reads:
        return _times(PER_INPUT[kind], x)
    if kind in PER_OUTPUT or cost.flops % outputs == 0:
        return _times(cost.flops // outputs, out)
    if cost.flops == reads - outputs:
        return f"{product(x)} − {product(out)}"
    return number(cost.flops)


def _times(count: int, shape: Sequence[int]) -> str:
    return product((count, *shape))
