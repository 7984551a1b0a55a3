"""Subsampling with a trainable coefficient and bias, as before max-pooling."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Subsampling2d(nn.Module):
    """y_c = w_c · (sum of the K×K pixels of map c) + b_c, on windows that do not overlap.

    Source: LeCun et al. (1998), section II.B, layers S2 and S4; the squashing function follows it.
    Args:
        num_channels: C; each map has a coefficient w_c and a bias b_c.
        kernel_size: K, the side of a window [px].
    Shape: x (N, C, H, W) -> (N, C, ⌊H/K⌋, ⌊W/K⌋)
    Example:
        >>> layer = Subsampling2d(6)
        >>> sum(p.numel() for p in layer.parameters())
        12
    """

    def __init__(self, num_channels: int, kernel_size: int = 2) -> None:
        super().__init__()
        self.num_channels, self.kernel_size = num_channels, kernel_size
        self.weight = nn.Parameter(torch.empty(num_channels))
        self.bias = nn.Parameter(torch.empty(num_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begins as average pooling."""
        nn.init.constant_(self.weight, 1 / self.kernel_size**2)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.avg_pool2d(x, self.kernel_size)
        coefficient = self.weight * self.kernel_size**2
        return mean * coefficient[:, None, None] + self.bias[:, None, None]

    def extra_repr(self) -> str:
        return f"{self.num_channels}, kernel_size={self.kernel_size}"
