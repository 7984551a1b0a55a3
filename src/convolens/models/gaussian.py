"""Gaussian initial weights, drawn once."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn


def with_gaussian_weights(
    build: Callable[[], nn.Sequential],
    std: float | None,
    *,
    stds: Mapping[str, float] | None = None,
    ones: Collection[str] = (),
) -> nn.Sequential:
    """Builds a network whose convolutions and affine layers start from N(0, std²), biases from 0.

    Args:
        build: makes the network, which has no other parameters and no buffers.
        std: standard deviation of the weights; None takes √(2 / fan-in) for each layer (He et al.
            2015, arXiv:1502.01852), and biases of 0, whatever `stds` and `ones` say.
        stds: other standard deviations, by the layer's name.
        ones: layers whose biases start from 1.
    Returns: the network, on the default device.
    """
    # PyTorch's layers draw their weights when they are made: on meta that costs nothing.
    device = torch.get_default_device()
    if device.type == "meta":
        return build()
    with torch.device("meta"):
        net = build()
    net.to_empty(device=device)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            own = std and (stds or {}).get(name, std)
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5 if own is None else own)
            if module.bias is not None:
                nn.init.constant_(module.bias, 1 if name in ones and std is not None else 0)
    return net
