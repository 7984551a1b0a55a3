"""Runs a network once, on meta tensors or for real, and records what happens."""

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from convolens.analysis.borrow import borrowed
from convolens.analysis.graph import Call, Operation, Trace
from convolens.analysis.tracer import META, Tracer, tensors_in

ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
everyone = nn.modules.module


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What a network is called with."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any]

    def to(self, device: torch.device) -> "Arguments":
        """Copies of the same on a device; tensors without values get some there."""

        def move(item: Any) -> Any:
            if isinstance(item, Tensor):
                if device == META:
                    return _without_values(item)
                return _with_values(item, device) if item.is_meta else item.to(device, copy=True)
            if isinstance(item, Mapping):
                return {key: move(value) for key, value in item.items()}
            if isinstance(item, tuple) and hasattr(item, "_fields"):
                return type(item)(*map(move, item))
            if isinstance(item, list | tuple):
                return type(item)(move(value) for value in item)
            return item

        with torch.inference_mode(False):
            return Arguments(args=move(self.args), kwargs=move(dict(self.kwargs)))


def _with_values(tensor: Tensor, device: torch.device) -> Tensor:
    """Uniform numbers in 0…1, always the same ones, as pictures have; zeros of other types."""
    if not tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    source = torch.Generator(device).manual_seed(0)
    return torch.rand(tensor.shape, generator=source, device=device).to(tensor.dtype)


class ForwardError(Exception):
    """What a network's own code raised, and the call in which it did.

    Args:
        cause: the exception.
        trace: what was recorded until then.
        call: the innermost call.
        failed: the operation that raised, without results; None where none did.
    """

    def __init__(
        self, cause: Exception, trace: Trace, call: Call, failed: Operation | None
    ) -> None:
        super().__init__(str(cause))
        self.cause, self.trace, self.call, self.failed = cause, trace, call, failed


def trace_inference(net: nn.Module, arguments: Arguments, *, on_meta: bool) -> Trace:
    """One forward pass as in use: in evaluation mode, without gradients.

    Args:
        on_meta: without values and without memory; otherwise with copies of the weights.
    Raises:
        ForwardError: when the network's own code raises.
    """
    tracer = Tracer(on_meta=on_meta)
    substitute = _without_values if on_meta else _copy
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        _quietly(on_meta),
        borrowed(net, substitute, training=False),
    ):
        _run(net, arguments, tracer)
        tracer.end()
    return tracer.trace


def trace_training(
    net: nn.Module, arguments: Arguments, *, on_meta: bool, training: bool = True
) -> Trace:
    """One forward pass and one backward pass as in training.

    The gradient starts from every output of floating point, so that the loss's own tensors, which
    depend on the task, are not in the memory.

    Args:
        on_meta: as in `trace_inference`.
        training: whether the modules are in training mode.
    Raises:
        ForwardError: when the network's own code raises.
    """
    tracer = Tracer(on_meta=on_meta)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        _quietly(on_meta),
        borrowed(net, _without_values if on_meta else _copy, training=training),
    ):
        with saved_tensors_hooks(tracer.save, lambda tensor: tensor):
            output = _run(net, arguments, tracer)
        tracer.recording = False
        ends = [t for t in tensors_in(output) if t.requires_grad]
        if ends:
            with tracer:
                _End.apply(*ends).backward()
        tracer.end()
    return tracer.trace


