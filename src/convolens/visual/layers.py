"""The layers of a network by name, and what they give for pictures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode

from convolens.analysis.explain_error import explain
from convolens.analysis.field.arguments import plain_name
from convolens.analysis.graph import Trace
from convolens.analysis.rows import Row, rows_of
from convolens.analysis.trace import Arguments, ForwardError, needs_values, trace_inference
from convolens.analysis.tracer import META, tensors_in
from convolens.errors import ConfigError, near_matches
from convolens.visual.asked import asked

everyone = nn.modules.module
# What only summarises a volume, or hands it on: maps before it are as deep and finer.
_ACTIVATIONS = ("relu", "tanh", "elu", "silu", "swish", "sigmoid", "mish")
_SUMMARIES = ("pool", "mean", "sum", "amax", "view", "reshape", "flatten", "upsample")


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of a network for pictures of one size.

    Args:
        trace: one forward pass of one picture.
        rows: the layers in the order of execution, named as in `summarize`.
    """

    trace: Trace
    rows: tuple[Row, ...]

    @cached_property
    def values(self) -> Mapping[str, int]:
        """The value that each layer gives, by name; groups of layers, such as "layer1", too."""
        groups = {call.path: call.outputs[0] for call in self.trace.calls if call.outputs}
        return groups | {row.name: row.value for row in self.rows if row.value >= 0}

    def value(self, name: str) -> int:
        """The value that a layer gives.

        Raises:
            ConfigError: when there is no such layer; near matches are named.
        """
        if name not in self.values:
            known = [row.name for row in self.rows if row.name]
            raise ConfigError(f"the network has no layer {name!r}", near_matches(name, known))
        return self.values[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of what a layer gives for one picture, without the batch."""
        return self.trace.values[self.value(name)].shape[1:]

    @cached_property
    def spatial(self) -> tuple[Row, ...]:
        """The layers that give feature maps (C, H, W) of more than one place."""
        return tuple(r for r in self.rows if len(r.output) == 3 and prod(r.output[1:]) > 1)

    def last_spatial(self) -> str:
        """The last layer with feature maps before they are pooled away or flattened.

        That is where class activation maps are taken. A pooling is passed over, since the maps
        before it are as deep and finer; so is the network's own output, where that is a map.

        Raises:
            ConfigError: when no layer has feature maps.
        """
        needed = _ancestors(self.trace)
        for row in reversed(self.spatial):
            if row.value in self.trace.outputs or row.value not in needed or not row.operations:
                continue
            last = plain_name(self.trace.operations[row.operations[-1]].name)
            if not any(word in last for word in _SUMMARIES):
                return row.name
        raise ConfigError("the network has no layer with feature maps (N, C, H, W)")

    def telling(self) -> list[str]:
        """The first layer with feature maps, one in the middle, and the last before pooling.

        Without feature maps, the layer whose numbers are a picture's embedding.

        Raises:
            ConfigError: when there is neither.
        """
        try:
            last = self.last_spatial()
        except ConfigError:
            return [self.last_features()]
        rows = [row for row in self.spatial if row.operations]
        end = [row.name for row in rows].index(last)
        middle = rows[: end + 1][end // 2 :]
        active = [row for row in middle if is_activation(row)]
        return list(dict.fromkeys((rows[0].name, (active or middle)[0].name, last)))

    def last_features(self) -> str:
        """The layer whose numbers the last layer with weights reads: a picture's embedding.

        Raises:
            ConfigError: when there is none.
        """
        working = [row for row in self.rows if row.operations]
        for last in reversed(working):
            read = {v for o in last.operations for v in self.trace.operations[o].inputs}
            if any(self.trace.values[v].kind in ("parameter", "buffer") for v in read):
                before = [row for row in working if row is not last]
                name = self._nearest(read - {last.value}, before)
                if name:
                    return name
                break
        raise ConfigError("the network has no layer before its last one")

    def _nearest(self, values: set[int], rows: Sequence[Row]) -> str:
        """The last of these rows that gives one of the values, or what such a value is made of."""
        makers = {v: o for o in self.trace.operations for v in o.outputs}
        while values:
            names = [row.name for row in rows if row.value in values]
            if names:
                return names[-1]
            values = {v for value in values if value in makers for v in makers[value].inputs}
        return ""


def is_activation(row: Row) -> bool:
    """Whether a layer is the nonlinearity after which a unit says yes or no."""
    return any(word in row.kind.lower() for word in _ACTIVATIONS)


def _ancestors(trace: Trace) -> set[int]:
    """The values that the network's first output is made of."""
    needed = {*trace.outputs[:1]}
    for operation in reversed(trace.operations):
        if not needed.isdisjoint(operation.outputs):
            needed.update(operation.inputs)
    return needed


def layers_of(net: nn.Module, pictures: Tensor) -> Layers:
    """The layers of a network, from one pass without values where that is possible.

    Args:
        pictures: (N, C, H, W), as the network reads them; the first is enough.
    Raises:
        ShapeError: when the network cannot read them.
    """
    one = pictures[:1].detach()
    try:
        trace = trace_inference(net, Arguments(args=(one.to(META),), kwargs={}), on_meta=True)
    except ForwardError as error:
        if not needs_values(error):
            raise explain(error, net, type(net).__name__) from error.cause
        try:
            trace = trace_inference(net, Arguments(args=(one,), kwargs={}), on_meta=False)
        except ForwardError as real:
            raise explain(real, net, type(net).__name__) from real.cause
    return Layers(trace=trace, rows=rows_of(trace)[0])


@dataclass(frozen=True)
class Reading:
    """What a layer gave in one pass.

    Args:
        value: a copy, (N, …).
        edge: where the pass's gradient by that value is; None where there is none.
    """

    value: Tensor
    edge: GradientEdge | None


def maps_of(net: nn.Module, pictures: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What layers give for pictures, as computed and before anything overwrote it in place.

    Args:
        names: layers as `summarize` names them, or modules.
    Shape: pictures (N, C, H, W) -> (N, …) each
    Raises:
        ConfigError: when the network has no such layer.
    """
    layers = layers_of(net, pictures)
    for name in names:
        layers.value(name)
    with asked(net), torch.no_grad(), watched(net, names) as readings:
        net(pictures.clone())
    return {name: found(readings, name).value for name in names}


def found(readings: Mapping[str, Reading], name: str) -> Reading:
    """The reading of a layer.

    Raises:
        ConfigError: when the pass did not come to it.
    """
    if name not in readings:
        raise ConfigError(f"the network does not call its layer {name!r} on these pictures")
    return readings[name]


@contextmanager
def watched(net: nn.Module, names: Sequence[str]) -> Iterator[Mapping[str, Reading]]:
    """While inside, what layers give in a forward pass is read, in-place or reused or functional.

    Returns: the readings by name, complete when the pass is over.
    """
    watch = _Watch(net, names)
    handles = (
        everyone.register_module_forward_pre_hook(watch.begin),
        everyone.register_module_forward_hook(watch.end),
    )
    try:
        with watch:
            yield watch.readings
    finally:
        watch.settle()
        for handle in handles:
            handle.remove()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts calls and operations under the names that `rows_of` gives them."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False keeps PyTorch from importing its compiler, which takes 2 s."""
        return False

    def __init__(self, net: nn.Module, names: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.readings: dict[str, Reading] = {}
        self._names = frozenset(names)
        self._paths = {id(module): path for path, module in net.named_modules()}
        self._stack: list[str] = []
        self._times: dict[str, int] = {}
        self._pending: tuple[str, Tensor] | None = None
        self._is_reading = False

    def begin(self, module: nn.Module, _: Any) -> None:
        if id(module) in self._paths:
            self._stack.append(self._paths[id(module)])

    def end(self, module: nn.Module, _: Any, output: Any) -> None:
        if id(module) not in self._paths:
            return
        self.settle()
        tensor = next(tensors_in(output), None)
        if tensor is not None and (name := self._wanted(self._stack[-1])):
            self._read(name, tensor)
        self._stack.pop()

    def settle(self) -> None:
        """Reads the last operation's result, which has its place in the graph of gradients now."""
        if self._pending is not None:
            name, tensor = self._pending
            self._pending = None
            self._read(name, tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._is_reading:
            return func(*args, **(kwargs or {}))
        self.settle()
        result = func(*args, **(kwargs or {}))
        if self._stack:
            kind = func._opname.strip("_")
            name = self._wanted(f"{self._stack[-1]}.{kind}".lstrip("."))
            tensor = next(tensors_in(result), None)
            if name and tensor is not None:
                self._pending = (name, tensor)
        return result

    def _wanted(self, name: str) -> str:
        """The name with its number, if it is one that is asked for; else nothing."""
        number = self._times[name] = self._times.get(name, 0) + 1
        full = f"{name}#{number}" if number > 1 else name
        return full if full in self._names and full not in self.readings else ""

    def _read(self, name: str, tensor: Tensor) -> None:
        self._is_reading = True
        try:
            edge = get_gradient_edge(tensor) if tensor.requires_grad else None
            self.readings[name] = Reading(tensor.detach().clone(), edge)
        finally:
            self._is_reading = False
