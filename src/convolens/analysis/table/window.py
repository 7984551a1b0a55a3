"""The arithmetic of sliding windows: output sizes and receptive fields, written out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convolens.analysis.field import Textbook
from convolens.analysis.graph import Operation, Trace

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One number and how it comes about.

    Args:
        what: the number's name.
        arithmetic: an expression of whole numbers; empty where there is none.
        value: what it comes to.
    """

    what: str
    arithmetic: str
    value: str

    def __str__(self) -> str:
        sign = " = " if self.arithmetic else ""
        return f"{self.what}: {self.arithmetic}{sign}{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How a window moves along one axis."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    is_ceil: bool = False
    transposed: bool = False
    output_padding: int = 0


def number(value: int) -> str:
    """A factor of an expression: grouped from 10,000 on, with a proper minus.

    Example:
        >>> number(4096), number(25088), number(-5)
        ('4096', '25,088', '−5')
    """
    text = str(abs(value)) if abs(value) < 10_000 else f"{abs(value):,}"
    return f"−{text}" if value < 0 else text


def windows_of(operation: Operation, trace: Trace) -> list[Window]:
    """The window of a convolution or pooling along each axis; empty for another operation."""
    kind = operation.name.partition(".")[2]
    args = operation.args
    if kind == "convolution":
        x, weight = trace.shape(args[0]), trace.shape(args[1])
        axes = len(x) - 2
        columns = [_each(a, axes) for a in (args[3], args[4], args[5], args[7])]
        return [
            Window(
                size=x[2 + i],
                kernel=weight[2 + i],
                stride=columns[0][i],
                padding=columns[1][i],
                dilation=columns[2][i],
                transposed=bool(args[6]),
                output_padding=columns[3][i],
            )
            for i in range(axes)
        ]
    if kind.startswith(("max_pool", "avg_pool")):
        axes = int(kind.partition("pool")[2][0])
        x = trace.shape(args[0])[-axes:]
        rest = (*args, *[None] * 6)
        is_max = kind.startswith("max")
        kernel = _each(args[1], axes)
        stride = _each(rest[2], axes) if rest[2] not in (None, (), []) else kernel
        padding = _each(rest[3] or 0, axes)
        dilation = _each((rest[4] or 1) if is_max else 1, axes)
        is_ceil = bool(rest[5] if is_max else rest[4])
        return [
            Window(
                size=x[i],
                kernel=kernel[i],
                stride=stride[i],
                padding=padding[i],
                dilation=dilation[i],
                is_ceil=is_ceil,
            )
            for i in range(axes)
        ]
    return []


def size_steps(windows: Sequence[Window], output: Sequence[int]) -> list[Step]:
    """The output size along each axis; axes of the same arithmetic share a step."""
    names = AXES.get(len(windows), ())
    sizes = output[len(output) - len(windows) :]
    texts = [_size(w, n) for w, n in zip(windows, sizes, strict=True)]
    return _shared(names, texts, [number(n) for n in sizes])


def field_steps(
    windows: Sequence[Window], before: Textbook | None, after: Textbook | None
) -> list[Step]:
    """Size, stride and start of the receptive field, from those of the layer before."""
    if before is None or after is None or len(windows) != len(before.size):
        return plain_field_steps(after)
    steps = []
    for what, given, expected, rule in (
        ("field", before.size, after.size, _grown),
        ("field's stride", before.stride, after.stride, _stepped),
        ("field's start", before.start, after.start, _shifted),
    ):
        texts = [rule(w, g, j) for w, g, j in zip(windows, given, before.stride, strict=True)]
        if any(worth != wanted for (_, worth), wanted in zip(texts, expected, strict=True)):
            return plain_field_steps(after)
        names = [f"{what}, {axis}" for axis in AXES.get(len(windows), ())]
        shared = _shared(names, [text for text, _ in texts], [number(n) for n in expected])
        steps += [Step(what=what, arithmetic=s.arithmetic, value=s.value) for s in shared[:1]]
        if len(shared) > 1:
            steps[-1:] = shared
    return steps


def plain_field_steps(after: Textbook | None) -> list[Step]:
    """The receptive field without arithmetic."""
    if after is None or not after.size:
        return []
    size, stride, start = (
        "×".join(dict.fromkeys(map(number, side))) if len(set(side)) == 1 else _by_axis(side)
        for side in (after.size, after.stride, after.start)
    )
    return [Step(what="field", arithmetic="", value=f"{size}, stride {stride}, start {start}")]


def _by_axis(sides: Sequence[int]) -> str:
    return "×".join(number(side) for side in sides)


def _size(window: Window, expected: int) -> str:
    w = window
    if w.transposed:
        reach = f"{w.dilation}·({w.kernel} − 1) + 1" if w.dilation > 1 else f"{w.kernel}"
        more = f" + {w.output_padding}" if w.output_padding else ""
        return f"({w.size} − 1)·{w.stride} − 2·{w.padding} + {reach}{more}"
    reach = f"{w.dilation}·({w.kernel} − 1) − 1" if w.dilation > 1 else f"{w.kernel}"
    room = f"({w.size} + 2·{w.padding} − {reach})"
    rest = w.size + 2 * w.padding - w.dilation * (w.kernel - 1) - 1
    if w.stride == 1:
        return f"{room[1:-1]} + 1"
    if rest % w.stride == 0:
        return f"{room}/{w.stride} + 1"
    if not w.is_ceil:
        return f"⌊{room}/{w.stride}⌋ + 1"
    # The last window of ceil mode must not begin in the padding behind the picture.
    positions = -(-rest // w.stride) + 1
    return f"⌈{room}/{w.stride}⌉ + 1" + (" − 1" if positions > expected else "")


def _grown(w: Window, size: int, stride: int) -> tuple[str, int]:
    reach = f"{w.dilation}·({w.kernel} − 1)" if w.dilation > 1 else f"({w.kernel} − 1)"
    return f"{size} + {reach}·{stride}", size + w.dilation * (w.kernel - 1) * stride


def _stepped(w: Window, stride: int, _: int) -> tuple[str, int]:
    return f"{stride}·{w.stride}", stride * w.stride


def _shifted(w: Window, start: int, stride: int) -> tuple[str, int]:
    return f"{number(start)} − {w.padding}·{stride}", start - w.padding * stride


def _shared(names: Sequence[str], texts: Sequence[str], values: Sequence[str]) -> list[Step]:
    """A step for each axis, or one for all of them where they are the same."""
    steps: dict[tuple[str, str], list[str]] = {}
    for name, text, value in zip(names, texts, values, strict=True):
        steps.setdefault((text, value), []).append(name)
    return [
        Step(what=" and ".join(axes), arithmetic=text, value=value)
        for (text, value), axes in steps.items()
    ]


def _each(given: Any, axes: int) -> list[int]:
    sides = [given] if isinstance(given, int) else list(given)
    return sides * axes if len(sides) == 1 else sides
