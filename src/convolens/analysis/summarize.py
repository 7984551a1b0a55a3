"""The analysis of a network: one forward pass without memory, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convolens.analysis.explain_error import explain
from convolens.analysis.graph import Trace
from convolens.analysis.rows import Row, Uncounted, rows_of, with_saved_bytes
from convolens.analysis.trace import (
    Arguments,
    ForwardError,
    needs_values,
    trace_inference,
    trace_training,
)
from convolens.analysis.tracer import META
from convolens.errors import ConfigError, ShapeError

MOST_TEXT = 160  # characters of an exception in a note
Optimizer = Literal["sgd", "momentum", "adam"]
# Copies of the parameters that an optimizer keeps, and tensors it makes while it steps one.
STATES: Mapping[str, tuple[int, int]] = {"sgd": (0, 0), "momentum": (1, 0), "adam": (2, 2)}


class WeightlessError(ConfigError):
    """Values decide what a network does, and it was built without any."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The numbers of the whole network.

    Args:
        params: elements of the parameters, each shared one once.
        trainable_params: those that have a gradient.
        macs: multiply-accumulates of one forward pass of the whole batch.
        flops: floating-point operations likewise, a multiply-accumulate counting two.
        param_bytes: storage of the parameters.
        buffer_bytes: storage of the buffers, such as running statistics.
        gradient_bytes: storage of all gradients.
        optimizer_bytes: storage of the optimizer's state.
        saved_bytes: tensors saved for backward.
        inference_peak_bytes: the most that is alive in one forward pass without gradients.
        training_peak_bytes: the most that is alive in one step of training.
    """

    params: int
    trainable_params: int
    macs: int
    flops: int
    param_bytes: int
    buffer_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    saved_bytes: int
    inference_peak_bytes: int
    training_peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Every operation of one forward pass of a network, with its numbers.

    Args:
        model: what the network is called.
        inputs: shapes of the inputs, with the batch.
        batch: pictures in the pass.
        optimizer: the one that the training's memory is for.
        ran: "meta" without values, or "real" where values decide what the network does.
        rows: the layers in the order of execution.
        totals: the numbers of the whole network.
        uncounted: operations whose FLOPs are not known.
        unused: names of parameters that the pass did not read.
        notes: what a reader must know of how the numbers came about.
        trace: every operation and tensor.
    """

    model: str
    inputs: tuple[tuple[int, ...], ...]
    batch: int
    optimizer: Optimizer
    ran: Literal["meta", "real"]
    rows: tuple[Row, ...]
    totals: Totals
    uncounted: tuple[Uncounted, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]
    trace: Trace

    @cached_property
    def by_name(self) -> Mapping[str, Row]:
        """The rows by name."""
        return {row.name: row for row in self.rows}


def summarize(
    net: nn.Module,
    input_size: Sequence[int] | Sequence[Sequence[int]] | None = None,
    *,
    batch: int = 1,
    inputs: Any = None,
    dtypes: Sequence[torch.dtype] | None = None,
    optimizer: Optimizer = "sgd",
    name: str | None = None,
) -> Graph:
    """Every number of a network: volumes, parameters, MACs, FLOPs and memory.

    The network runs once in use and once in training, on tensors without values, so that nothing
    is computed and no memory is taken; where values decide what it does, it runs for real. It is
    left exactly as it was found.

    Args:
        net: any network, on any device and in any mode.
        input_size: shape of an input without the batch, (3, 224, 224); or one shape for each of
            several inputs.
        batch: N, pictures in the pass.
        inputs: instead of `input_size`, what the network is called with: a tensor, a tuple of
            positional arguments, or a dict of named ones.
        dtypes: type of each input where it is not the network's own type of floating point.
        optimizer: "sgd", "momentum" or "adam", for the memory of training.
        name: what to call the network; by default the name of its class.
    Returns: the numbers, by layer and in total.
    Raises:
        ConfigError: when an argument is out of range.
        ShapeError: when the network cannot read the input.
    Example:
        >>> graph = summarize(nn.Sequential(nn.Conv2d(3, 96, 11, stride=4)), (3, 227, 227))
        >>> graph.rows[0].output, graph.totals.params, graph.totals.macs
        ((96, 55, 55), 34944, 105415200)
    """
    if optimizer not in STATES:
        raise ConfigError(f"optimizer must be one of {', '.join(STATES)}, received {optimizer!r}")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ConfigError(f"batch must be a whole number from 1, received {batch!r}")
    net = getattr(net, "_orig_mod", net)  # what torch.compile was given
    label = name or type(net).__name__
    _check_initialized(net, label)
    arguments = _arguments(net, input_size, batch, inputs, dtypes)
    notes: list[str] = []
    ran: Literal["meta", "real"] = "meta"
    try:
        trace = trace_inference(net, arguments.to(META), on_meta=True)
    except ForwardError as error:
        if not needs_values(error):
            raise explain(error, net, label) from error.cause
        ran = "real"
        notes.append(f"values decide what {label} does, so it ran for real: {_line(error.cause)}")
        trace = _run_for_real(net, arguments, label)
    training = _trace_training(net, arguments, ran, notes)
    rows, uncounted = rows_of(trace)
    if training is not None:
        rows = with_saved_bytes(rows, training)
    return Graph(
        model=label,
        inputs=_input_shapes(net, trace, batch),
        batch=batch,
        optimizer=optimizer,
        ran=ran,
        rows=rows,
        totals=_totals(net, rows, trace, training, optimizer),
        uncounted=uncounted,
        unused=_unused(trace),
        notes=tuple(notes),
        trace=trace,
    )


