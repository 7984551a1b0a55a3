"""Building a network without filling its weights first, and filling each of them once."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import nn


def build_and_fill(
    build: Callable[[], nn.Sequential], *, linear_std: float | None = None
) -> nn.Sequential:
    """Builds a network on the default device and draws every weight once.

    PyTorch's layers draw weights when they are made; for a hundred million of them that costs a
    second, for values that a network with a rule of its own draws anew.

    Args:
        build: makes the network of the layers that `fill` knows.
        linear_std: as of `fill`.
    """
    device = torch.get_default_device()
    if device.type == "meta":  # no values, and the first normal_ there imports for two seconds
        return build()
    with torch.device("meta"):
        net = build()
    net.to_empty(device=device)
    for module in net.modules():
        fill(module, linear_std=linear_std)
    return net


def fill(module: nn.Module, *, linear_std: float | None = None) -> None:
    """Draws a layer's own weights: convolutions from N(0, 2 / (K² · C_out)), biases 0.

    Batch norms begin as the identity.

    Source: He et al. (2015), Delving deep into rectifiers, arXiv:1502.01852, section 2.2.
    Args:
        linear_std: standard deviation of the weights of linear layers, with biases of 0; None
            leaves both as PyTorch draws them.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear) and linear_std is not None:
        nn.init.normal_(module.weight, std=linear_std)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.Linear):
        module.reset_parameters()
    elif any(True for _ in chain(module.parameters(False), module.buffers(False))):
        raise TypeError(f"how a {type(module).__name__} begins is not known")
