"""Convolution whose maps see some of the input's maps only."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convolens.errors import ConfigError


class PartialConv2d(nn.Module):
    """A convolution whose output map o sees only the input maps of row o of a connection table.

    Its parameters are one kernel for each connection, and a bias for each output map. They are
    multiplied as a full convolution, with zeros where there is no connection: with the few maps
    of such networks that is some ten times as fast as a grouped convolution, although it takes
    more multiplications.

    Source: LeCun et al. (1998), Gradient-based learning applied to document recognition, layer C3
        and table I.
    Args:
        in_channels: C, maps of the input.
        table: for every output map the input maps that it sees, counted from 0.
        kernel_size: K, the side of a kernel [px].
    Shape: x (N, C, H, W) -> (N, len(table), H − K + 1, W − K + 1)
    Raises:
        ConfigError: when a row is empty, names a map twice, or one that there is not.
    Example:
        >>> layer = PartialConv2d(3, [(0, 1), (1, 2), (0, 1, 2)], 5)
        >>> sum(p.numel() for p in layer.parameters())
        178
    """

    index: Tensor

    def __init__(self, in_channels: int, table: Sequence[Sequence[int]], kernel_size: int) -> None:
        super().__init__()
        for number, row in enumerate(table):
            if not row or len(set(row)) < len(row) or not set(row) <= set(range(in_channels)):
                raise ConfigError(
                    f"row {number} of the connection table must name maps from 0 to "
                    f"{in_channels - 1}, each once, received {tuple(row)}"
                )
        self.in_channels, self.kernel_size = in_channels, kernel_size
        self.row_lengths = [len(row) for row in table]
        self.weight = nn.Parameter(torch.empty(sum(self.row_lengths), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table)))
        places = [o * in_channels + c for o, row in enumerate(table) for c in row]
        # The table is part of the code, not of the weights.
        self.register_buffer("index", torch.tensor(places, dtype=torch.int64), persistent=False)
        for kernels, bias, fan_in in self.rows():
            for parameter in (kernels, bias):
                nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)

    def rows(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """The kernels and the bias of each output map, as views, and its fan-in."""
        kernels = torch.split(self.weight, self.row_lengths)
        for own, bias in zip(kernels, torch.split(self.bias, 1), strict=True):
            yield own, bias, own.numel()

    def forward(self, x: Tensor) -> Tensor:
        K = self.kernel_size
        full = self.weight.new_zeros(len(self.row_lengths) * self.in_channels, K, K)
        full = full.index_copy(0, self.index, self.weight)
        return F.conv2d(x, full.view(-1, self.in_channels, K, K), self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {len(self.row_lengths)}, kernel_size={self.kernel_size}, "
            f"connections={sum(self.row_lengths)}"
        )
