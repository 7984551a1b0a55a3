"""Reading what stands behind a layer's word."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from convolens.errors import ConfigError, near_matches
from convolens.models.notation.fault import fault, shortened
from convolens.models.notation.tree import Layer, Number
from convolens.models.notation.words import (
    ALIASES,
    EXCLUSIVE,
    MAX_SIZE,
    WORDS,
    Kind,
    entry_of,
)

SIZES = re.compile(r"[0-9]+(?:x[0-9]+)+")
PAIR = re.compile(r"[0-9]+-[0-9]+")
NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?")
LETTER = re.compile(r"([/pdgkos])([0-9]+(?:x[0-9]+)*)")
FIELDS = {"/": "stride", "p": "padding", "d": "dilation", "o": "output_padding"}
FIELDS |= {"g": "groups", "k": "growth"}
LONGEST_NUMBER = 16


class Token(NamedTuple):
    """A word or a sign of the text, in lower case, and where it stands."""

    text: str
    start: int
    end: int

    @property
    def span(self) -> tuple[int, int]:
        return self.start, self.end


@dataclass(kw_only=True)
class Draft:
    """A layer while its arguments are read."""

    word: str
    text: str
    num_axes: int
    numbers: list[tuple[Token, Number]] = field(default_factory=list)
    window: tuple[int, ...] = ()
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    same: str = ""
    flags: list[str] = field(default_factory=list)

    def fail(self, token: Token, message: str, hint: str | None = None) -> ConfigError:
        """The error that points at an argument."""
        return fault(f"{self.word}: {message}", self.text, token.span, hint)


def read_layer(
    word: Token, arguments: list[Token], *, window: Token | None, text: str, num_axes: int
) -> Layer:
    """The layer of a word and its arguments.

    Args:
        word: the layer's word, an entry of `WORDS` by its `text`.
        arguments: what stands behind it.
        window: the sizes in front of it, as in "3x3 conv 64".
        text: the whole text, for errors.
        num_axes: axes of the input besides the channels.
    Raises:
        ConfigError: when an argument is unknown, missing, out of range or there twice.
    """
    draft = Draft(word=word.text, text=text, num_axes=num_axes)
    for token in [*([window] if window else []), *arguments]:
        _read(draft, token)
    flags = tuple(flag for flag in WORDS[word.text].flags if flag in draft.flags)
    for alternatives in EXCLUSIVE:
        both = [flag for flag in flags if flag in alternatives]
        if len(both) > 1:
            raise draft.fail(word, f"{both[0]} and {both[1]} exclude each other")
    numbers = _settle_numbers(draft, word, flags)
    first = window or word
    last = arguments[-1] if arguments else word
    sizes = draft.sizes
    return Layer(
        word=word.text,
        numbers=numbers,
        window=draft.window,
        stride=sizes.get("stride", ()),
        padding=draft.same or sizes.get("padding", ()),
        dilation=sizes.get("dilation", ()),
        groups=sizes["groups"][0] if "groups" in sizes else None,
        growth=sizes["growth"][0] if "growth" in sizes else None,
        output_padding=sizes.get("output_padding", ()),
        flags=flags,
        start=first.start,
        end=last.end,
    )


def _read(draft: Draft, token: Token) -> None:
    entry = WORDS[draft.word]
    if SIZES.fullmatch(token.text) and entry.window:
        _set_window(draft, token, _integers(draft, token, token.text))
    elif PAIR.fullmatch(token.text):
        first, second = (_integer(draft, token, part) for part in token.text.split("-"))
        draft.numbers.append((token, (first, second)))
    elif NUMBER.fullmatch(token.text):
        draft.numbers.append((token, _real(draft, token)))
    elif (match := LETTER.fullmatch(token.text)) and (
        letter := match[1].replace("s", "/")
    ) in entry.letters:
        _set_sizes(draft, token, FIELDS[letter], _integers(draft, token, match[2]))
    elif token.text in ("same", "valid") and "p" in entry.letters and draft.word != "deconv":
        if draft.same or "padding" in draft.sizes:
            raise draft.fail(token, "padding is given twice")
        draft.same = token.text
    elif token.text in entry.flags:
        if token.text in draft.flags:
            raise draft.fail(token, f"{token.text} is given twice")
        draft.flags.append(token.text)
    else:
        raise draft.fail(token, f"{shortened(token.text)} cannot stand here", _usage(draft, token))


def _usage(draft: Draft, token: Token) -> str:
    entry = WORDS[draft.word]
    if token.text in WORDS or token.text in ALIASES:
        return "A bar | stands between two layers."
    words = [*entry.flags, *(["same", "valid"] if "p" in entry.letters else [])]
    if words and token.text.isalpha():
        near = near_matches(token.text[:LONGEST_NUMBER], words)
        if near.startswith("Did"):
            return near
    return _how(draft, ())


def _set_window(draft: Draft, token: Token, sides: tuple[int, ...]) -> None:
    if draft.window:
        raise draft.fail(token, "the window is given twice")
    if min(sides) < 1:
        raise draft.fail(token, "the sides of a window are at least 1")
    axes = draft.num_axes
    if len(sides) not in (1, axes) and axes:
        raise draft.fail(token, f"a window of {len(sides)} sides, and the input has {axes} axes")
    draft.window = sides * axes if len(sides) == 1 else sides


def _set_sizes(draft: Draft, token: Token, name: str, sizes: tuple[int, ...]) -> None:
    if name in draft.sizes or (name == "padding" and draft.same):
        raise draft.fail(token, f"{name.replace('_', ' ')} is given twice")
    if min(sizes) < 1 and name not in ("padding", "output_padding"):
        raise draft.fail(token, f"{name} must be at least 1, received {min(sizes)}")
    axes = 1 if name in ("groups", "growth") else draft.num_axes
    if len(sizes) not in (1, axes) and (axes or name in ("groups", "growth")):
        raise draft.fail(token, f"{name} for {len(sizes)} axes, expected 1 number or {axes}")
    draft.sizes[name] = sizes[:1] if len(set(sizes)) == 1 else sizes


def _settle_numbers(draft: Draft, word: Token, flags: tuple[str, ...]) -> tuple[Number, ...]:
    """Gives each number its meaning; a last one too many is the window's side."""
    entry = entry_of(draft.word, flags)
    numbers = draft.numbers
    if len(numbers) == len(entry.numbers) + 1 and entry.window and not draft.window:
        token, side = numbers.pop()
        if not isinstance(side, int):
            raise draft.fail(token, "the side of a window is an integer")
        _set_window(draft, token, (side,))
    if len(numbers) > len(entry.numbers):
        raise draft.fail(numbers[len(entry.numbers)][0], "one number too many", _how(draft, flags))
    for (token, number), (name, kind) in zip(numbers, entry.numbers, strict=False):
        if not _is(number, kind):
            expected = {
                "count": "an integer from 1",
                "part": "a number from 0 to 1",
                "real": "a number from 0",
                "pair": "two integers such as 96-128",
            }[kind]
            raise draft.fail(token, f"{name} must be {expected}, received {shortened(token.text)}")
    if len(numbers) < entry.required:
        raise draft.fail(word, f"{entry.numbers[len(numbers)][0]} missing", _how(draft, flags))
    if entry.window == "needed" and not draft.window:
        raise draft.fail(word, "the window is missing", _how(draft, flags))
    if draft.word == "dense" and "growth" not in draft.sizes:
        raise draft.fail(word, "the growth rate is missing", _how(draft, flags))
    return tuple(number for _, number in numbers)


