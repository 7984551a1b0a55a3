"""Units that measure how far their input is from a fixed code."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convolens.errors import ConfigError


class RadialBasis(nn.Module):
    """z_i = −Σ_j (x_j − w_ij)², the negative squared distance of x to the fixed code w_i.

    As logits they say −log p(i | x) = y_i + log Σ_k e^(−y_k) with y = −z: the cross-entropy of z is
    the paper's discriminative criterion (equation 9) for j → ∞, that is without the constant
    e^(−j), which stands for "none of the classes". The class of the largest z is the class of the
    nearest code, as in the paper.

    Source: LeCun et al. (1998), Gradient-based learning applied to document recognition, section
        II.B (equation 7) and section II.C (equations 8 and 9).
    Args:
        codes: one code per class, of equal length. They are a buffer, which no training changes.
    Shape: x (N, len(codes[0])) -> (N, len(codes))
    Returns: logits, at most 0.
    Raises:
        ConfigError: when there are no codes or their lengths differ.
    Deviates: the paper's units give the distance itself; here it is negative, so that the largest
        output wins, as with other classifiers.
    Example:
        >>> RadialBasis([(1, -1), (1, 1)])(torch.tensor([[1.0, -1.0]])).tolist()
        [[0.0, -4.0]]
    """

    codes: Tensor

    def __init__(self, codes: Sequence[Sequence[float]]) -> None:
        super().__init__()
        if len({len(code) for code in codes}) != 1:
            raise ConfigError(
                "codes must be one or more of equal length, received lengths "
                f"{sorted({len(code) for code in codes})}"
            )
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        # Expanded, so that a matrix product takes the place of N · classes · length differences.
        squares = self.codes.square().sum(dim=1)
        products = F.linear(x, 2 * self.codes, -squares)
        return products - x.square().sum(dim=1, keepdim=True)

    def extra_repr(self) -> str:
        return f"{self.codes.shape[1]}, {self.codes.shape[0]}"
