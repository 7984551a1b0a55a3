"""The syntax tree of a network in notation, which prints itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

Number: TypeAlias = int | float | tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: a word and what is written behind it, as it is written.

    Args:
        word: which layer, by the name in `WORDS`.
        numbers: the word's own numbers, such as filters, units or a rate; a tuple stands for
            "96-128".
        window: sides of the window, one for each axis [px].
        stride: "/2"; one number for all axes or one for each, as are the next two.
        padding: "p1", "same" or "valid".
        dilation: "d2".
        groups: "g2".
        growth: "k32".
        output_padding: "o1".
        flags: words such as "nobias", in the order of `WORDS`.
        start: where the layer begins in the text; not compared.
        end: where it ends.
    """

    word: str
    numbers: tuple[Number, ...] = ()
    window: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    groups: int | None = None
    growth: int | None = None
    output_padding: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()
    start: int = field(default=0, compare=False, repr=False)
    end: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        parts = [self.word, *map(_number, self.numbers)]
        if self.window:
            parts.append(_sizes(self.window))
        if self.stride:
            parts.append(f"/{_sizes(self.stride)}")
        if self.padding:
            parts.append(
                self.padding if isinstance(self.padding, str) else f"p{_sizes(self.padding)}"
            )
        if self.dilation:
            parts.append(f"d{_sizes(self.dilation)}")
        if self.groups is not None:
            parts.append(f"g{self.groups}")
        if self.growth is not None:
            parts.append(f"k{self.growth}")
        if self.output_padding:
            parts.append(f"o{_sizes(self.output_padding)}")
        return " ".join([*parts, *self.flags])


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Items in brackets, several times one after the other: "[conv 64 3x3 p1 | relu]*2"."""

    items: tuple["Item", ...]
    count: int = 1

    def __str__(self) -> str:
        times = f"*{self.count}" if self.count > 1 else ""
        return f"[{join(self.items)}]{times}"


@dataclass(frozen=True, kw_only=True)
class Split:
    """Branches that read the same input: "concat(conv 64 1x1 ; maxpool 3x3 /1 p1)".

    Args:
        word: "concat", "add", or "residual", whose one branch is added to the input.
        branches: the items of each.
        start: as of `Layer`.
        end: as of `Layer`.
    """

    word: str
    branches: tuple[tuple["Item", ...], ...]
    start: int = field(default=0, compare=False, repr=False)
    end: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.word}({' ; '.join(map(join, self.branches))})"


Item: TypeAlias = Layer | Repeat | Split


@dataclass(frozen=True, kw_only=True)
class Notation:
    """A network in notation; `str` gives its canonical text.

    Args:
        items: the layers.
        input: (C, *sizes) of one picture; None where the text says "input".
        text: what was read, for errors to quote; not compared.
    """

    items: tuple[Item, ...]
    input: tuple[int, ...] | None = None
    text: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        first = "input" if self.input is None else _sizes(self.input)
        return " | ".join([first, *map(str, self.items)])

    @property
    def num_axes(self) -> int:
        """Axes besides the channels, which the windows have too."""
        return 2 if self.input is None else len(self.input) - 1


def join(items: Iterable[Item]) -> str:
    """The items' text."""
    return " | ".join(map(str, items))


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _number(number: Number) -> str:
    return "-".join(map(str, number)) if isinstance(number, tuple) else f"{number}"
