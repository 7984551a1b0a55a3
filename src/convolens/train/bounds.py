"""What a number or a word of the configuration may be."""

import math
from collections.abc import Iterable

from convolens.errors import ConfigError, near_matches


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Refuses what is not a finite number between the limits.

    Args:
        name: the field as a person writes it, such as "optimizer.lr".
        value: what was received.
        least, above: the lower limit, itself allowed or not.
        most, below: the upper limit, itself allowed or not.
        whole: whether it must be an integer.
    Raises:
        ConfigError: when the value is not such a number.
    Example:
        >>> check_number("optimizer.lr", -0.1, above=0)
        Traceback (most recent call last):
        convolens.errors.ConfigError: optimizer.lr must be a number above 0, received -0.1
    """
    kind = int if whole else (int, float)
    if (
        isinstance(value, kind)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    ):
        return
    limits = [
        f"{word} {limit}"
        for word, limit in (
            ("of at least", least),
            ("above", above),
            ("of at most" if least is None and above is None else "and at most", most),
            ("below" if least is None and above is None else "and below", below),
        )
        if limit is not None
    ]
    noun = "a whole number" if whole else "a number"
    raise ConfigError(f"{name} must be {' '.join([noun, *limits])}, received {value!r}")


def check_word(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuses a word that is not among the choices, and names the nearest of them.

    Example:
        >>> check_word("optimizer.name", "adan", ["adam", "sgd"])
        Traceback (most recent call last):
        convolens.errors.ConfigError: optimizer.name does not know 'adan'
        Did you mean adam?
    """
    names = list(choices)
    if value not in names:
        raise ConfigError(f"{name} does not know {value!r}", hint=near_matches(str(value), names))
