"""Local response normalisation across channels."""

from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from convolens.errors import ConfigError, ShapeError


class LocalResponseNorm(nn.Module):
    """b_i = a_i / (k + α Σ_j a_j²)^β, j over the `size` channels centred on i.

    At the first and the last channels the sum holds the neighbours that there are.

    Source: Krizhevsky, Sutskever, Hinton (2012), ImageNet classification with deep convolutional
        neural networks, section 3.3.
    Args:
        size: n, channels in the sum; odd.
        alpha: α. `torch.nn.LocalResponseNorm` and Caffe divide theirs by n: their alpha is n times
            this one.
        beta: β.
        k: k; greater than 0.
    Shape: x (N, C, …) -> (N, C, …)
    Returns: the normalised activations.
    Raises:
        ConfigError: when the size is even or not positive, or k is not positive.
        ShapeError: when x has no channels.
    Example:
        >>> LocalResponseNorm(alpha=1.0, beta=1.0, k=1.0)(torch.ones(1, 4)).tolist()
        [[0.25, 0.20000000298023224, 0.20000000298023224, 0.25]]
    """

    def __init__(
        self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
    ) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ConfigError(f"size must be odd and at least 1, received {size}")
        if k <= 0:
            raise ConfigError(f"k must be greater than 0, received {k}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """The function of LocalResponseNorm, with the same arguments."""
    if x.dim() < 2:
        raise ShapeError(f"local response norm expected (N, C, …), received {tuple(x.shape)}")
    if torch.is_grad_enabled() and x.requires_grad:
        return cast("Tensor", _Normalise.apply(x, size, alpha, beta, k))
    return _divide(x, _scale(x, size, alpha, k), beta)


# Symbolic traces keep it as one call: what it does depends on whether gradients are wanted.
fx.wrap("local_response_norm")


class _Normalise(torch.autograd.Function):
    """With s = k + α Σ a²: the gradient of a_j is g_j s_j^−β − 2αβ a_j Σ_i g_i a_i s_i^−(β+1).

    Autograd's own would keep a tensor for every neighbour; this one keeps a and s.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        s = _scale(x, size, alpha, k)
        ctx.save_for_backward(x, s)
        ctx.constants = size, alpha, beta, k
        return _divide(x, s, beta)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, s), (size, alpha, beta, k) = ctx.saved_tensors, ctx.constants
        if torch.is_grad_enabled():  # a second derivative goes through s too
            s = _scale(x, size, alpha, k)
        g = gradients[0].to(s.dtype)
        direct = _divide(g, s, beta)
        across = _over_neighbours(direct * x / s, size)
        return (direct - 2 * alpha * beta * (x * across)).to(x.dtype), None, None, None, None


def _scale(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """k + α Σ a², in float32 where x has fewer bits: near k they would not show the sum."""
    if x.dtype in (torch.bfloat16, torch.float16):
        x = x.float()
    return _over_neighbours(x * x, size).mul(alpha).add(k)


def _divide(x: Tensor, s: Tensor, beta: float) -> Tensor:
    """x · s^−β, by square roots at the paper's β, which are faster than a power."""
    if beta == 0.75:
        root = s.rsqrt()
        return (x * root * root.sqrt()).to(x.dtype)
    return (x * s.pow(-beta)).to(x.dtype)


def _over_neighbours(x: Tensor, size: int) -> Tensor:
    """The sum over the `size` channels centred on each."""
    total = x.clone()
    for distance in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, distance:] += x[:, :-distance]
        total[:, :-distance] += x[:, distance:]
    return total
