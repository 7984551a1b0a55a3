"""Where the axes of the input are in a tensor, and what its elements see along each of them."""

from dataclasses import dataclass, replace
from math import prod


@dataclass(frozen=True, slots=True)
class Line:
    """Size, stride and start along one axis of the input."""

    size: int
    stride: int
    start: int

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> "Line":
        return Line(
            self.size + dilation * (kernel - 1) * self.stride,
            self.stride * stride,
            self.start - padding * self.stride,
        )


# The elements of one axis of a value: factors (length, axis of the input or −1), slowest first.
Axis = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Form:
    """Where the axes of the input are in a value, and what its elements see along each.

    `mixed` says that the lines cover all channels together, and single ones may see less.
    """

    layout: tuple[Axis, ...]
    lines: tuple[Line, ...]
    mixed: bool = False

    def source(self, axis: int) -> int | None:
        """The axis of the input along an axis; −1 for none, None where it is one of several."""
        factors = self.layout[axis]
        if len(factors) == 1:
            return factors[0][1]
        return -1 if all(source < 0 for _, source in factors) else None

    def with_line(self, axis: int, line: Line, length: int) -> "Form":
        source = self.layout[axis][0][1]
        lines = tuple(line if s == source else old for s, old in enumerate(self.lines))
        return replace(self.resized(axis, length), lines=lines)

    def resized(self, axis: int, length: int) -> "Form":
        """With another number of elements along an axis, which stays what it is."""
        source = self.source(axis)
        layout = list(self.layout)
        layout[axis] = ((length, -1 if source is None else source),)
        return replace(self, layout=tuple(layout))


def widened(form: Form, shape: tuple[int, ...]) -> Form | None:
    """The form in a broadcast shape; None where an axis of the input is stretched."""
    missing = len(shape) - len(form.layout)
    layout: list[Axis] = [((1, -1),)] * missing + list(form.layout)
    for axis, length in enumerate(shape):
        factors = layout[axis]
        if prod(n for n, _ in factors) != length:
            if any(source >= 0 for _, source in factors):
                return None
            layout[axis] = ((length, -1),)
    return replace(form, layout=tuple(layout))


def joined(forms: list[Form | None]) -> Form | None:
    """The form of elements that see what all of these see; None where they do not agree."""
    result = forms[0] if forms else None
    for form in forms[1:]:
        if result is None or form is None or not _is_alike(result, form):
            return None
        lines = [_covering(a, b) for a, b in zip(result.lines, form.lines, strict=True)]
        result = replace(result, lines=tuple(lines), mixed=result.mixed or form.mixed)
    return result


def _is_alike(a: Form, b: Form) -> bool:
    """Whether the axes of the input are at the same places, and the strides the same."""

    def places(form: Form) -> list[list[tuple[int, int]]]:
        return [
            [factor for factor in axis if factor[1] >= 0 or len(axis) > 1] for axis in form.layout
        ]

    strides = [line.stride for line in a.lines] == [line.stride for line in b.lines]
    return strides and places(a) == places(b)


def _covering(a: Line, b: Line) -> Line:
    start = min(a.start, b.start)
    return Line(max(a.start + a.size, b.start + b.size) - start, a.stride, start)
