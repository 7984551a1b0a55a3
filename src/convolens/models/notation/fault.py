"""Errors that point at a word of the text."""

import re

from convolens.errors import ConfigError

ROOM = 44  # characters shown on each side of the word
LONGEST_WORD = 60


def excerpt(text: str, start: int, end: int) -> str:
    """The text around a word, which stands between » and «, on one line.

    Example:
        >>> excerpt("3x32x32 | cnov 64", 10, 14)
        '3x32x32 | »cnov« 64'
    """
    before = text[:start] if start <= ROOM else f"…{text[start - ROOM : start]}"
    after = text[end:] if len(text) - end <= ROOM else f"{text[end : end + ROOM]}…"
    word = text[start:end]
    if len(word) > LONGEST_WORD:
        word = f"{word[: LONGEST_WORD - 1]}…"
    return re.sub(r"\s+", " ", f"{before}»{word}«{after}").strip()


def shortened(word: str) -> str:
    """A word as an error quotes it."""
    return repr(word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD - 1]}…")


def fault(message: str, text: str, span: tuple[int, int], hint: str | None = None) -> ConfigError:
    """The error for a wrong word: what is wrong, where, and a hint."""
    return ConfigError(f'{message} in "{excerpt(text, *span)}"', hint)
