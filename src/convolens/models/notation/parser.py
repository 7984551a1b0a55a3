"""Reading the text of a network."""

import re

from convolens.errors import ConfigError, near_matches
from convolens.models.notation.arguments import (
    NUMBER,
    SIZES,
    Token,
    checked_integer,
    read_layer,
)
from convolens.models.notation.fault import fault, shortened
from convolens.models.notation.tree import Item, Layer, Notation, Repeat, Split
from convolens.models.notation.words import (
    ALIASES,
    MAX_DEPTH,
    MAX_LAYERS,
    SPLITS,
    WORDS,
)

SIGNS = re.compile(r"\s+|(->|→|[|\[\]();*])|((?:(?!->)[^\s|\[\]();*→])+)")
CLOSING = {"[": "]", "(": ")"}
MAX_AXES = 4


def is_notation(word: str) -> bool:
    """Whether a MODEL word is a network in notation: it has a bar or an arrow.

    Example:
        >>> is_notation("1x28x28 | fc 10"), is_notation("INPUT -> FC"), is_notation("lenet5")
        (True, True, False)
    """
    return any(sign in word for sign in ("|", "->", "→"))


def parse(text: str) -> Notation:
    """The syntax tree of a network in notation.

    Source: docs/notation.md; Karpathy (2015), CS231n, "Convolutional networks: layer patterns".
    Args:
        text: such as "3x32x32 | conv 64 3x3 p1 | relu | maxpool | fc 10", or CS231n's shorthand
            "INPUT -> [[CONV -> RELU]*2 -> POOL]*3 -> FC"; upper and lower case are the same.
    Returns: the tree, whose `str` is the canonical text.
    Raises:
        ConfigError: when a word is unknown or stands in the wrong place, or a number is absurd;
            the message points at it.
    Example:
        >>> str(parse("INPUT -> [CONV 16 5 -> RELU -> POOL]×2 -> FC"))
        'input | [conv 16 5x5 | relu | maxpool]*2 | fc'
    """
    return _Parser(text).notation()


