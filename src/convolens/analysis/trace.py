"""Runs a network once, on meta tensors or for real, and records what happens."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from convolens.analysis.borrow import borrowed
from convolens.analysis.graph import Call, Trace
from convolens.analysis.tracer import META, Tracer, tensors_in

everyone = nn.modules.module


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What a network is called with."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any]

    def to(self, device: torch.device) -> "Arguments":
        """The same with every tensor on a device."""

        def move(item: Any) -> Any:
            if isinstance(item, Tensor):
                return item.to(device)
            if isinstance(item, Mapping):
                return {key: move(value) for key, value in item.items()}
            if isinstance(item, list | tuple):
                return type(item)(move(value) for value in item)
            return item

        return Arguments(args=move(self.args), kwargs=move(dict(self.kwargs)))


class ForwardError(Exception):
    """What a network's own code raised, and the call in which it did.

    Args:
        cause: the exception.
        trace: what was recorded until then.
        call: the innermost call.
    """

    def __init__(self, cause: Exception, trace: Trace, call: Call) -> None:
        super().__init__(str(cause))
        self.cause, self.trace, self.call = cause, trace, call


def trace_inference(net: nn.Module, arguments: Arguments, *, on_meta: bool) -> Trace:
    """One forward pass as in use: in evaluation mode, without gradients.

    Args:
        on_meta: without values and without memory; otherwise with the network's own weights.
    Raises:
        ForwardError: when the network's own code raises.
    """
    tracer = Tracer(on_meta=on_meta)
    with borrowed(net, _to_meta if on_meta else _alias, training=False), torch.no_grad():
        _run(net, arguments, tracer)
    return tracer.trace


def trace_training(
    net: nn.Module, arguments: Arguments, *, on_meta: bool, training: bool = True
) -> Trace:
    """One forward pass and one backward pass as in training.

    The gradient starts from every output of floating point, so that the loss's own tensors, which
    depend on the task, are not in the memory.

    Args:
        on_meta: as in `trace_inference`; with values, the network's buffers are copies.
        training: whether the modules are in training mode.
    Raises:
        ForwardError: when the network's own code raises.
    """
    tracer = Tracer(on_meta=on_meta)
    with (
        borrowed(net, _to_meta if on_meta else _copy, training=training),
        torch.enable_grad(),
    ):
        with saved_tensors_hooks(tracer.save, lambda tensor: tensor):
            output = _run(net, arguments, tracer)
        tracer.recording = False
        ends = [t for t in tensors_in(output) if t.requires_grad]
        if ends:
            with tracer:
                torch.autograd.backward(ends, [torch.empty_like(end) for end in ends])
        tracer.trace.peak_bytes = tracer.held.peak_bytes
    return tracer.trace


def _run(net: nn.Module, arguments: Arguments, tracer: Tracer) -> Any:
    trace = tracer.trace
    buffers = {id(buffer) for buffer in net.buffers()}
    named = [*net.named_parameters(), *net.named_buffers()]
    for name, tensor in named:
        tracer.declare(tensor, "buffer" if id(tensor) in buffers else "parameter", name)
    inputs = list(tensors_in((arguments.args, arguments.kwargs)))
    trace.inputs = tuple(
        tracer.declare(tensor, "input", f"input{number}" if number else "input")
        for number, tensor in enumerate(inputs)
    )
    with _calls(net, tracer), tracer:
        try:
            output = net(*arguments.args, **arguments.kwargs)
        except Exception as error:
            call = tracer.stack[-1] if tracer.stack else Call(0, "", type(net).__name__, -1, 0)
            raise ForwardError(error, trace, call) from error
    trace.outputs = tuple(tracer.value_of(tensor) for tensor in tensors_in(output))
    trace.peak_bytes = tracer.held.peak_bytes
    return output


@contextmanager
def _calls(net: nn.Module, tracer: Tracer) -> Iterator[None]:
    """Follows the calls of the network's modules, without a hook on any of them."""
    paths = {id(module): path for path, module in net.named_modules()}
    calls, stack = tracer.trace.calls, tracer.stack

    def begin(module: nn.Module, args: Any) -> None:
        path = paths.get(id(module))
        if path is None:
            return
        parent = stack[-1] if stack else None
        begins = len(tracer.trace.operations)
        call = Call(len(calls), path, type(module).__name__, parent.index if parent else -1, begins)
        if parent is not None:
            parent.children.append(call.index)
        calls.append(call)
        stack.append(call)
        call.inputs = tuple(tracer.value_of(tensor) for tensor in tensors_in(args))

    def end(module: nn.Module, _: Any, output: Any) -> None:
        if id(module) in paths:
            call = stack.pop()
            call.outputs = tuple(tracer.value_of(tensor) for tensor in tensors_in(output))

    handles = (
        everyone.register_module_forward_pre_hook(begin),
        everyone.register_module_forward_hook(end),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _to_meta(tensor: Tensor) -> Tensor:
    stand_in = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
    return stand_in.requires_grad_(tensor.requires_grad)


def _alias(tensor: Tensor) -> Tensor:
    return tensor.detach()


def _copy(tensor: Tensor) -> Tensor:
    """A parameter's values under another name; a buffer, which a pass may change, is copied."""
    if isinstance(tensor, nn.Parameter):
        return tensor.detach().requires_grad_(tensor.requires_grad)
    return tensor.detach().clone()


def needs_values(error: ForwardError) -> bool:
    """Whether the pass failed because a value was asked for where there are none."""
    text = f"{error.cause}".lower()
    return isinstance(error.cause, NotImplementedError) or "meta" in text or "fake" in text
