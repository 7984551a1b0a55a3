"""Multiplication by a fixed number."""

from torch import Tensor, nn


class Scale(nn.Module):
    """Computes factor · x, without a parameter.

    Args:
        factor: what every value is multiplied by.
    Shape: x (any) -> the same
    Example:
        >>> import torch
        >>> Scale(0.125)(torch.tensor([8.0, 16.0]))
        tensor([1., 2.])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def extra_repr(self) -> str:
        return f"{self.factor:g}"
