"""Numbers as a person reads them."""

from collections.abc import Mapping
from math import isfinite, sqrt
from typing import Any

Z = 1.96  # standard deviations that hold 95 % of a normal distribution


def percent(share: float, digits: int = 2) -> str:
    """A share of one.

    Example:
        >>> percent(0.99164), percent(0.5, 0)
        ('99.16 %', '50 %')
    """
    return f"{100 * share:.{digits}f} %"


def seconds_text(seconds: float) -> str:
    """A length of time.

    Example:
        >>> [seconds_text(s) for s in (0.4321, 5.89, 75, 4000)]
        ['0.43 s', '5.9 s', '1 min 15 s', '1 h 6 min']
    """
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def metric_text(name: str, value: float) -> str:
    """A metric's value; accuracies are shares of one."""
    if not isfinite(value):
        return "–"
    return percent(value) if "accuracy" in name else f"{value:.4f}"


def interval(right: int, total: int) -> tuple[float, float]:
    """Where the true share lies with 95 % confidence, when `right` of `total` were right.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    Returns: (p + z²/2n ∓ z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    Example:
        >>> [round(share, 4) for share in interval(356, 359)]
        [0.9757, 0.9972]
    """
    share, spread = right / total, Z**2 / total
    middle = share + spread / 2
    reach = Z * sqrt(share * (1 - share) / total + spread / (4 * total))
    return (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)


def number_in(tree: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a JSON object, where it has one under that key."""
    value = tree.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        return None
    return float(value)
