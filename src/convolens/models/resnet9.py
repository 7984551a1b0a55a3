"""ResNet-9: a shallow, wide residual network that learns CIFAR-10 fast."""

from collections import OrderedDict

from torch import Tensor, nn

from convolens.errors import ShapeError
from convolens.models.entry import ModelEntry
from convolens.nn.scale import Scale

SMALLEST_SIDE = 8  # three halvings leave one pixel


class _Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + y


def resnet9(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    width: int = 64,
    dropout: float = 0.0,
    scale: float = 0.125,
) -> nn.Sequential:
    """Eight 3×3 convolutions, two residual blocks among them, and one affine layer.

    Filters are w, then 2w, 4w and 8w, each of the three after a halving of the side; the first
    and the last of the three end in a residual block of two convolutions.

    Source: Page (2018), "How to train your ResNet", parts 4 and 8, whose network won DAWNBench
        for CIFAR-10 on one GPU.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px].
        width: w, filters of the first convolution.
        dropout: probability of dropping a value before the last layer.
        scale: factor on the logits.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is smaller than 8 px.
    Deviates: max-pooling stands before batch norm (as in part 8) and the last one takes the whole
        map, whatever the size of the picture; the filters of the first layer are learnt.
    Example:
        >>> sum(p.numel() for p in resnet9().parameters())
        6573120
    """
    if image_size < SMALLEST_SIDE:
        raise ShapeError(
            f"a picture of {image_size} px does not fit resnet9, which halves its side three "
            f"times: expected at least {SMALLEST_SIDE} px"
        )
    stages: list[tuple[str, nn.Module]] = [("stage1", _conv(in_channels, width))]
    for number, residual in ((2, True), (3, False), (4, True)):
        filters = width * 2 ** (number - 1)
        stage = OrderedDict[str, nn.Module](conv=_conv(filters // 2, filters, pool=True))
        if residual:
            stage["residual"] = _Residual(
                OrderedDict(conv1=_conv(filters, filters), conv2=_conv(filters, filters))
            )
        stages.append((f"stage{number}", nn.Sequential(stage)))
    return nn.Sequential(
        OrderedDict(
            [
                *stages,
                ("pool", nn.AdaptiveMaxPool2d(1)),
                ("flatten", nn.Flatten()),
                ("dropout", nn.Dropout(dropout)),
                ("fc", nn.Linear(8 * width, num_classes, bias=False)),
                ("scale", Scale(scale)),
            ]
        )
    )


def _conv(in_channels: int, filters: int, *, pool: bool = False) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module](
        conv=nn.Conv2d(in_channels, filters, 3, padding=1, bias=False)
    )
    if pool:
        layers["pool"] = nn.MaxPool2d(2)
    layers["norm"] = nn.BatchNorm2d(filters)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


ENTRIES = (
    ModelEntry(
        builder=resnet9,
        input_size=(3, 32, 32),
        description="a shallow, wide residual network for 32 px (Page 2018)",
    ),
)
