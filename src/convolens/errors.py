"""The errors that a person can cause; everything else is a bug."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConvolensError(Exception):
    """The root of every error that convolens raises on purpose.

    Args:
        message: what was expected, what was received, and where, in one line.
        hint: what to do about it, in one line; shown below the message.
    """

    exit_status = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(ConvolensError):
    """A word, a key or a value of the configuration is wrong."""


class DataError(ConvolensError):
    """A picture, a folder or a dataset file cannot be used."""


class ShapeError(ConvolensError):
    """Sizes do not fit; the message holds the arithmetic."""


class RunError(ConvolensError):
    """A Run is missing, damaged or cannot be written."""


class UnavailableError(ConvolensError):
    """The words were right, but it could not be done here: no network, no such device."""

    exit_status = 1


MOST_NAMES = 40  # in a sentence that lists what there is


def near_matches(word: str, choices: Iterable[str]) -> str:
    """Names the choices closest to a misspelt word, or the first 40 where none is close.

    Example:
        >>> near_matches("lenet", ["lenet5", "vgg16"])
        'Did you mean lenet5?'
        >>> near_matches("xyz", ["lenet5", "vgg16"])
        'Choose one of: lenet5, vgg16.'
    """
    names = sorted(choices)
    close = get_close_matches(word.lower(), names, n=3, cutoff=0.55)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"Choose one of: {', '.join(names[:MOST_NAMES])}{more}."