def _run(net: nn.Module, arguments: Arguments, tracer: Tracer) -> Any:
    trace = tracer.trace
    modules = dict(net.named_modules())
    for path, module in modules.items():
        prefix = f"{path}." if path else ""
        for key, tensor in module._parameters.items():
            if tensor is not None:
                tracer.declare(tensor, "parameter", prefix + key)
        for key, tensor in module._buffers.items():
            if tensor is not None:
                tracer.declare(tensor, "buffer", prefix + key)
    inputs = list(tensors_in((arguments.args, arguments.kwargs)))
    trace.inputs = tuple(
        tracer.declare(tensor, "input", f"input{number}" if number else "input")
        for number, tensor in enumerate(inputs)
    )
    with _calls(modules, tracer), _attention_as_on_cpu(), tracer:
        try:
            output = net(*arguments.args, **arguments.kwargs)
        except Exception as error:
            call = tracer.stack[-1] if tracer.stack else Call(0, "", type(net).__name__, -1, 0)
            raise ForwardError(error, trace, call, tracer.failed) from error
    trace.outputs = tuple(tracer.value_of(tensor) for tensor in tensors_in(output))
    return output


@contextmanager
def _attention_as_on_cpu() -> Iterator[None]:
    """Makes attention without values the operation that it is on the CPU, which keeps no scores.

    And keeps whole transformer layers on real tensors from one fused operation, of which nothing
    can be told.
    """
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    own = F.scaled_dot_product_attention
    torch.backends.mha.set_fastpath_enabled(False)
    F.scaled_dot_product_attention = partial(_attention, own)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own
        torch.backends.mha.set_fastpath_enabled(was_enabled)


def _attention(own: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    given = dict(zip(ATTENTION, args, strict=False)) | kwargs
    heads, mask = [given.get(name) for name in ATTENTION[:3]], given.get("attn_mask")
    if not (
        all(isinstance(t, Tensor) and t.is_meta and t.dim() == 4 for t in heads)
        and len({(t.shape[:2], t.shape[3], t.dtype) for t in heads if t is not None}) == 1
        and not given.get("dropout_p")
        and not given.get("enable_gqa")
        and (mask is None or (mask.is_floating_point() and not mask.requires_grad))
    ):
        return own(*args, **kwargs)
    is_causal, scale = bool(given.get("is_causal")), given.get("scale")
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    result: Tensor = fused(*heads, 0.0, is_causal, attn_mask=mask, scale=scale)[0]
    return result


@contextmanager
def _quietly(on_meta: bool) -> Iterator[None]:
    """Leaves out warnings, for the pass is not the user's, and on meta the search for cycles.

    Python's collector would take as long as a pass without values does.
    """
    was_enabled = gc.isenabled()
    if on_meta:
        gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _calls(modules: Mapping[str, nn.Module], tracer: Tracer) -> Iterator[None]:
    """Follows the calls of the network's modules, without a hook on any of them."""
    paths = {id(module): path for path, module in modules.items()}
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
        path = paths.get(id(module))
        if path is not None:
            while stack[-1].path != path:  # a call within it that raised, which the network caught
                stack.pop()
            stack[-1].outputs = tuple(tracer.value_of(tensor) for tensor in tensors_in(output))
            stack.pop()

    handles = (
        everyone.register_module_forward_pre_hook(begin),
        everyone.register_module_forward_hook(end),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _without_values(tensor: Tensor) -> Tensor:
    stand_in = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
    return stand_in.requires_grad_(tensor.requires_grad)


class _End(torch.autograd.Function):
    """A number that depends on all outputs, without operations of its own.

    PyTorch's own way to begin with the outputs' gradients imports for a second.
    """

    @staticmethod
    def forward(context: Any, *ends: Tensor) -> Tensor:
        context.forms = [(end.shape, end.stride(), end.dtype, end.device) for end in ends]
        return torch.empty((), device=ends[0].device)

    @staticmethod
    def backward(context: Any, *_: Tensor) -> Any:
        return tuple(
            torch.empty_strided(shape, stride, dtype=dtype, device=device)
            for shape, stride, dtype, device in context.forms
        )


def _copy(tensor: Tensor) -> Tensor:
    """The same values elsewhere, for a pass may change them."""
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def needs_values(error: ForwardError) -> bool:
    """Whether the pass failed because a value was asked for where there are none."""
    text = f"{error.cause}".lower()
    return isinstance(error.cause, NotImplementedError) or "meta" in text or "fake" in text
