"""ZFNet.

Source: Zeiler, Fergus (2013), Visualizing and understanding convolutional networks,
arXiv:1311.2901.
"""

from collections import OrderedDict

from torch import nn

from convolens.models.entry import ModelEntry, Published
from convolens.models.side import Window, side_after
from convolens.nn.initial import drawn_once, gaussian_weights
from convolens.nn.lrn import LocalResponseNorm

WINDOWS = (
    Window("conv1", 7, stride=2, padding=1),
    Window("pool1", 3, stride=2, ceil_mode=True),
    Window("conv2", 5, stride=2),
    Window("pool2", 3, stride=2, ceil_mode=True),
    Window("conv3", 3, padding=1),
    Window("conv4", 3, padding=1),
    Window("conv5", 3, padding=1),
    Window("pool5", 3, stride=2, ceil_mode=True),
)


def zfnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    wide: bool = False,
    lrn: bool = True,
    dropout: float = 0.5,
    weight_std: float | None = 0.01,
) -> nn.Sequential:
    """AlexNet with a first layer of 7×7 filters and stride 2, found by looking at its features.

    Source: Zeiler and Fergus (2013), section 3 and figure 3; table 3 for the wider layers.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 47.
        wide: 512, 1024 and 512 filters in conv3 to conv5, not 384, 384 and 256.
        lrn: whether maps are contrast-normalised after the first two poolings.
        dropout: probability of dropping a unit before fc6 and before fc7.
        weight_std: standard deviation of the initial weights, 0.01 in the paper; None takes
            those of He et al. (2015), from which the network learns sooner where pixels are
            standardised.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: the paper gives no padding: 1 px in conv1, none in conv2, and poolings whose last
        window may reach over the edge, as in the code of the time, give the 110, 55, 26, 13 and 6
        px of figure 3; "contrast normalised across feature maps" is taken for AlexNet's
        normalisation; filters are not scaled back to a norm of 0.1 during training.
    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in zfnet().parameters())
        62357608
    """
    side = side_after(image_size, WINDOWS)
    norm = LocalResponseNorm if lrn else nn.Identity
    third, fourth, fifth = (512, 1024, 512) if wide else (384, 384, 256)

    def build() -> nn.Sequential:
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(in_channels, 96, 7, stride=2, padding=1),
                relu1=nn.ReLU(inplace=True),
                pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                norm1=norm(),
                conv2=nn.Conv2d(96, 256, 5, stride=2),
                relu2=nn.ReLU(inplace=True),
                pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                norm2=norm(),
                conv3=nn.Conv2d(256, third, 3, padding=1),
                relu3=nn.ReLU(inplace=True),
                conv4=nn.Conv2d(third, fourth, 3, padding=1),
                relu4=nn.ReLU(inplace=True),
                conv5=nn.Conv2d(fourth, fifth, 3, padding=1),
                relu5=nn.ReLU(inplace=True),
                pool5=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                flatten=nn.Flatten(),
                dropout6=nn.Dropout(dropout),
                fc6=nn.Linear(fifth * side * side, 4096),
                relu6=nn.ReLU(inplace=True),
                dropout7=nn.Dropout(dropout),
                fc7=nn.Linear(4096, 4096),
                relu7=nn.ReLU(inplace=True),
                fc8=nn.Linear(4096, num_classes),
            )
        )

    return drawn_once(build, gaussian_weights(weight_std))


_FIGURE = "Zeiler and Fergus (2013), figure 3"
ENTRIES = (
    ModelEntry(
        builder=zfnet,
        input_size=(3, 224, 224),
        description="ZFNet (Zeiler and Fergus 2013): AlexNet with 7×7 filters and stride 2 first",
        published=(
            Published(quantity="volume", layer="conv1", value=(96, 110, 110), source=_FIGURE),
            Published(quantity="volume", layer="pool1", value=(96, 55, 55), source=_FIGURE),
            Published(quantity="volume", layer="conv2", value=(256, 26, 26), source=_FIGURE),
            Published(quantity="volume", layer="pool2", value=(256, 13, 13), source=_FIGURE),
            Published(quantity="volume", layer="conv3", value=(384, 13, 13), source=_FIGURE),
            Published(quantity="volume", layer="conv4", value=(384, 13, 13), source=_FIGURE),
            Published(quantity="volume", layer="conv5", value=(256, 13, 13), source=_FIGURE),
            Published(quantity="volume", layer="pool5", value=(256, 6, 6), source=_FIGURE),
            Published(quantity="volume", layer="fc6", value=(4096,), source=_FIGURE),
            Published(quantity="volume", layer="fc7", value=(4096,), source=_FIGURE),
        ),
    ),
)
