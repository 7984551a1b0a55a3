"""The squashing function of LeNet-5."""

from torch import Tensor, nn


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 · tanh(2a/3), for which f(1) = 1 and f(−1) = −1.

    Source: LeCun et al. (1998), Gradient-based learning applied to document recognition,
        equation 6 and appendix A.
    Shape: x (…) -> (…)
    Example:
        >>> import torch
        >>> [round(v, 4) for v in ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0])).tolist()]
        [-1.0, 0.0, 1.0]
    """

    AMPLITUDE = 1.7159
    SLOPE = 2 / 3

    def forward(self, x: Tensor) -> Tensor:
        return self.AMPLITUDE * (self.SLOPE * x).tanh()
