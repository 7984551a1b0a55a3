"""Initial weights: a network is built without filling its weights, then each of them is drawn once.

PyTorch's layers draw weights when they are made; for a hundred million of them that costs a second,
for values that a network with a rule of its own draws anew.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import chain
from typing import Literal, TypeVar, cast

import torch
from torch import nn

from convolens.nn.dimensions import BatchNorm, Convolution, layers_for

Fan = Literal["fan_in", "fan_out"]
Fill = Callable[[str, nn.Module], None]  # a layer's path and the layer, whose own weights it draws
Net = TypeVar("Net", bound=nn.Module)


def drawn_once(build: Callable[[], Net], fill: Fill) -> Net:
    """Builds a network on the default device and draws every weight once.

    Args:
        build: makes the network, of layers that `fill` knows.
        fill: `he_weights(…)` or `gaussian_weights(…)`.
    Returns: the network; on the meta device, where there are no values, as it is built.
    Example:
        >>> drawn_once(lambda: nn.Linear(2, 3), gaussian_weights(0.01)).bias.tolist()
        [0.0, 0.0, 0.0]
    """
    device = torch.get_default_device()
    if device.type == "meta":  # the first normal_ there imports for two seconds
        return build()
    with torch.device("meta"):
        net = build()
    net.to_empty(device=device)
    for name, module in net.named_modules():
        fill(name, module)
    return net


def he_weights(*, fan: Fan = "fan_in", linear_std: float | None = None) -> Fill:
    """Convolutions from N(0, 2 / fan) with biases of 0; batch norms that are the identity.

    Source: He, Zhang, Ren, Sun (2015), Delving deep into rectifiers, arXiv:1502.01852, section 2.2.
    Args:
        fan: "fan_in", the K² · C_in numbers that an output is the sum of, or "fan_out", the
            K² · C_out outputs that an input goes into.
        linear_std: standard deviation of the weights of affine layers, with biases of 0; None
            leaves both as PyTorch draws them.
    """

    def fill(name: str, module: nn.Module) -> None:
        if isinstance(module, Convolution):
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")
            _set_biases(module, 0)
        elif isinstance(module, nn.Linear) and linear_std is not None:
            nn.init.normal_(module.weight, std=linear_std)
            _set_biases(module, 0)
        elif isinstance(module, BatchNorm | nn.Linear):
            module.reset_parameters()
        else:
            _check_is_empty(name, module)

    return fill


def gaussian_weights(
    std: float | None, *, stds: Mapping[str, float] | None = None, ones: Collection[str] = ()
) -> Fill:
    """Convolutions and affine layers from N(0, std²) with biases of 0.

    Args:
        std: standard deviation of the weights; None takes √(2 / fan-in) for each layer (He et al.
            2015, arXiv:1502.01852), and biases of 0, whatever `stds` and `ones` say.
        stds: other standard deviations, by the layer's path.
        ones: paths of layers whose biases start from 1.
    """

    def fill(name: str, module: nn.Module) -> None:
        if isinstance(module, Convolution | nn.Linear):
            own = std and (stds or {}).get(name, std)
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5 if own is None else own)
            _set_biases(module, 1 if name in ones and std is not None else 0)
        else:
            _check_is_empty(name, module)

    return fill


def he_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    num_dimensions: int = 2,
) -> Convolution:
    """A convolution with weights from N(0, 2 / (C_in·K²)) and biases of zero, drawn once.

    Args:
        in_channels: C_in.
        out_channels: number of filters.
        kernel_size: K, side of a filter [px].
        stride: [px].
        padding: zeros on each side [px].
        bias: whether it has biases; batch norm after it makes them useless.
        num_dimensions: spatial axes, 1 to 3.
    Shape: x (N, C_in, H, W) -> (N, out_channels, H', W'), H' = floor((H + 2P − K)/S) + 1
    Example:
        >>> he_conv(3, 64, 7, stride=2, padding=3)(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 64, 112, 112])
    """
    conv = layers_for(num_dimensions).conv

    def build() -> Convolution:
        made = conv(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=bias
        )
        return cast("Convolution", made)

    return drawn_once(build, he_weights())


def _set_biases(module: nn.Module, value: float) -> None:
    if isinstance(module.bias, nn.Parameter):
        nn.init.constant_(module.bias, value)


def _check_is_empty(name: str, module: nn.Module) -> None:
    """A layer without a rule would keep whatever its memory holds."""
    if any(True for _ in chain(module.parameters(False), module.buffers(False))):
        raise TypeError(f"how {name}, a {type(module).__name__}, begins is not known")