class _Parser:
    """Recursive descent; the depth is limited, so the recursion is too."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [
            Token(match[0].replace("→", "->").lower().replace("×", "x"), match.start(), match.end())
            for match in SIGNS.finditer(text)
            if match[1] or match[2]
        ]
        self.end = Token("", len(text), len(text))
        self.position = 0
        self.num_axes = 2

    def notation(self) -> Notation:
        if not self.tokens:
            raise ConfigError("the text of the network is empty")
        has_input, sizes = self.input()
        if has_input and self.peek().text not in ("", "|", "->"):
            raise self.fail(self.peek(), "expected | after the input")
        if has_input:
            self.take()
        items, _ = self.sequence(0)
        if self.peek() is not self.end:
            raise self.fail(self.peek(), f"{self.peek().text} closes nothing")
        return Notation(items=items, input=sizes, text=self.text)

    def peek(self) -> Token:
        return self.tokens[self.position] if self.position < len(self.tokens) else self.end

    def take(self) -> Token:
        token = self.peek()
        self.position += 1
        return token

    def fail(self, token: Token, message: str, hint: str | None = None) -> ConfigError:
        return fault(message, self.text, token.span, hint)

    def input(self) -> tuple[bool, tuple[int, ...] | None]:
        """Whether the text begins with an input, and its (C, *sizes)."""
        named = self.peek().text == "input"
        if named:
            self.take()
        token = self.peek()
        if not (SIZES.fullmatch(token.text) or NUMBER.fullmatch(token.text)):
            return named, None
        self.take()
        if not (SIZES.fullmatch(token.text) or token.text.isdecimal()):
            raise self.fail(token, "the sizes of an input are integers")
        sizes = tuple(checked_integer(part, token, self.text) for part in token.text.split("x"))
        if min(sizes) < 1 or len(sizes) > MAX_AXES:
            raise self.fail(token, "an input has channels and up to 3 sizes, all at least 1")
        self.num_axes = len(sizes) - 1
        return True, sizes

    def sequence(self, depth: int) -> tuple[tuple[Item, ...], int]:
        """Items between bars, and how many layers they stand for."""
        items: list[Item] = []
        total = 0
        while True:
            item, count = self.item(depth)
            items.append(item)
            total = self.counted(total + count)
            if self.peek().text not in ("|", "->"):
                return tuple(items), total
            self.take()

    def counted(self, layers: int) -> int:
        if layers > MAX_LAYERS:
            token = self.tokens[min(self.position, len(self.tokens)) - 1]
            raise self.fail(token, f"more than {MAX_LAYERS:,} layers")
        return layers

    def item(self, depth: int) -> tuple[Item, int]:
        token = self.take()
        if token.text == "[":
            return self.repeat(token, depth)
        if token.text in ("", "|", "->", "]", ")", "(", ";", "*"):
            found = token.text or "the end of the text"
            raise self.fail(token, f"expected a layer, found {found}")
        word = token
        window = token if SIZES.fullmatch(token.text) else None
        if window:
            named = self.peek().text
            word = self.take() if named and named[0].isalpha() else Token("conv", *token.span)
        word = word._replace(text=ALIASES.get(word.text, word.text))
        if self.peek().text == "(" and word.text in SPLITS and window is None:
            return self.split(word, depth)
        if word.text not in WORDS:
            return self.unknown(word)
        arguments = []
        while self.peek().text not in ("", "|", "->", "]", ")", "(", ";", "*", "["):
            arguments.append(self.take())
        layer = read_layer(word, arguments, window=window, text=self.text, num_axes=self.num_axes)
        self.expect_end_of_layer()
        return layer, _weight(layer)

    def unknown(self, word: Token) -> tuple[Item, int]:
        if word.text in SPLITS:
            raise self.fail(word, f"{word.text} needs branches: {word.text}(… ; …)")
        if word.text == "input" or NUMBER.fullmatch(word.text):
            raise self.fail(word, "expected a layer; only the first word is the input")
        raise self.fail(
            word,
            f"unknown layer {shortened(word.text)}",
            near_matches(word.text[:40], {*WORDS, *SPLITS}),
        )

    def expect_end_of_layer(self) -> None:
        token = self.peek()
        if token.text in ("[", "(", "*"):
            hint = "Only brackets are repeated: [conv | relu]*2." if token.text == "*" else None
            raise self.fail(token, f"expected | before {token.text}", hint)

    def repeat(self, opening: Token, depth: int) -> tuple[Item, int]:
        items, layers = self.inside(opening, depth)
        count = 1
        following = self.peek()
        if following.text == "*":
            self.take()
            number = self.take()
            count = self.times(number, number.text)
        elif re.fullmatch(r"x[0-9]+", following.text):
            count = self.times(self.take(), following.text[1:])
        elif following.text not in ("", "|", "->", "]", ")", ";"):
            raise self.fail(following, "expected | or *NUMBER after ]")
        return Repeat(items=items, count=count), self.counted(layers * count)

    def times(self, token: Token, digits: str) -> int:
        if not digits.isdecimal() or not digits.isascii():
            raise self.fail(token, "expected how many times, as in [conv | relu]*2")
        count = checked_integer(digits, token, self.text, most=MAX_LAYERS)
        if count < 1:
            raise self.fail(token, "a repetition is at least 1 time")
        return count

    def split(self, word: Token, depth: int) -> tuple[Item, int]:
        opening = self.take()
        branches, total = [], 0
        while True:
            items, layers = self.inside(opening, depth, also=";")
            branches.append(items)
            total = self.counted(total + layers)
            closing = self.tokens[self.position - 1]
            if closing.text == ")":
                break
        if word.text == "residual" and len(branches) != 1:
            raise self.fail(word, f"residual has one branch, received {len(branches)}")
        if self.peek().text not in ("", "|", "->", "]", ")", ";"):
            raise self.fail(self.peek(), f"expected | after {word.text}(…)")
        split = Split(word=word.text, branches=tuple(branches), start=word.start, end=closing.end)
        return split, total

    def inside(self, opening: Token, depth: int, also: str = "") -> tuple[tuple[Item, ...], int]:
        """Items up to the sign that closes `opening`, or `also`, which is taken."""
        if depth == MAX_DEPTH:
            raise self.fail(opening, f"brackets are nested more than {MAX_DEPTH} deep")
        items, layers = self.sequence(depth + 1)
        closing = self.take()
        if closing is self.end:
            raise self.fail(opening, f"{opening.text} is never closed")
        if closing.text not in (CLOSING[opening.text], also):
            raise self.fail(closing, f"expected {CLOSING[opening.text]}, found {closing.text}")
        return items, layers


def _weight(layer: Layer) -> int:
    """How many layers a word stands for."""
    if layer.word == "dense" and isinstance(layer.numbers[0], int):
        return layer.numbers[0]
    return 1
