"""LeNet-5.

Source: LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document
recognition, section II.B.
"""

from collections import OrderedDict
from typing import Literal

from torch import nn

from convolens.errors import ConfigError
from convolens.geometry import output_size
from convolens.models.entry import ModelEntry

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
POOLINGS = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


def lenet5(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 32,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    pooling: Literal["average", "max"] = "average",
    dropout: float = 0.0,
) -> nn.Sequential:
    """LeNet-5 with full connections: two convolutions with pooling, three affine layers.

    Source: LeCun et al. (1998), section II.B and figure 2.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 16.
        activation: "tanh" as in the paper, or "relu".
        pooling: "average" as in the paper, or "max".
        dropout: probability of dropping a unit before the last layer.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for the windows.
        ConfigError: when an activation or pooling is not known.
    Deviates: C3 sees all six maps of S2; pooling has no trainable scale and bias; the output is
        a linear layer with softmax loss instead of radial basis functions; tanh is not scaled.
    Example:
        >>> sum(p.numel() for p in lenet5().parameters())
        61706
    """
    for field, value, known in (
        ("activation", activation, ACTIVATIONS),
        ("pooling", pooling, POOLINGS),
    ):
        if value not in known:
            raise ConfigError(f"{field} must be one of {', '.join(known)}, received {value!r}")
    act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
    side = image_size
    for kernel, stride in ((5, 1), (2, 2), (5, 1), (2, 2)):
        side = output_size(side, kernel, stride=stride)
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(in_channels, 6, 5)),
        ("act1", act()),
        ("pool1", pool(2)),
        ("conv2", nn.Conv2d(6, 16, 5)),
        ("act2", act()),
        ("pool2", pool(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(16 * side * side, 120)),
        ("act3", act()),
        ("fc2", nn.Linear(120, 84)),
        ("act4", act()),
        ("dropout", nn.Dropout(dropout)),
        ("fc3", nn.Linear(84, num_classes)),
    ]
    return nn.Sequential(OrderedDict(layers))


ENTRIES = (
    ModelEntry(
        builder=lenet5,
        input_size=(1, 32, 32),
        description="LeNet-5 (LeCun et al. 1998): two convolutions, three affine layers",
    ),
)