def _how(draft: Draft, flags: tuple[str, ...]) -> str:
    usage = entry_of(draft.word, flags).usage()
    return f"It takes: {draft.word} {usage}." if usage else f"{draft.word} takes nothing."


def _is(number: Number, kind: Kind) -> bool:
    if isinstance(number, tuple):
        return kind == "pair" and min(number) >= 1
    if kind == "count":
        return isinstance(number, int) and number >= 1
    return kind == "real" or (kind == "part" and number <= 1)


def _integers(draft: Draft, token: Token, text: str) -> tuple[int, ...]:
    return tuple(_integer(draft, token, part) for part in text.split("x"))


def _integer(draft: Draft, token: Token, text: str) -> int:
    return checked_integer(text, token, draft.text)


def checked_integer(text: str, token: Token, whole: str, most: int = MAX_SIZE) -> int:
    """The integer that the digits stand for, unless it is absurd."""
    digits = text.lstrip("0") or "0"
    if len(digits) > LONGEST_NUMBER or int(digits) > most:
        raise fault(f"{shortened(text)} is more than {most:,}", whole, token.span)
    return int(digits)


def _real(draft: Draft, token: Token) -> int | float:
    if token.text.isdigit():
        return _integer(draft, token, token.text)
    number = float(token.text) if len(token.text) <= 2 * LONGEST_NUMBER else float("inf")
    if number > MAX_SIZE:
        raise draft.fail(token, f"{shortened(token.text)} is more than {MAX_SIZE:,}")
    return number
