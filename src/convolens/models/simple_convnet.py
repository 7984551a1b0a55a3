"""SimpleConvNet: Conv - ReLU - Pool - Affine - ReLU - Affine.

Source: Saito (2016), Deep Learning from Scratch, chapter 7.
"""

from collections import OrderedDict

from torch import nn

from convolens.geometry import output_size
from convolens.models.entry import ModelEntry


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
) -> nn.Sequential:
    """One convolution with 2×2 max-pooling and two affine layers.

    Source: Saito (2016), Deep Learning from Scratch, section 7.5.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px].
        num_filters: filters of the convolution.
        filter_size: side of a filter [px].
        hidden_size: units of the hidden affine layer.
        weight_std: standard deviation of the initial weights, 0.01 in the book; None takes
            PyTorch's own initialisation.
        dropout: probability of dropping a hidden unit.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is smaller than the filter.
    Example:
        >>> sum(p.numel() for p in simple_convnet().parameters())
        433890
    """
    side = output_size(output_size(image_size, filter_size), 2, stride=2)
    net = nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(in_channels, num_filters, filter_size),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(num_filters * side * side, hidden_size),
            relu2=nn.ReLU(),
            dropout=nn.Dropout(dropout),
            fc2=nn.Linear(hidden_size, num_classes),
        )
    )
    if weight_std is not None:
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=weight_std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return net


ENTRIES = (
    ModelEntry(
        builder=simple_convnet,
        input_size=(1, 28, 28),
        description="Conv-ReLU-Pool-Affine-ReLU-Affine (Saito 2016, chapter 7)",
    ),
)
