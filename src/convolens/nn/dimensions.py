"""PyTorch's layers for one, two or three spatial axes."""

from dataclasses import dataclass

from torch import nn

from convolens.errors import ShapeError

Kind = type[nn.Module]
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The layers of one number of spatial axes.

    Args:
        conv: convolution; `conv_transpose` is the transposed one.
        batch_norm: batch normalisation of (N, C, *axes).
        avg_pool: average pooling of fixed windows; `adaptive_avg_pool` of a fixed output size.
        max_pool: likewise with the maximum.
        dropout: drops whole channels.
        interpolation: the word of `torch.nn.functional.interpolate` for linear interpolation.
    """

    conv: Kind
    conv_transpose: Kind
    batch_norm: Kind
    avg_pool: Kind
    max_pool: Kind
    adaptive_avg_pool: Kind
    adaptive_max_pool: Kind
    dropout: Kind
    interpolation: str


DIMENSIONS = {
    1: Dimensions(
        conv=nn.Conv1d,
        conv_transpose=nn.ConvTranspose1d,
        batch_norm=nn.BatchNorm1d,
        avg_pool=nn.AvgPool1d,
        max_pool=nn.MaxPool1d,
        adaptive_avg_pool=nn.AdaptiveAvgPool1d,
        adaptive_max_pool=nn.AdaptiveMaxPool1d,
        dropout=nn.Dropout1d,
        interpolation="linear",
    ),
    2: Dimensions(
        conv=nn.Conv2d,
        conv_transpose=nn.ConvTranspose2d,
        batch_norm=nn.BatchNorm2d,
        avg_pool=nn.AvgPool2d,
        max_pool=nn.MaxPool2d,
        adaptive_avg_pool=nn.AdaptiveAvgPool2d,
        adaptive_max_pool=nn.AdaptiveMaxPool2d,
        dropout=nn.Dropout2d,
        interpolation="bilinear",
    ),
    3: Dimensions(
        conv=nn.Conv3d,
        conv_transpose=nn.ConvTranspose3d,
        batch_norm=nn.BatchNorm3d,
        avg_pool=nn.AvgPool3d,
        max_pool=nn.MaxPool3d,
        adaptive_avg_pool=nn.AdaptiveAvgPool3d,
        adaptive_max_pool=nn.AdaptiveMaxPool3d,
        dropout=nn.Dropout3d,
        interpolation="trilinear",
    ),
}


def layers_for(num_dimensions: int) -> Dimensions:
    """The layers for inputs of (N, C) and `num_dimensions` spatial axes.

    Args:
        num_dimensions: 1 for signals (N, C, L), 2 for pictures (N, C, H, W), 3 for volumes
            (N, C, D, H, W).
    Raises:
        ShapeError: when it is not 1, 2 or 3.
    Example:
        >>> layers_for(1).conv(3, 8, 5)
        Conv1d(3, 8, kernel_size=(5,), stride=(1,))
    """
    if num_dimensions not in DIMENSIONS:
        raise ShapeError(
            f"an input has 1, 2 or 3 spatial axes besides its channels, received {num_dimensions}"
        )
    return DIMENSIONS[num_dimensions]
