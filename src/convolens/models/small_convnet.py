"""A small batch-normalised network, the default for pictures of 28 to 32 px."""

from collections import OrderedDict

from torch import nn

from convolens.geometry import output_size
from convolens.models.entry import ModelEntry

SMALLEST_POOLED_SIDE = 6


def small_convnet(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    width: int = 16,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Stages of convolution, max-pooling, batch norm and ReLU, then one affine layer.

    The first stage has 5×5 filters, the others have 3×3 and twice as many as the one before. A
    stage is added while the map is larger than 6 px, and a last one without pooling where the
    map still holds its filters. Pooling comes before the normalisation and the ReLU: the maximum
    of a ReLU is the ReLU of the maximum, and a quarter of the values is left to normalise.

    Source: the layout of LeNet-5 (LeCun et al. 1998) with batch normalisation (Ioffe and
        Szegedy 2015, arXiv:1502.03167) and ReLU.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px].
        width: filters of the first stage.
        dropout: probability of dropping a value before the last layer.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for one stage.
    Example:
        >>> [name for name, _ in small_convnet(image_size=28).named_children()]
        ['stage1', 'stage2', 'stage3', 'flatten', 'dropout', 'fc']
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    side, channels, filters, kernel = image_size, in_channels, width, 5
    while side > SMALLEST_POOLED_SIDE or not stages:
        stages[f"stage{len(stages) + 1}"] = _stage(channels, filters, kernel, pool=True)
        side = output_size(output_size(side, kernel), 2, stride=2)
        channels, filters, kernel = filters, 2 * filters, 3
    if side >= kernel:
        stages[f"stage{len(stages) + 1}"] = _stage(channels, filters, kernel, pool=False)
        side, channels = output_size(side, kernel), filters
    return nn.Sequential(
        stages
        | OrderedDict[str, nn.Module](
            flatten=nn.Flatten(),
            dropout=nn.Dropout(dropout),
            fc=nn.Linear(channels * side * side, num_classes),
        )
    )


def _stage(in_channels: int, filters: int, kernel: int, *, pool: bool) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(in_channels, filters, kernel, bias=False),
            pool=nn.MaxPool2d(2) if pool else nn.Identity(),
            norm=nn.BatchNorm2d(filters),
            relu=nn.ReLU(inplace=True),
        )
    )


ENTRIES = (
    ModelEntry(
        builder=small_convnet,
        input_size=(3, 32, 32),
        description="a small batch-normalised network, the default for 28 to 32 px",
    ),
)
