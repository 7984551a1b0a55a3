"""Convolutions that begin with He's weights."""

import torch
from torch import nn


def he_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
) -> nn.Conv2d:
    """A convolution with weights from N(0, 2 / (C_in·K²)) and biases of zero, drawn once.

    Source: He, Zhang, Ren, Sun (2015), Delving deep into rectifiers, arXiv:1502.01852, section 2.2.
    Args:
        in_channels: C_in.
        out_channels: number of filters.
        kernel_size: K, side of a filter [px].
        stride: [px].
        padding: zeros on each side [px].
        bias: whether it has biases; batch norm after it makes them useless.
    Shape: x (N, C_in, H, W) -> (N, out_channels, H', W'), H' = floor((H + 2P − K)/S) + 1
    Example:
        >>> he_conv(3, 64, 7, stride=2, padding=3)(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 64, 112, 112])
    """
    # On the meta device PyTorch's own initial weights cost nothing; drawn in earnest, they would
    # double the time that a network is built in.
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        bias=bias,
        device="meta",
    )
    device = torch.get_default_device()
    if device.type == "meta":  # where a normal draw would import a second's worth of modules
        return conv
    conv.to_empty(device=device)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
