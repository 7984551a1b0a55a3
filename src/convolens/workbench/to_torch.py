"""`to_torch`: a network of the NumPy floor becomes the same network of PyTorch."""

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.nn.lrn import LocalResponseNorm as TorchLocalResponseNorm
from convolens.nn.maxout import Maxout as TorchMaxout
from convolens.scratch import activations
from convolens.scratch.affine import Affine, Flatten
from convolens.scratch.chain import Chain, Residual
from convolens.scratch.convolution import Convolution, TransposedConvolution
from convolens.scratch.dropout import Dropout
from convolens.scratch.layer import Array, Layer
from convolens.scratch.network import Network
from convolens.scratch.normalization import BatchNormalization, LocalResponseNorm
from convolens.scratch.pooling import AveragePooling, MaxPooling


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of (N, C) as well as of (N, C, H, W), like the NumPy floor's."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        if input.dim() not in (2, 4):
            raise ValueError(f"expected (N, C) or (N, C, H, W), received {tuple(input.shape)}")


class PaperDropout(nn.Module):
    """Dropout as first published: x·m in training, x·(1 − p) in evaluation.

    Source: Srivastava et al. (2014), section 4.
    Args:
        p: the probability that m is 0.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= self.p) if self.training else x * (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class ResidualSum(nn.Module):
    """volume(x) + shortcut(x)."""

    def __init__(self, volume: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.volume, self.shortcut = volume, shortcut

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.volume(x) + self.shortcut(x)
        return total


def to_torch(net: Network | Layer) -> nn.Module:
    """The same network as an nn.Module: same outputs, same gradients, weights copied.

    Modules have the layers' names, so that the state_dict of `scratch.networks.simple_convnet`
    and `lenet5` loads into `models.simple_convnet` and `models.lenet5`. The loss stays behind:
    the module gives scores.

    Args:
        net: a network, or a single layer of it.
    Returns: the module, in training mode like any new one, with the dtype of the weights.
    Raises:
        ConfigError: when a layer is not one of `convolens.scratch`.
    Deviates: dropout draws other units, since PyTorch has other random numbers. An affine layer's
        W (D, M) is `weight` (M, D), the transpose.
    Example:
        >>> from convolens.scratch.networks import simple_convnet
        >>> to_torch(simple_convnet()).fc2
        Linear(in_features=100, out_features=10, bias=True)
    """
    if isinstance(net, Network):
        return _sequence(net.layers)
    # A child of one of our layers may compute something else, so it is not taken for its parent.
    if not type(net).__module__.startswith("convolens.scratch."):
        raise _unknown(net)
    match net:
        case Chain():
            return _sequence(net.layers)
        case Residual():
            return ResidualSum(_sequence(net.volume.layers), _sequence(net.shortcut.layers))
        case Convolution() | TransposedConvolution():
            return _convolution(net)
        case Affine():
            W = net.params["W"]
            linear = nn.Linear(W.shape[0], W.shape[1], device="meta")
            return _filled(linear, weight=W.T, bias=net.params["b"])
        case BatchNormalization():
            return _normalization(net)
        case activations.PReLU():
            a = net.params["a"]
            return _filled(nn.PReLU(len(a), device="meta"), weight=a)
        case Dropout():
            return PaperDropout(net.p) if net.paper else nn.Dropout(net.p)
        case _:
            return _without_parameters(net)


def _sequence(layers: Mapping[str, Layer]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, to_torch(layer)) for name, layer in layers.items()))


def _without_parameters(layer: Layer) -> nn.Module:
    match layer:
        case Flatten():
            return nn.Flatten()
        case MaxPooling():
            return nn.MaxPool2d(layer.size, layer.stride, layer.padding)
        case AveragePooling():
            return nn.AvgPool2d(layer.size, layer.stride, layer.padding)
        case LocalResponseNorm():
            return TorchLocalResponseNorm(layer.size, alpha=layer.alpha, beta=layer.beta, k=layer.k)
        case activations.Maxout():
            return TorchMaxout(layer.num_pieces)
        case activations.Softmax():
            return nn.Softmax(dim=1)
        case activations.Sigmoid():
            return nn.Sigmoid()
        case activations.Tanh():
            return nn.Tanh()
        case activations.ReLU():
            return nn.ReLU()
        case activations.LeakyReLU():
            return nn.LeakyReLU(layer.slope)
        case activations.ELU():
            return nn.ELU(layer.alpha)
    raise _unknown(layer)


def _unknown(layer: Layer) -> ConfigError:
    return ConfigError(
        f"to_torch knows the layers of convolens.scratch, received a {type(layer).__name__}"
    )


def _convolution(layer: Convolution | TransposedConvolution) -> nn.Module:
    W, b, groups = layer.params["W"], layer.params.get("b"), layer.groups
    kernel = (W.shape[2], W.shape[3])
    module: nn.Module
    if isinstance(layer, Convolution):
        module = nn.Conv2d(
            W.shape[1] * groups,
            len(W),
            kernel,
            layer.stride,
            layer.padding,
            layer.dilation,
            groups,
            bias=b is not None,
            device="meta",
        )
    else:
        module = nn.ConvTranspose2d(
            len(W),
            W.shape[1] * groups,
            kernel,
            layer.stride,
            layer.padding,
            layer.output_padding,
            groups,
            b is not None,
            layer.dilation,
            device="meta",
        )
    return _filled(module, weight=W) if b is None else _filled(module, weight=W, bias=b)


def _normalization(layer: BatchNormalization) -> nn.Module:
    gamma, beta = layer.params["gamma"], layer.params["beta"]
    module = BatchNorm(len(gamma), eps=layer.eps, momentum=layer.momentum)
    _filled(module, weight=gamma, bias=beta)
    module.running_mean = _tensor(layer.running_mean)
    module.running_var = _tensor(layer.running_var)
    return module


def _filled(module: nn.Module, **arrays: Array) -> nn.Module:
    """The module with these parameters; it was made on the meta device, so that none is drawn."""
    for name, array in arrays.items():
        setattr(module, name, nn.Parameter(_tensor(array)))
    return module


def _tensor(array: Array) -> Tensor:
    """A copy of an array, whatever its strides."""
    return torch.from_numpy(np.array(array, order="C"))
