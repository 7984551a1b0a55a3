"""Maxout: the largest of several affine pieces."""

from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError


class Maxout(nn.Module):
    """h_i(x) = max over j in 1…k of z_ij, the maximum of k neighbouring channels.

    z is what the linear layer or convolution before gives: `nn.Linear(n, k·m)` followed by
    `Maxout(k)` is a maxout layer of m units, a convolution of k·m filters a convolutional one.

    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio (2013), Maxout networks,
        arXiv:1302.4389, section 2.
    Args:
        num_pieces: k, the channels that compete for one unit.
    Shape: x (N, k·m, …) -> (N, m, …)
    Raises:
        ConfigError: when num_pieces is less than 1.
        ShapeError: when k does not divide the number of channels.
    Example:
        >>> Maxout(2)(torch.zeros(1, 6, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, num_pieces: int) -> None:
        super().__init__()
        if num_pieces < 1:
            raise ConfigError(f"num_pieces must be at least 1, received {num_pieces}")
        self.num_pieces = num_pieces

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        if channels % self.num_pieces:
            raise ShapeError(
                f"maxout of {self.num_pieces} pieces does not fit {channels} channels: "
                f"{channels} / {self.num_pieces} leaves {channels % self.num_pieces}"
            )
        units = channels // self.num_pieces
        return x.reshape(x.shape[0], units, self.num_pieces, *x.shape[2:]).amax(2)

    def extra_repr(self) -> str:
        return f"{self.num_pieces}"
