"""Penalties on the size of the weights: L1, L2 and both at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convolens.train.bounds import check_number


@dataclass(frozen=True, kw_only=True)
class PenaltyConfig:
    """R(W) = l1·Σ|w| + l2/2·Σw², added to the loss; both at once is the elastic net.

    Source: Tibshirani (1996), section 2, for L1; Zou and Hastie (2005), section 2, for both.
    Args:
        l1: the weight of Σ|w|; 0 turns it off.
        l2: the weight of Σw²/2; 0 turns it off.
    Raises:
        ConfigError: when a weight is negative or not finite.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        check_number("penalty.l1", self.l1, least=0)
        check_number("penalty.l2", self.l2, least=0)

    @property
    def is_on(self) -> bool:
        return bool(self.l1 or self.l2)


def is_weight(parameter: Tensor) -> bool:
    """Whether a parameter is a weight, and not a bias or a norm's scale and shift.

    Weights have two dimensions or more; a bias and a scale have one number per channel.
    """
    return parameter.ndim >= 2


def penalised_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The trainable weights of a model, each shared one once, in the order they were registered.

    Example:
        >>> [tuple(p.shape) for p in penalised_parameters(nn.Linear(3, 2))]
        [(2, 3)]
    """
    return [p for p in model.parameters() if p.requires_grad and is_weight(p)]


def penalty(parameters: Sequence[Tensor], config: PenaltyConfig) -> Tensor:
    """R(W) = l1·Σ|w| + l2/2·Σw², differentiable.

    Args:
        parameters: the weights; see `penalised_parameters`.
        config: l1 and l2.
    Returns: a scalar; 0 where nothing is penalised.
    Example:
        >>> penalty([torch.tensor([[3.0, -4.0]])], PenaltyConfig(l1=1.0, l2=2.0))
        tensor(32.)
    """
    total = parameters[0].new_zeros(()) if parameters else torch.zeros(())
    for weights in parameters:
        if config.l1:
            total = total + config.l1 * weights.abs().sum()
        if config.l2:
            total = total + config.l2 / 2 * weights.square().sum()
    return total


@torch.no_grad()
def add_penalty_gradient(parameters: Sequence[Tensor], config: PenaltyConfig) -> None:
    """Adds ∂R/∂w = l1·sign(w) + l2·w to the gradients in place.

    It equals the backward pass of `penalty` and saves the forward pass. As with torch's weight
    decay, a weight that took no part in the loss (its gradient is None) is left alone.

    Args:
        parameters: the weights, after the backward pass of the loss.
        config: l1 and l2.
    """
    weights = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in weights if p.grad is not None]
    if config.l1 and weights:
        torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=config.l1)
    if config.l2 and weights:
        torch._foreach_add_(gradients, weights, alpha=config.l2)
