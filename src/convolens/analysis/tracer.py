"""Records operations where PyTorch dispatches them, with the memory that tensors hold meanwhile."""

import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convolens.analysis.graph import Call, Kind, Operation, Ref, Trace, Value
from convolens.analysis.meta import RESULTS
from convolens.analysis.workspace import WORKSPACES

META = torch.device("meta")
DETACH = torch.ops.aten.detach.default
PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout})


class Held:
    """Bytes of storage that are alive, and the most that ever were."""

    def __init__(self) -> None:
        self.bytes = 0
        self.peak_bytes = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def add(self, tensor: Tensor) -> None:
        """Counts the tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._known
        if key in known:
            return
        size = storage.nbytes()

        def free(_: Any) -> None:
            del known[key]
            self.bytes -= size

        known[key] = weakref.ref(storage, free)
        self.bytes += size
        if self.bytes > self.peak_bytes:
            self.peak_bytes = self.bytes

    def use(self, size: int) -> None:
        """Counts bytes that are taken for a moment."""
        if self.bytes + size > self.peak_bytes:
            self.peak_bytes = self.bytes + size

    def end(self) -> None:
        """Watches no longer: the thousands of tensors that are freed after a pass do not count."""
        self._known.clear()


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that run while it is entered.

    Args:
        on_meta: whether the pass is without values: constants of a network that live elsewhere
            are then taken to the meta device where they meet other tensors.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False keeps PyTorch from importing its compiler, which takes 2 s."""
        return False

    def __init__(self, *, on_meta: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace()
        self.stack: list[Call] = []
        self.held = Held()
        self.recording = True
        self.failed: Operation | None = None  # the one that raised last
        self._on_meta = on_meta
        self._fixed: dict[int, int] = {}  # id of a tensor that outlives the pass -> its value
        self._kept: list[Tensor] = []
        self._saved: dict[int, Any] = {}
        self._own_storages: set[int] = set()
        self._viewed: set[int] = set()  # storages of which there are views
        self._overwritten: dict[int, list[int]] = {}  # storage -> values written into it or a view

    # --- what the pass starts from ---

    def declare(self, tensor: Tensor, kind: Kind, name: str) -> int:
        """Makes a tensor that exists before the pass a value."""
        if id(tensor) not in self._fixed:
            self._fixed[id(tensor)] = self._new_value(tensor, kind, name)
            self._kept.append(tensor)
            self.held.add(tensor)
            if kind in ("parameter", "buffer"):
                self._own_storages.add(tensor.untyped_storage()._cdata)
        return self._fixed[id(tensor)]

    def save(self, tensor: Tensor) -> Tensor:
        """The hook for tensors that are saved for backward: counts each storage once."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._own_storages or key in self._saved or not self.recording:
            return tensor
        self._saved[key] = weakref.ref(storage, lambda _: self._saved.pop(key, None))
        size = storage.nbytes()
        # An operation saves its arguments before it is dispatched, and its results after that.
        call, operations = self.stack[-1], self.trace.operations
        by = len(operations)
        value = getattr(tensor, "_convolens_value", -1)
        if (
            call.operations
            and operations[-1].call == call.index
            and value in operations[-1].outputs
        ):
            by -= 1
        call.saved_bytes[by] = call.saved_bytes.get(by, 0) + size
        self.trace.saved_bytes += size
        return tensor

    def value_of(self, tensor: Tensor) -> int:
        """The value that a tensor is now."""
        value: int | None = self._fixed.get(id(tensor))
        if value is None:
            value = getattr(tensor, "_convolens_value", None)
        if value is None:
            value = self._new_value(tensor, "constant", "")
            tensor._convolens_value = value  # type: ignore[attr-defined]
        if self._overwritten:
            value = self._as_overwritten(tensor, value)
        return value

    def end(self) -> None:
        """Makes what was found the trace's, and lets go of what was watched."""
        self.trace.peak_bytes = self.held.peak_bytes
        self.held.end()
        self._saved.clear()

    # --- while the pass runs ---

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is DETACH:  # autograd's own, for every tensor that is saved
            result = func(*args)
            value = getattr(args[0], "_convolens_value", None)
            if value is None:
                value = self._fixed.get(id(args[0]))
            if value is not None:
                result._convolens_value = value
            return result
        kwargs = kwargs or {}
        refs = self._refs(args, kwargs) if self.recording else None
        rule = RESULTS.get(func)
        try:
            result = rule(*args, **kwargs) if rule is not None else NotImplemented
            if result is NotImplemented:
                result = func(*args, **kwargs)
        except Exception as error:
            mixed = self._on_meta and isinstance(error, RuntimeError) and _is_mixed(args, kwargs)
            if not mixed:
                self._fail(func, refs)
                raise
            moved = _on_meta(kwargs.values())
            result = func(*_on_meta(args), **dict(zip(kwargs, moved, strict=True)))
        results = (result,) if type(result) is Tensor else tuple(tensors_in(result))
        for tensor in results:
            self.held.add(tensor)
        workspace = WORKSPACES.get(func)
        if workspace is not None:
            self.held.use(workspace(args, results))
        if refs is not None:
            self._record(func, args, refs, results)
        return result

    def _refs(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any], tuple[int, ...]]:
        inputs: list[int] = []

        def replace(argument: Any) -> Any:
            kind = type(argument)
            if kind in PLAIN:
                return argument
            if kind is Tensor or isinstance(argument, Tensor):
                inputs.append(self.value_of(argument))
                return Ref(inputs[-1])
            if kind is list or kind is tuple:
                return tuple([replace(item) for item in argument])
            return argument

        positional = tuple([replace(argument) for argument in args])
        named = {key: replace(argument) for key, argument in kwargs.items()} if kwargs else {}
        return positional, named, tuple(inputs)

    def _fail(self, func: Any, refs: Any) -> None:
        if refs is not None and self.stack:
            args, kwargs, inputs = refs
            call = self.stack[-1].index
            self.failed = Operation(-1, _name(func), call, args, kwargs, inputs, ())

    def _record(
        self, func: Any, args: tuple[Any, ...], refs: Any, results: tuple[Tensor, ...]
    ) -> None:
        outputs = []
        for tensor in results:
            value = self._new_value(tensor, "result", "")
            outputs.append(value)
            self._name(tensor, value)
            if args and tensor is args[0]:  # written in place
                self._note_write(tensor, value)
            elif func.is_view:
                self._viewed.add(tensor.untyped_storage()._cdata)
        positional, named, inputs = refs
        name = _name(func)
        if name == "aten._convolution":  # a traced network's, with switches of the library's behind
            name, positional = "aten.convolution", positional[:9]
        self._append(name, positional, named, inputs, tuple(outputs))

    def _append(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
    ) -> None:
        call, operations = self.stack[-1], self.trace.operations
        call.operations.append(len(operations))
        operations.append(
            Operation(len(operations), name, call.index, args, kwargs, inputs, outputs)
        )

    def _new_value(self, tensor: Tensor, kind: Kind, name: str) -> int:
        values = self.trace.values
        values.append(Value(len(values), tuple(tensor.shape), tensor.dtype, kind, name))
        return len(values) - 1

    def _as_overwritten(self, tensor: Tensor, value: int) -> int:
        """A new value where a part of the tensor's storage was written after it was read."""
        writes = self._overwritten.get(tensor.untyped_storage()._cdata, ())
        later = tuple(write for write in writes if write > value)
        if not later:
            return value
        joined = self._new_value(tensor, "result", "")
        inputs = (value, *later)
        self._append("convolens.overwrite", tuple(map(Ref, inputs)), {}, inputs, (joined,))
        self._name(tensor, joined)
        return joined

    def _note_write(self, tensor: Tensor, value: int) -> None:
        """Remembers a write that other tensors of the same storage see."""
        storage = tensor.untyped_storage()
        is_part = tensor.numel() * tensor.itemsize < storage.nbytes()
        if is_part or tensor._is_view() or storage._cdata in self._viewed:
            self._overwritten.setdefault(storage._cdata, []).append(value)

    def _name(self, tensor: Tensor, value: int) -> None:
        if id(tensor) in self._fixed:
            self._fixed[id(tensor)] = value
        else:
            tensor._convolens_value = value  # type: ignore[attr-defined]


