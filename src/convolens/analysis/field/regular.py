"""What operations do to the textbook form; None where the result is not regular."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from convolens.analysis.field.arguments import (
    WINDOWED,
    Arguments,
    factors_of,
    paddings_of,
    windows_of,
)
from convolens.analysis.field.form import Axis, Form, joined, widened
from convolens.analysis.field.names import (
    BATCH_NORMS,
    PADDINGS,
    REDUCTIONS,
    RESHAPES,
    SOFTMAXES,
    SPLITS,
    reduced_axes,
)


def _windowed(given: Arguments, form: Form) -> Form | None:
    windows = windows_of(given) or ()
    rank, count = len(form.layout), len(windows)
    channels = rank - count - 1
    is_convolution = given.name == "convolution"
    transposed = is_convolution and given.get(6)
    for axis, window in enumerate(windows, start=rank - count):
        if window.is_single and given.shape(0)[axis] == given.output[axis]:
            continue
        source, padding = form.source(axis), window.padding
        if source is None or (transposed and window.stride > 1):
            return None
        if source < 0:
            # A window over channels, as in local response normalisation.
            if form.mixed and window.stride > 1:
                return None
            form = form.resized(axis, given.output[axis])
            continue
        if transposed:
            padding = window.dilation * (window.kernel - 1) - padding
        line = form.lines[source].window(window.kernel, window.stride, padding, window.dilation)
        form = form.with_line(axis, line, given.output[axis])
    if is_convolution:
        if form.source(channels) != -1:
            return None
        mixed = form.mixed and given.get(8) > 1
        form = replace(form.resized(channels, given.output[channels]), mixed=mixed)
    return form


def _concatenated(given: Arguments, forms: Mapping[int, Form | None]) -> Form | None:
    """The form of all pieces together, which is mixed where they differ."""
    pieces = given.get(0)
    dim = given.get(1, 0) % len(given.output)
    distinct: dict[object, Form] = {}
    read = 0
    for ref in pieces:
        form = forms.get(ref.value)
        if form is not None:
            read += 1
            if form.source(dim) != -1:
                return None
            # Pieces that differ in their number of channels only are alike.
            key = (form.layout[:dim], form.layout[dim + 1 :], form.lines, form.mixed)
            distinct.setdefault(key, form)
    together = joined([form.resized(dim, given.output[dim]) for form in distinct.values()])
    if together is None:
        return None
    differ = len(distinct) > 1 or read < len(pieces)
    return replace(together, mixed=together.mixed or differ)


def _overwritten(given: Arguments, forms: Mapping[int, Form | None]) -> Form | None:
    """The form of a tensor of which some channels were written over, at all positions."""
    shape, inputs = given.output, given.operation.inputs
    known = [form for form in map(forms.get, inputs) if form is not None]
    spatial = [axis for axis in range(len(shape)) if known[0].source(axis) != -1]
    for value in inputs:
        written = given.trace.values[value].shape
        if len(written) != len(shape) or any(written[axis] != shape[axis] for axis in spatial):
            return None
    pieces: list[Form | None] = []
    for form in known:
        for axis in set(range(len(shape))) - set(spatial):
            form = form.resized(axis, shape[axis])
        pieces.append(form)
    together = joined(pieces)
    differ = len(known) < len(inputs) or any(form.lines != known[0].lines for form in known)
    return together and replace(together, mixed=together.mixed or differ)


def _reshaped(given: Arguments, form: Form) -> Form | None:
    """The axes of another shape, out of the factors of these."""
    old, new = given.shape(0), given.output
    if 0 in old:
        return None
    layout: list[Axis] = []
    for before, after in factors_of(old, new):
        rest = [factor for axis in before for factor in form.layout[axis]]
        for axis in after:
            taken: list[tuple[int, int]] = []
            missing = new[axis]
            while missing > 1:
                length, source = rest.pop(0)
                if missing % length == 0:
                    taken.append((length, source))
                    missing //= length
                elif source < 0 and length % missing == 0:
                    taken.append((missing, -1))
                    rest.insert(0, (length // missing, -1))
                    missing = 1
                else:
                    return None
            # An axis of one element belongs where such an axis is asked for.
            if not taken and rest and rest[0][0] == 1:
                taken.append(rest.pop(0))
            layout.append(_tidy(taken))
        if any(source >= 0 for _, source in rest):
            if not after:
                return None
            layout[-1] = _tidy([*layout[-1], *rest])
    return replace(form, layout=tuple(layout))


def _tidy(factors: list[tuple[int, int]]) -> Axis:
    """Without factors of one element that belong to no axis of the input."""
    kept = [factor for factor in factors if factor[0] > 1 or factor[1] >= 0]
    return tuple(kept) or ((1, -1),)


def _permuted(given: Arguments, form: Form) -> Form:
    rank = len(form.layout)
    order = list(range(rank))
    if given.name == "permute":
        order = [axis % rank for axis in given.get(1)]
    else:
        a, b = (0, rank - 1) if given.name == "t" else (given.axis(1), given.axis(2))
        order[a], order[b] = order[b], order[a]
    return replace(form, layout=tuple(form.layout[axis] for axis in order))


def _padded(given: Arguments, form: Form) -> Form | None:
    for axis, before, after in paddings_of(given):
        source = form.source(axis)
        if not before and not after:
            continue
        if source is None:
            return None
        if source < 0:
            form = replace(form.resized(axis, given.output[axis]), mixed=True)
            continue
        line = form.lines[source].window(1, 1, before, 1)
        form = form.with_line(axis, line, given.output[axis])
    return form


def _sliced(given: Arguments, form: Form) -> Form | None:
    axis, cut = given.axis(1), given.cut()
    if len(cut) == given.shape(0)[axis] and cut.step == 1:
        return form
    source = form.source(axis)
    if source is None or (source < 0 and form.mixed):
        return None
    if source < 0:
        return form.resized(axis, len(cut))
    return form.with_line(axis, form.lines[source].window(1, cut.step, -cut.start, 1), len(cut))


def _selected(given: Arguments, form: Form) -> Form | None:
    axis = given.axis(1)
    if form.source(axis) != -1 or (form.mixed and given.shape(0)[axis] > 1):
        return None
    return replace(form, layout=form.layout[:axis] + form.layout[axis + 1 :])


def _split(given: Arguments, form: Form) -> list[Form | None]:
    axis, source = given.axis(2), form.source(given.axis(2))
    if source is None or form.mixed:
        return [None]
    results: list[Form | None] = []
    for first, end in given.pieces():
        piece = form.resized(axis, end - first)
        if source >= 0:
            line = form.lines[source].window(1, 1, -first, 1)
            piece = form.with_line(axis, line, end - first)
        results.append(piece)
    return results


def _reduced(given: Arguments, form: Form) -> Form | None:
    axes = reduced_axes(given)
    if any(form.source(axis) != -1 for axis in axes):
        return None
    keeps = len(given.output) == len(form.layout)
    layout = [
        ((1, -1),) if axis in axes else factors
        for axis, factors in enumerate(form.layout)
        if keeps or axis not in axes
    ]
    return replace(form, layout=tuple(layout))


def _normalized(given: Arguments, form: Form) -> Form | None:
    """Norms and softmax see all along their axes; batch norm in use sees its own place only."""
    rank = len(form.layout)
    if given.name in BATCH_NORMS:
        return None if BATCH_NORMS[given.name](given) else form
    axes = [given.axis(1)] if given.name in SOFTMAXES else range(rank - len(given.get(1)), rank)
    return form if all(form.source(axis) == -1 for axis in axes) else None


def _multiplied(given: Arguments, form: Form) -> Form | None:
    last = len(form.layout) - 1
    return form.resized(last, given.output[-1]) if form.source(last) == -1 else None


def _adapted(given: Arguments, form: Form) -> Form | None:
    """Adaptive pooling is regular where its sizes divide and leave more than one unit."""
    rank = len(form.layout)
    for axis in range(rank - len(given.get(1)), rank):
        before, after, source = given.shape(0)[axis], given.output[axis], form.source(axis)
        if before == after:
            continue
        if source is None or source < 0 or before % after or after == 1:
            return None
        step = before // after
        form = form.with_line(axis, form.lines[source].window(step, step, 0, 1), after)
    return form


def _unshuffled(given: Arguments, form: Form) -> Form | None:
    """Every channel sees one pixel of a square; the form is that of all channels together."""
    step, rank = given.get(1), len(form.layout)
    for axis in (rank - 2, rank - 1):
        source = form.source(axis)
        if source is None or source < 0:
            return None
        line = form.lines[source].window(step, step, 0, 1)
        form = form.with_line(axis, line, given.output[axis])
    return replace(form.resized(rank - 3, given.output[rank - 3]), mixed=True)


def _turned(given: Arguments, form: Form) -> Form | None:
    """Flips and rolls leave the axes of the input alone, or it is not regular."""
    axes = given.axes(2 if given.name == "roll" else 1)
    return form if all(form.source(axis) == -1 for axis in axes) else None


# Operations that read several tensors, each of which may have a form.
JOINING: Mapping[str, Callable[[Arguments, Mapping[int, Form | None]], Form | None]] = {
    "cat": _concatenated,
    "convolens.overwrite": _overwritten,
}
REGULAR: Mapping[str, Callable[[Arguments, Form], Form | list[Form | None] | None]] = {
    **dict.fromkeys(RESHAPES, _reshaped),
    **dict.fromkeys(PADDINGS, _padded),
    **dict.fromkeys(REDUCTIONS, _reduced),
    **dict.fromkeys((*BATCH_NORMS, *SOFTMAXES, "native_layer_norm"), _normalized),
    **dict.fromkeys(("_fused_rms_norm",), _normalized),
    **dict.fromkeys(WINDOWED, _windowed),
    **dict.fromkeys(("permute", "transpose", "t"), _permuted),
    **dict.fromkeys(("mm", "addmm"), _multiplied),
    **dict.fromkeys(SPLITS, _split),
    **dict.fromkeys(("flip", "roll"), _turned),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _adapted),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), _adapted),
    **dict.fromkeys(("expand", "copy", "fill"), lambda given, form: widened(form, given.output)),
    "pixel_unshuffle": _unshuffled,
    "select": _selected,
    "slice": _sliced,
}
