"""One forward pass of a network, with the values that an explanation needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convolens.analysis.borrow import borrowed
from convolens.analysis.explain_error import explain
from convolens.analysis.field.arguments import plain_name
from convolens.analysis.graph import Call, Operation, Trace
from convolens.analysis.rows import Row, rows_of
from convolens.analysis.trace import Arguments, ForwardError, trace_inference
from convolens.analysis.tracer import META, tensors_in
from convolens.nn.lrn import LocalResponseNorm

OVERWRITE = "convolens.overwrite"
Numbers = NDArray[np.float64]
ResponseNorm = LocalResponseNorm | nn.LocalResponseNorm


@dataclass(kw_only=True)
class Passage:
    """A pass and what is known of it.

    Args:
        net: the network.
        trace: every operation of the pass.
        rows: its layers, as `summarize` names them.
        tensors: values that were kept, by their index in the trace.
    """

    net: nn.Module
    trace: Trace
    rows: tuple[Row, ...]
    tensors: dict[int, Tensor] = field(default_factory=dict)
    _arrays: dict[int, Numbers] = field(default_factory=dict)

    @cached_property
    def producers(self) -> Mapping[int, Operation]:
        """The operation that computed each value."""
        return {v: operation for operation in self.trace.operations for v in operation.outputs}

    @cached_property
    def readers(self) -> Mapping[int, list[Operation]]:
        """The operations that read each value."""
        found: dict[int, list[Operation]] = {}
        for operation in self.trace.operations:
            for value in dict.fromkeys(operation.inputs):
                found.setdefault(value, []).append(operation)
        return found

    @cached_property
    def varying(self) -> frozenset[int]:
        """Values that depend on the picture; all others are weights and constants."""
        found = set(self.trace.inputs)
        for operation in self.trace.operations:
            if not found.isdisjoint(operation.inputs):
                found.update(operation.outputs)
        return frozenset(found)

    @cached_property
    def row_of(self) -> Mapping[int, Row]:
        """The layer of each operation, by the operation's index."""
        return {index: row for row in self.rows for index in row.operations}

    @cached_property
    def response_norms(self) -> Mapping[int, tuple[Call, ResponseNorm]]:
        """The calls of local response normalisations, by the value that each gives."""
        found = {}
        for call in self.trace.calls:
            module = self.module(call.index)
            if isinstance(module, ResponseNorm) and call.outputs and call.inputs:
                found[call.outputs[0]] = (call, module)
        return found

    def module(self, call: int) -> nn.Module:
        """The module that was called."""
        return self.net.get_submodule(self.trace.calls[call].path)

    def shape(self, value: int) -> tuple[int, ...]:
        return self.trace.values[value].shape

    def pick(self, value: int, chosen: Any) -> Numbers:
        """A part of a kept value in float64; weights are too many to be converted whole."""
        return self.tensors[value][chosen].to(torch.float64).numpy()

    def array(self, value: int) -> Numbers:
        """A kept value in float64."""
        if value not in self._arrays:
            self._arrays[value] = self.tensors[value].to(torch.float64).numpy()
        return self._arrays[value]

    def name(self, value: int) -> str:
        """The layer that computed a value, or the name of an input or a parameter."""
        operation = self.producers.get(value)
        if operation is None:
            return self.trace.values[value].name or "a constant"
        if value in self.response_norms:
            return self.response_norms[value][0].path
        row = self.row_of.get(operation.index)
        if row is None:
            return self.trace.calls[operation.call].path or plain_name(operation.name)
        if row.value == value:
            return row.name
        return f"{row.name} ({plain_name(operation.name).strip('_')})"

    def is_one_layer(self, first: Operation, second: Operation) -> bool:
        """Whether two operations are of one layer."""
        row = self.row_of.get(first.index)
        return row is not None and row is self.row_of.get(second.index)

    def units(self, value: int, elements: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions of elements, (n, axes), without the batch where the value has one."""
        index = np.stack(np.unravel_index(elements, self.shape(value) or (1,)), axis=1)
        return index[:, 1:] if value in self.varying and index.shape[1] > 1 else index

    def unit(self, value: int, element: int) -> tuple[int, ...]:
        """The position of one element."""
        return tuple(self.units(value, np.array([element]))[0].tolist())


class DiffersError(Exception):
    """The network did something else than in its pass before."""


def passage_of(net: nn.Module, x: Tensor, *, on_meta: bool) -> Passage:
    """The pass of a network on one picture (1, …), still without any values.

    Args:
        on_meta: without computing anything, which is faster; not every network can do so.
    Raises:
        DiffersError: when the network cannot run without values.
        ShapeError: when it cannot read the picture.
    """
    arguments = Arguments(args=(x.detach().clone(),), kwargs={})
    try:
        trace = trace_inference(net, arguments.to(META) if on_meta else arguments, on_meta=on_meta)
    except ForwardError as error:
        if on_meta:
            raise DiffersError from error
        raise explain(error, net, type(net).__name__) from error.cause
    return Passage(net=net, trace=trace, rows=rows_of(trace)[0])


def keep_values(passage: Passage, x: Tensor, wanted: frozenset[int]) -> None:
    """Runs the network again and keeps the inputs and results of the wanted operations.

    Raises:
        DiffersError: when the network does something else this time.
    """
    keeper = _Keeper(passage.trace, wanted, passage.varying)
    with borrowed(passage.net, _lent, training=False), torch.no_grad():
        argument = x.detach().clone()
        with keeper:
            output = passage.net(argument)
    passage.tensors.update(keeper.tensors)
    # What is written piece by piece at the very end is read by no operation.
    for value, tensor in zip(passage.trace.outputs, tensors_in(output), strict=False):
        passage.tensors.setdefault(value, tensor.detach().cpu())
    passage.tensors.setdefault(passage.trace.inputs[0], x.detach().cpu())


def _lent(tensor: Tensor) -> Tensor:
    """A parameter's values under another name; a buffer, which a pass may change, is copied."""
    return tensor.detach() if isinstance(tensor, nn.Parameter) else tensor.detach().clone()


class _Keeper(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Copies tensors while a pass runs for the second time, because a later operation may write
    over them."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False keeps PyTorch from importing its compiler, which takes 2 s."""
        return False

    def __init__(self, trace: Trace, wanted: frozenset[int], varying: frozenset[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors: dict[int, Tensor] = {}
        self._operations = iter([o for o in trace.operations if o.name != OVERWRITE])
        self._wanted, self._varying = wanted, varying

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operation = next(self._operations, None)
        if operation is None or operation.name != f"{func.namespace}.{func._opname}":
            raise DiffersError
        wanted = operation.index in self._wanted
        if wanted:
            self._keep(operation.inputs, (args, kwargs))
        result = func(*args, **kwargs)
        if wanted:
            self._keep(operation.outputs, result)
        return result

    def _keep(self, values: tuple[int, ...], nested: Any) -> None:
        for value, tensor in zip(values, tensors_in(nested), strict=True):
            if value not in self.tensors:
                # Weights are not written over, and may be large.
                self.tensors[value] = tensor.detach().to("cpu", copy=value in self._varying)
