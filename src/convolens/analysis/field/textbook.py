"""The textbook form of receptive fields: size, stride and start, where the network is regular."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convolens.analysis.field.arguments import MISFITS, Arguments, is_pointwise, space_of
from convolens.analysis.field.form import Form, Line, joined, widened
from convolens.analysis.field.names import FILLS, MAKERS
from convolens.analysis.field.regular import JOINING, REGULAR
from convolens.analysis.graph import Trace


@dataclass(frozen=True, slots=True)
class Textbook:
    """The window of input pixels that a unit sees: start + stride·y … start + stride·y + size − 1.

    Source: Araujo, Norris and Sim (2019), Computing receptive fields of convolutional neural
        networks, doi:10.23915/distill.00021.
    Args:
        size: length of the window along each axis [px].
        stride: distance between the windows of neighbouring units [px].
        start: first pixel of unit 0's window; negative where it begins in the padding.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    start: tuple[int, ...]


def textbook_of(
    trace: Trace, source: int = 0, *, axes: Sequence[int] | None = None
) -> Mapping[int, Textbook]:
    """The textbook form of every value that has one.

    A value has one where a single path leads to it, or branches whose strides agree; the window
    then covers all branches. Whatever mixes all positions, flips or interpolates has none.

    Args:
        trace: one forward pass.
        source: which of the network's inputs is looked at.
        axes: the axes of the input that are its space; by default all but batch and channels.
    Returns: the forms by value.
    Example:
        >>> from torch import nn
        >>> from convolens.analysis.summarize import summarize
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2))
        >>> graph = summarize(net, (3, 32, 32))
        >>> textbook_of(graph.trace)[graph.rows[1].value]
        Textbook(size=(4, 4), stride=(2, 2), start=(-1, -1))
    """
    value = trace.inputs[source]
    shape = trace.values[value].shape
    space = tuple(axes) if axes is not None else space_of(shape)
    layout = tuple([((n, space.index(a) if a in space else -1),) for a, n in enumerate(shape)])
    # A value that is not here reads nothing of the input; None stands for "not regular".
    forms: dict[int, Form | None] = {value: Form(layout, tuple([Line(1, 1, 0) for _ in space]))}
    for operation in trace.operations:
        if not operation.outputs or forms.keys().isdisjoint(operation.inputs):
            continue
        given = Arguments(operation, trace)
        if given.name in MAKERS or (given.name in FILLS and given.value(1) not in forms):
            continue
        try:
            results = _forms_after(given, forms)
        except MISFITS:
            results = [None]
        for number, output in enumerate(operation.outputs):
            forms[output] = results[min(number, len(results) - 1)]
    return {
        value: Textbook(
            size=tuple([line.size for line in form.lines]),
            stride=tuple([line.stride for line in form.lines]),
            start=tuple([line.start for line in form.lines]),
        )
        for value, form in forms.items()
        if form is not None and _is_visible(form)
    }


def _is_visible(form: Form) -> bool:
    """Whether every axis of the input is an axis of the value, alone."""
    return sum(form.source(axis) not in (-1, None) for axis in range(len(form.layout))) == len(
        form.lines
    )


def _forms_after(given: Arguments, forms: Mapping[int, Form | None]) -> list[Form | None]:
    inputs = [value for value in given.operation.inputs if value in forms]
    known = [form for form in map(forms.get, inputs) if form is not None]
    if len(known) < len(inputs):
        return [None]
    if given.name in JOINING:
        return [JOINING[given.name](given, forms)]
    rule = REGULAR.get(given.name)
    if rule is not None:
        # A rule follows one tensor; what else the operation reads must be constant.
        followed = given.value(1 if given.name == "addmm" or given.name in FILLS else 0)
        alone = inputs == [followed] or given.name in FILLS
        form = forms.get(followed)
        result = rule(given, form) if alone and form is not None else None
        return result if isinstance(result, list) else [result]
    if is_pointwise(given.name):
        return [joined([widened(form, given.output) for form in known])]
    return [None]
