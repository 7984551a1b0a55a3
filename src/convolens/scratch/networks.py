"""Networks as lists of layers: SimpleConvNet, a deeper one, LeNet-5, a small residual network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from convolens.errors import ShapeError
from convolens.geometry import output_size
from convolens.scratch.activations import ReLU, Tanh
from convolens.scratch.affine import Affine, Flatten
from convolens.scratch.chain import Residual
from convolens.scratch.convolution import Convolution
from convolens.scratch.dropout import Dropout
from convolens.scratch.initial import Initial, gaussian, he, xavier
from convolens.scratch.layer import Layer
from convolens.scratch.losses import SoftmaxWithLoss
from convolens.scratch.network import Network
from convolens.scratch.normalization import BatchNormalization
from convolens.scratch.penalties import Penalty
from convolens.scratch.pooling import AveragePooling, MaxPooling


def simple_convnet(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 28,
    *,
    num_filters: int = 30,
    filter_size: int = 5,
    hidden_size: int = 100,
    weight_std: float | None = 0.01,
    dropout: float = 0.0,
    penalty: Penalty | None = None,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
) -> Network:
    """Conv - ReLU - Pool - Affine - ReLU - Affine, with softmax loss.

    Source: Saito (2016), Deep Learning from Scratch, section 7.5.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px].
        num_filters: filters of the convolution.
        filter_size: side of a filter [px].
        hidden_size: units of the hidden affine layer.
        weight_std: standard deviation of the initial weights, 0.01 in the book; None takes He's,
            which differs from layer to layer. Biases begin at 0.
        dropout: probability of dropping a hidden unit; the book's network drops none.
        penalty: on the weights, added to the loss.
        seed: of the initial weights and of dropout.
        dtype: float32, or float64 for a check of gradients.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Raises:
        ShapeError: when the picture is smaller than the filter.
    Example:
        >>> sum(p.size for p in simple_convnet().params.values())
        433890
    """
    rng = np.random.default_rng(seed)
    draw = _Draw(rng, he if weight_std is None else gaussian(weight_std), dtype)
    side = output_size(output_size(image_size, filter_size), 2, stride=2)
    layers: dict[str, Layer] = {
        "conv1": draw.convolution(in_channels, num_filters, filter_size),
        "relu1": ReLU(),
        "pool1": MaxPooling(2),
        "flatten": Flatten(),
        "fc1": draw.affine(num_filters * side * side, hidden_size),
        "relu2": ReLU(),
        **({"dropout": Dropout(dropout, rng=rng)} if dropout else {}),
        "fc2": draw.affine(hidden_size, num_classes),
    }
    return Network(layers, SoftmaxWithLoss(), penalty=penalty)


def deep_convnet(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 28,
    *,
    dropout: float = 0.5,
    penalty: Penalty | None = None,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
) -> Network:
    """Eight layers with weights: three pairs of 3×3 convolutions, each pooled, and two affine.

    Source: Saito (2016), Deep Learning from Scratch, section 8.1, figure 8-1.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 6.
        dropout: probability of dropping a unit of either affine layer, also of the last, as in
            the book.
        penalty: on the weights, added to the loss.
        seed: of the initial weights and of dropout.
        dtype: float32 or float64.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Raises:
        ShapeError: when the picture is too small.
    Example:
        >>> net = deep_convnet()
        >>> sum(name.endswith("W") for name in net.params)
        8
        >>> net.params["fc1.W"].shape  # 64 maps of 4×4
        (1024, 50)
    """
    rng = np.random.default_rng(seed)
    draw = _Draw(rng, he, dtype)
    layers: dict[str, Layer] = {}
    channels, side = in_channels, image_size
    # The fourth convolution pads by two, which makes 14 px 16, and 16 can be halved twice more.
    for index, (filters, padding) in enumerate(
        ((16, 1), (16, 1), (32, 1), (32, 2), (64, 1), (64, 1)), start=1
    ):
        layers[f"conv{index}"] = draw.convolution(channels, filters, 3, padding=padding)
        layers[f"relu{index}"] = ReLU()
        channels, side = filters, output_size(side, 3, padding=padding)
        if index % 2 == 0:
            layers[f"pool{index // 2}"] = MaxPooling(2)
            side = output_size(side, 2, stride=2)
    layers |= {
        "flatten": Flatten(),
        "fc1": draw.affine(channels * side * side, 50),
        "relu7": ReLU(),
        "dropout1": Dropout(dropout, rng=rng),
        "fc2": draw.affine(50, num_classes),
        "dropout2": Dropout(dropout, rng=rng),
    }
    return Network(layers, SoftmaxWithLoss(), penalty=penalty)


def lenet5(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 32,
    *,
    penalty: Penalty | None = None,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
) -> Network:
    """LeNet-5 with full connections: two convolutions with pooling, three affine layers, tanh.

    Source: LeCun, Bottou, Bengio, Haffner (1998), section II.B and figure 2.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 16.
        penalty: on the weights, added to the loss.
        seed: of the initial weights.
        dtype: float32 or float64.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Raises:
        ShapeError: when the picture is too small.
    Deviates: as `convolens.models.lenet5` does, whose weights these can be: C3 sees all six maps
        of S2, pooling has no coefficients, tanh is not scaled, softmax loss.
    Example:
        >>> sum(p.size for p in lenet5().params.values())
        61706
    """
    draw = _Draw(np.random.default_rng(seed), xavier, dtype)
    side = image_size
    for size, stride in ((5, 1), (2, 2), (5, 1), (2, 2)):
        side = output_size(side, size, stride=stride)
    layers: dict[str, Layer] = {
        "conv1": draw.convolution(in_channels, 6, 5),
        "act1": Tanh(),
        "pool1": AveragePooling(2),
        "conv2": draw.convolution(6, 16, 5),
        "act2": Tanh(),
        "pool2": AveragePooling(2),
        "flatten": Flatten(),
        "fc1": draw.affine(16 * side * side, 120),
        "act3": Tanh(),
        "fc2": draw.affine(120, 84),
        "act4": Tanh(),
        "fc3": draw.affine(84, num_classes),
    }
    return Network(layers, SoftmaxWithLoss(), penalty=penalty)


def residual_net(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 28,
    *,
    width: int = 16,
    penalty: Penalty | None = None,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
) -> Network:
    """A stem, three residual blocks of two 3×3 convolutions, the mean of each map, and one affine.

    Source: He, Zhang, Ren, Sun (2015), arXiv:1512.03385, section 4.2 with n = 1: its smallest
        network for CIFAR-10, of eight layers with weights.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px].
        width: maps of the first block; the second and third have two and four times as many, at
            half and at a quarter of the resolution.
        penalty: on the weights, added to the loss.
        seed: of the initial weights.
        dtype: float32 or float64.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Raises:
        ShapeError: when image_size is less than 1.
    Deviates: where the shape changes, the shortcut is a 1×1 convolution with batch normalisation
        (option B of the paper), not zeros (option A).
    Example:
        >>> net = residual_net()
        >>> [name for name in net.params if name.startswith("block2.shortcut")][:2]
        ['block2.shortcut.conv.W', 'block2.shortcut.bn.gamma']
    """
    if image_size < 1:
        raise ShapeError(f"image_size must be at least 1, received {image_size}")
    draw = _Draw(np.random.default_rng(seed), he, dtype)
    layers: dict[str, Layer] = {
        "conv": draw.convolution(in_channels, width, 3, padding=1, bias=False),
        "bn": draw.normalization(width),
        "relu": ReLU(),
    }
    channels, side = width, image_size
    for index, (filters, stride) in enumerate(
        ((width, 1), (2 * width, 2), (4 * width, 2)), start=1
    ):
        layers[f"block{index}"] = _block(draw, channels, filters, stride)
        layers[f"relu{index}"] = ReLU()
        channels, side = filters, output_size(side, 3, stride=stride, padding=1)
    layers |= {
        "mean": AveragePooling(side),
        "flatten": Flatten(),
        "fc": draw.affine(channels, num_classes),
    }
    return Network(layers, SoftmaxWithLoss(), penalty=penalty)


def _block(draw: "_Draw", channels: int, filters: int, stride: int) -> Residual:
    volume: dict[str, Layer] = {
        "conv1": draw.convolution(channels, filters, 3, stride=stride, padding=1, bias=False),
        "bn1": draw.normalization(filters),
        "relu": ReLU(),
        "conv2": draw.convolution(filters, filters, 3, padding=1, bias=False),
        "bn2": draw.normalization(filters),
    }
    if channels == filters and stride == 1:
        return Residual(volume)
    shortcut: dict[str, Layer] = {
        "conv": draw.convolution(channels, filters, 1, stride=stride, bias=False),
        "bn": draw.normalization(filters),
    }
    return Residual(volume, shortcut)


@dataclass(frozen=True)
class _Draw:
    """Makes layers whose weights are drawn; biases begin at 0."""

    rng: np.random.Generator
    initial: Initial
    dtype: DTypeLike

    def convolution(
        self,
        in_channels: int,
        num_filters: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> Convolution:
        shape, taps = (num_filters, in_channels, size, size), size * size
        W = self.initial(self.rng, shape, in_channels * taps, num_filters * taps)
        b = np.zeros(num_filters, self.dtype) if bias else None
        return Convolution(W.astype(self.dtype), b, stride=stride, padding=padding)

    def affine(self, num_inputs: int, num_units: int) -> Affine:
        W = self.initial(self.rng, (num_inputs, num_units), num_inputs, num_units)
        return Affine(W.astype(self.dtype), np.zeros(num_units, self.dtype))

    def normalization(self, channels: int) -> BatchNormalization:
        return BatchNormalization(np.ones(channels, self.dtype), np.zeros(channels, self.dtype))
