"""Which tensors make up the bytes that a layer saves for backward."""

from itertools import combinations
from math import prod

from convolens.analysis.graph import Trace
from convolens.analysis.rows import Row
from convolens.analysis.table.window import Step
from convolens.analysis.table.work import product

# Their derivative is a function of the result, so that the input need not be kept.
OF_OUTPUT = frozenset({"relu", "sigmoid", "tanh", "_softmax", "_log_softmax", "exp", "sqrt"})
MOST_PARTS = 3
MOST_CANDIDATES = 12

Part = tuple[str, tuple[int, ...], int]


def saved_step(row: Row, trace: Trace) -> Step | None:
    """The saved bytes as sides of tensors times bytes of a number; None where nothing is saved.

    A tensor is saved once, by the layer that first needs it, so that a layer whose input is
    another's saved output saves nothing.
    """
    if not row.saved_bytes:
        return None
    parts = [(part, prod(part[1]) * part[2]) for part in _parts(row, trace)[:MOST_CANDIDATES]]
    for count in range(1, MOST_PARTS + 1):
        for chosen in combinations(parts, count):
            if sum(size for _, size in chosen) == row.saved_bytes:
                return Step(
                    what=f"saved bytes, {' and '.join(name for (name, _, _), _ in chosen)}",
                    arithmetic=" + ".join(
                        product((*shape, size)) for (_, shape, size), _ in chosen
                    ),
                    value=f"{row.saved_bytes:,}",
                )
    return Step(what="saved bytes", arithmetic="", value=f"{row.saved_bytes:,}")


def _name(kind: str, number: int) -> str:
    """What the result of this number is called in a sentence."""
    if number == 0:
        return "its output"
    if "max_pool" in kind:
        return "the places of the maxima"
    if kind.endswith("_norm"):
        return "means" if number == 1 else "deviations"
    return f"result {number + 1}"


def _parts(row: Row, trace: Trace) -> list[Part]:
    """Tensors that the row's operations may save, the likeliest first."""
    inputs: dict[int, Part] = {}
    outputs: dict[int, Part] = {}
    parts: list[Part] = []
    results = {value for index in row.operations for value in trace.operations[index].outputs}
    of_output = False
    for operation in (trace.operations[index] for index in row.operations):
        kind = operation.name.partition(".")[2].rstrip("_")
        of_output |= kind in OF_OUTPUT
        for value in operation.inputs:
            given = trace.values[value]
            if given.kind in ("input", "result") and value not in results:
                inputs[value] = ("its input", given.shape, given.dtype.itemsize)
        for number, value in enumerate(operation.outputs):
            made = trace.values[value]
            outputs[value] = (_name(kind, number), made.shape, made.dtype.itemsize)
        if "batch_norm" in kind:
            channels = trace.shape(operation.inputs[0])[1]
            parts.append(("means and deviations", (2, channels), 4))
    if row.value >= 0 and "Dropout" in row.kind:
        shape = trace.shape(row.value)
        return [("its mask", shape, 4), ("its mask", shape, 1), ("its mask", shape, 2)]
    both = (outputs, inputs) if of_output else (inputs, outputs)
    return [*both[0].values(), *both[1].values(), *parts]
