"""The record of one forward pass: every tensor, every operation, every call of a module."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Kind = Literal["input", "parameter", "buffer", "constant", "result"]

# Values and operations are never changed. They are not frozen, because Python takes three times as
# long to make what is frozen, and a pass makes thousands.


@dataclass(frozen=True, slots=True)
class Ref:
    """The place of a tensor among the arguments of an operation."""

    value: int


@dataclass(slots=True, unsafe_hash=True)
class Value:
    """A tensor of the pass; one that is overwritten in place counts as a new value.

    Args:
        index: its place in `Trace.values`.
        shape: all axes, the batch included.
        kind: "input", "parameter", "buffer", "constant" (made outside of the pass, or of nothing)
            or "result" of an operation.
        name: of an input or a parameter; empty otherwise.
    """

    index: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: Kind
    name: str = ""


@dataclass(slots=True, unsafe_hash=True)
class Operation:
    """One operation as PyTorch dispatched it.

    Args:
        index: its place in `Trace.operations`, which is the order of execution.
        name: namespace and name without the overload, such as "aten.convolution".
        call: the innermost call of a module in which it ran.
        args: positional arguments; every tensor is a `Ref`, also inside lists.
        kwargs: keyword arguments, likewise.
        inputs: values of all tensors among the arguments, in order.
        outputs: values of all tensors of the result, in order.
    """

    index: int
    name: str
    call: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(slots=True)
class Call:
    """One call of a module.

    Args:
        index: its place in `Trace.calls`; 0 is the network itself.
        path: dotted name of the module in the network; empty for the network itself.
        kind: the module's class.
        parent: the call that it was made in; -1 for the network itself.
        begins: operations of the pass that came before it.
        inputs: values that it was given.
        outputs: values that it gave back, in order.
        children: calls made in it.
        operations: operations run in it, but in no call within it.
        saved_bytes: storage first saved for backward by its operations, by their index.
    """

    index: int
    path: str
    kind: str
    parent: int
    begins: int
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    children: list[int] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)
    saved_bytes: dict[int, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class Trace:
    """One forward pass.

    Args:
        values: every tensor.
        operations: every operation, in the order of execution.
        calls: every call of a module, in the order in which they began.
        inputs: values of the network's inputs.
        outputs: values of the network's outputs.
        peak_bytes: the most that parameters, buffers, inputs and results held at one time; of
            the backward pass too, where there was one.
        saved_bytes: storage of all tensors saved for backward, each once, parameters and
            buffers apart.
    """

    values: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    peak_bytes: int = 0
    saved_bytes: int = 0

    def shape(self, ref: Ref | int) -> tuple[int, ...]:
        """The shape of a value."""
        return self.values[ref.value if isinstance(ref, Ref) else ref].shape