@cache
def _name(func: Any) -> str:
    return f"{func.namespace}.{func._opname}"


def tensors_in(result: Any) -> Iterator[Tensor]:
    """The tensors of a nested result, in order."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for item in result:
            yield from tensors_in(item)
    elif isinstance(result, Mapping):
        for item in result.values():
            yield from tensors_in(item)
    elif hasattr(result, "__dataclass_fields__"):
        for key in result.__dataclass_fields__:
            yield from tensors_in(getattr(result, key))


def _is_mixed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether some tensors are on the meta device and others are not."""
    return len({t.device == META for t in tensors_in((*args, *kwargs.values()))}) == 2


def _on_meta(items: Iterable[Any]) -> list[Any]:
    """The items with every tensor on the meta device."""
    moved: list[Any] = []
    for item in items:
        if isinstance(item, Tensor):
            moved.append(item if item.device == META else _shadow(item))
        else:
            moved.append(_on_meta(item) if isinstance(item, list | tuple) else item)
    return moved


def _shadow(tensor: Tensor) -> Tensor:
    """A tensor of the same form on the meta device; a plain number's rank-0 tensor is left."""
    if tensor.dim() == 0:
        return tensor
    shadow = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
    value = getattr(tensor, "_convolens_value", None)
    if value is not None:
        shadow._convolens_value = value  # type: ignore[attr-defined]
    return shadow
