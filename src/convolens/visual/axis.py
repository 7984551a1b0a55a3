"""Axes of charts: what range they show, where a value lies on them, and where their ticks are."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MOST_TICKS = 6


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values along one side of a chart.

    Args:
        low, high: its two ends, low < high; both positive where `log` is set.
        log: equal ratios, rather than equal differences, are equally long.
        percent: ticks read 0.5 as "50 %", and there are none below 0 or above 1.
        whole: ticks at whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    percent: bool = False
    whole: bool = False

    def fraction(self, value: float) -> float:
        """How far along the axis a value lies: 0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Values at 1-2-5 steps (powers of ten where `log` spans many), each with its label.

        Example:
            >>> Axis(low=0.0, high=1.0, percent=True).ticks()[:3]
            [(0.0, '0 %'), (0.2, '20 %'), (0.4, '40 %')]
        """
        if self.log:
            values = _log_ticks(self.low, self.high)
            if len(values) >= 2:
                return [(value, _short(value)) for value in values]
        step = _step((self.high - self.low) / _MOST_TICKS)
        if self.whole:
            step = max(1.0, step)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        # Rounding to the step's own digits keeps 3 × 0.1 from being 0.30000000000000004.
        digits = max(0, -math.floor(math.log10(step))) + 1
        return [
            (round(n * step, digits), _label(n * step, step, self.percent))
            for n in range(first, last + 1)
            if not self.percent or 0 <= n * step <= 1 + 1e-9
        ]


def axis_over(
    values: Iterable[float],
    *,
    log: bool = False,
    percent: bool = False,
    whole: bool = False,
    from_zero: bool = False,
) -> Axis:
    """An axis that shows all these finite values, with a little room at both ends.

    Args:
        values: what must be seen; where there is none, 0 to 1 (1 to 10 on a log axis) is shown.
        log: for positive values only.
        from_zero: begin at 0 where no value is negative.
    """
    seen = list(values) or ([1.0, 10.0] if log else [0.0, 1.0])
    low, high = min(seen), max(seen)
    if log:
        room = max(0.04 * math.log(high / low), 0.05)
        return Axis(low=low * math.exp(-room), high=high * math.exp(room), log=True)
    scale = max(abs(low), abs(high))
    if high - low <= 1e-6 * scale or scale == 0.0:
        half = 0.5 if scale == 0.0 or (whole and scale < 1e6) else 0.1 * scale
        low, high = low - half, high + half
    room = 0.04 * (high - low)
    start = 0.0 if from_zero and min(seen) >= 0.0 else low - room
    end = min(high, max(1.0, *seen)) + room if percent else high + room
    return Axis(low=start, high=end, percent=percent, whole=whole)


def _step(rough: float) -> float:
    """The smallest of … 0.1, 0.2, 0.5, 1, 2, 5, 10 … that is at least this long."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values: list[float] = []
    for multiples, every in (((1, 2, 5), 1), ((1,), math.ceil((last - first) / _MOST_TICKS))):
        exponents = [e for e in range(first, last + 1) if e % every == 0]
        values = [v for e in exponents for m in multiples if low <= (v := m * 10.0**e) <= high]
        if len(values) <= _MOST_TICKS + 1:
            break
    return values


def _label(value: float, step: float, percent: bool) -> str:
    if percent:
        return f"{_label(100 * value, 100 * step, False)} %"
    if abs(value) < step / 2:
        return "0"
    power = math.floor(math.log10(step) + 1e-9)
    if abs(value) >= 1e6 or step < 1e-4:
        return _short(value, math.floor(math.log10(abs(value)) + 1e-9) - power + 1)
    return f"{value:,.{max(0, -power)}f}"


def _short(value: float, digits: int = 4) -> str:
    """So many digits, and "1e-5" rather than "1e-05"."""
    mantissa, _, exponent = f"{value:.{max(1, digits)}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
