"""Freezing: parameters that keep their values, and batch norms that keep their statistics."""

from fnmatch import fnmatchcase
from itertools import accumulate

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from convolens.errors import ConfigError, near_matches


def freeze(model: nn.Module, patterns: str) -> list[str]:
    """Stops the parameters whose names match from learning.

    Args:
        model: the network; `requires_grad` of its parameters is changed in place.
        patterns: like "stage1.*,conv1.*", each with the wildcards *, ? and [...]; a * also
            matches dots. Empty freezes nothing.
    Returns: the names of the frozen parameters, in the order of the network.
    Raises:
        ConfigError: when a pattern matches no parameter, or nothing is left to learn.
    Example:
        >>> freeze(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)), "0.*")
        ['0.weight', '0.bias']
    """
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    parameters = dict(model.named_parameters())
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise ConfigError(
                f"freeze: {pattern!r} matches no parameter of the network",
                near_matches(pattern, {*parameters, *_groups(parameters)}),
            )
    frozen = [n for n in parameters if any(fnmatchcase(n, pattern) for pattern in wanted)]
    if wanted and len(frozen) == len(parameters):
        raise ConfigError(f"freeze: {patterns!r} leaves no parameter that could learn")
    for name in frozen:
        parameters[name].requires_grad_(False)
    return frozen


def learn(model: nn.Module) -> None:
    """Puts a network into training mode, all but the batch norms whose parameters are frozen.

    Such a norm goes on normalising with its running statistics and leaves them as they are.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            own = [*module.parameters(recurse=False)]
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()


def _groups(names: dict[str, nn.Parameter]) -> set[str]:
    """ "a.b.weight" → "a.*", "a.b.*": the patterns of whole modules."""
    return {
        f"{prefix}.*"
        for name in names
        for prefix in accumulate(name.split(".")[:-1], "{}.{}".format)
    }
