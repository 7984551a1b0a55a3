"""Learning rates of their own for some parameters."""

from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from convolens.errors import ConfigError, near_matches


def parse_rates(text: str) -> dict[str, float]:
    """The factors by pattern that "fc.*:10,*.bias:2" names, in its order.

    Raises:
        ConfigError: when a part is not pattern:factor with a factor above 0.
    Example:
        >>> parse_rates("fc.*:10, *.bias:2")
        {'fc.*': 10.0, '*.bias': 2.0}
    """
    factors: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        pattern, _, number = part.rpartition(":")
        try:
            factor = float(number)
        except ValueError:
            factor = 0.0
        if not (pattern and 0 < factor < float("inf")):
            raise ConfigError(
                f"optimizer.rates takes pattern:factor with a factor above 0, received {part!r}",
                "Example: --set optimizer.rates=fc.*:10,*.bias:2",
            )
        factors.setdefault(pattern.strip(), factor)
    return factors


def apply_rates(
    model: nn.Module, groups: list[dict[str, Any]], rates: str, base_lr: float
) -> list[dict[str, Any]]:
    """Splits groups of parameters by their factor: lr becomes f·lr, and weight decay λ / f.

    So lr·λ, what weight decay takes from a parameter, is the same for every factor.

    Args:
        model: the network, for the names.
        groups: as an optimizer takes them; each may have an "lr" of its own.
        rates: patterns and factors; a * also matches dots, and the first that matches holds.
        base_lr: of the groups that have none of their own.
    Returns: the groups; of those that come from one, the unchanged rate first.
    Raises:
        ConfigError: when a pattern matches no parameter.
    """
    wanted = parse_rates(rates)
    names = [name for name, _ in model.named_parameters()]
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"optimizer.rates: {pattern!r} matches no parameter of the network",
                near_matches(pattern, names),
            )
    factor_of = {
        id(parameter): next((f for p, f in wanted.items() if fnmatchcase(name, p)), 1.0)
        for name, parameter in model.named_parameters()
    }
    parts: list[dict[str, Any]] = []
    for group in groups:
        found = {factor_of[id(parameter)] for parameter in group["params"]}
        for factor in sorted(found, key=lambda factor: (factor != 1.0, factor)):
            part = {**group, "params": [p for p in group["params"] if factor_of[id(p)] == factor]}
            if factor != 1.0:
                part["lr"] = factor * group.get("lr", base_lr)
                part["weight_decay"] = group.get("weight_decay", 0.0) / factor
            parts.append(part)
    return parts