def _check_initialized(net: nn.Module, label: str) -> None:
    for path, tensor in net.named_parameters():
        if is_lazy(tensor):
            raise ConfigError(
                f"{label} has a lazy layer whose shape is not known yet: {path}",
                "Call the network once on an input, and summarize it then.",
            )


def _run_for_real(net: nn.Module, arguments: Arguments, label: str) -> Trace:
    device = next((t.device for t in (*net.parameters(), *net.buffers())), torch.device("cpu"))
    if device == META:
        raise WeightlessError(
            f"values decide what {label} does, and its weights have none: they are on the meta "
            "device",
            "Build it on the CPU and summarize it there.",
        )
    try:
        return trace_inference(net, arguments.to(device), on_meta=False)
    except ForwardError as error:
        raise explain(error, net, label) from error.cause


def _trace_training(
    net: nn.Module, arguments: Arguments, ran: str, notes: list[str]
) -> Trace | None:
    """The pass for the memory of training; None, with a note, where there is no such pass."""
    on_meta = ran == "meta"
    device = next((t.device for t in net.parameters()), torch.device("cpu"))
    moved = arguments.to(META if on_meta else device)
    reasons = []
    for mode in (True, False):
        try:
            trace = trace_training(net, moved, on_meta=on_meta, training=mode)
        except Exception as error:  # whatever the network's own code raises in this mode
            cause = error.cause if isinstance(error, ForwardError) else error
            reasons.append(_line(cause))
            continue
        if not mode:
            notes.append(f"memory of training is of evaluation mode, for in training: {reasons[0]}")
        return trace
    notes.append(f"memory of training is not known: {reasons[-1]}")
    return None


def _arguments(
    net: nn.Module,
    input_size: Any,
    batch: int,
    inputs: Any,
    dtypes: Sequence[torch.dtype] | None,
) -> Arguments:
    if (input_size is None) == (inputs is None):
        raise ConfigError("give either input_size or inputs")
    if inputs is not None:
        if isinstance(inputs, Mapping):
            return Arguments(kwargs=inputs)
        return Arguments(args=inputs if isinstance(inputs, tuple) else (inputs,), kwargs={})
    several = bool(input_size) and not isinstance(input_size[0], int)
    sizes = [tuple(size) for size in input_size] if several else [tuple(input_size)]
    for size in sizes:
        if any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in size):
            raise ShapeError(f"an input size is whole numbers from 1, received {size}")
    own = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    kinds = list(dtypes) if dtypes is not None else [own] * len(sizes)
    if len(kinds) != len(sizes):
        raise ConfigError(f"{len(sizes)} inputs need as many dtypes, received {len(kinds)}")
    tensors = [
        torch.empty(batch, *size, dtype=kind, device=META)
        for size, kind in zip(sizes, kinds, strict=True)
    ]
    if takes_lists(net):
        return Arguments(args=tuple([list(tensor) for tensor in tensors]), kwargs={})
    return Arguments(args=tuple(tensors), kwargs={})


def _input_shapes(net: nn.Module, trace: Trace, batch: int) -> tuple[tuple[int, ...], ...]:
    shapes = [trace.values[value].shape for value in trace.inputs]
    if takes_lists(net):  # a batch is a list of pictures, each an input by itself
        return tuple([(batch, *shape) for shape in shapes[::batch]])
    return tuple(shapes)


def takes_lists(net: nn.Module) -> bool:
    """Whether a network takes a list of pictures, as torchvision's detectors do."""
    return type(getattr(net, "transform", None)).__name__ == "GeneralizedRCNNTransform"


def _totals(
    net: nn.Module,
    rows: tuple[Row, ...],
    trace: Trace,
    training: Trace | None,
    optimizer: Optimizer,
) -> Totals:
    parameters = list(net.parameters())
    trainable = [p for p in parameters if p.requires_grad]
    gradient_bytes = sum(map(_bytes, trainable))
    copies, temporaries = STATES[optimizer]
    state_bytes = copies * gradient_bytes
    param_bytes, buffer_bytes = sum(map(_bytes, parameters)), sum(map(_bytes, net.buffers()))
    largest = max(map(_bytes, trainable), default=0)
    step_bytes = param_bytes + buffer_bytes + gradient_bytes + temporaries * largest
    passes_bytes = training.peak_bytes if training is not None else 0
    return Totals(
        params=sum(p.numel() for p in parameters),
        trainable_params=sum(p.numel() for p in trainable),
        macs=sum(row.macs for row in rows),
        flops=sum(row.flops for row in rows),
        param_bytes=param_bytes,
        buffer_bytes=buffer_bytes,
        gradient_bytes=gradient_bytes,
        optimizer_bytes=state_bytes,
        saved_bytes=training.saved_bytes if training is not None else 0,
        inference_peak_bytes=trace.peak_bytes,
        training_peak_bytes=max(passes_bytes, step_bytes) + state_bytes,
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.itemsize


def _unused(trace: Trace) -> tuple[str, ...]:
    read = {value for operation in trace.operations for value in operation.inputs}
    return tuple(
        value.name
        for value in trace.values
        if value.kind == "parameter" and value.index not in read
    )


def _line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return text.partition(". ")[0][:MOST_TEXT] or type(error).__name__
