"""AlexNet.

Source: Krizhevsky, Sutskever, Hinton (2012), ImageNet classification with deep convolutional neural
networks, NIPS 25.
"""

from collections import OrderedDict

from torch import nn

from convolens.models.entry import ModelEntry, Published
from convolens.models.side import Window, side_after
from convolens.nn.initial import drawn_once, gaussian_weights
from convolens.nn.lrn import LocalResponseNorm

WINDOWS = (
    Window("conv1", 11, stride=4),
    Window("pool1", 3, stride=2),
    Window("conv2", 5, padding=2),
    Window("pool2", 3, stride=2),
    Window("conv3", 3, padding=1),
    Window("conv4", 3, padding=1),
    Window("conv5", 3, padding=1),
    Window("pool5", 3, stride=2),
)
BIASES_OF_ONE = ("conv2", "conv4", "conv5", "fc6", "fc7")


def alexnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 227,
    *,
    groups: int = 2,
    lrn: bool = True,
    dropout: float = 0.5,
    weight_std: float | None = 0.01,
) -> nn.Sequential:
    """Five convolutions, overlapping max-pooling, response normalisation, three affine layers.

    Source: Krizhevsky et al. (2012), section 3 and figure 2; section 4.2 for dropout; section 5 for
        the initial weights N(0, 0.01²) and biases of 1 in conv2, conv4, conv5, fc6 and fc7.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 67.
        groups: groups of conv2, conv4 and conv5: 2 as on the paper's two GPUs, or 1.
        lrn: whether responses are normalised after conv1 and conv2.
        dropout: probability of dropping a unit before fc6 and before fc7.
        weight_std: standard deviation of the initial weights; None takes those of He et al.
            (2015), from which the network learns sooner where pixels are standardised.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: pictures have 227 px, the size for which the paper's layers come out, not the 224
        px that it names; normalisation comes before pooling, as in the paper (Caffe's CaffeNet
        has it after). The paper's pixels reach from 0 to 255, less their mean, which its initial
        weights presume.
    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in alexnet().parameters())
        60965224
    """
    side = side_after(image_size, WINDOWS)
    norm = LocalResponseNorm if lrn else nn.Identity

    def build() -> nn.Sequential:
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(in_channels, 96, 11, stride=4),
                relu1=nn.ReLU(inplace=True),
                norm1=norm(),
                pool1=nn.MaxPool2d(3, stride=2),
                conv2=nn.Conv2d(96, 256, 5, padding=2, groups=groups),
                relu2=nn.ReLU(inplace=True),
                norm2=norm(),
                pool2=nn.MaxPool2d(3, stride=2),
                conv3=nn.Conv2d(256, 384, 3, padding=1),
                relu3=nn.ReLU(inplace=True),
                conv4=nn.Conv2d(384, 384, 3, padding=1, groups=groups),
                relu4=nn.ReLU(inplace=True),
                conv5=nn.Conv2d(384, 256, 3, padding=1, groups=groups),
                relu5=nn.ReLU(inplace=True),
                pool5=nn.MaxPool2d(3, stride=2),
                flatten=nn.Flatten(),
                dropout6=nn.Dropout(dropout),
                fc6=nn.Linear(256 * side * side, 4096),
                relu6=nn.ReLU(inplace=True),
                dropout7=nn.Dropout(dropout),
                fc7=nn.Linear(4096, 4096),
                relu7=nn.ReLU(inplace=True),
                fc8=nn.Linear(4096, num_classes),
            )
        )

    return drawn_once(build, gaussian_weights(weight_std, ones=BIASES_OF_ONE))


_PAPER = "Krizhevsky et al. (2012), section 3.5"
_NOTES = "CS231n (2017), lecture 9, slides on AlexNet"
_SURVEY = "Sze, Chen, Yang, Emer (2017), arXiv:1703.09039, table II"
ENTRIES = (
    ModelEntry(
        builder=alexnet,
        input_size=(3, 227, 227),
        description="AlexNet (Krizhevsky et al. 2012): two groups, LRN, overlapping pooling",
        published=(
            Published(quantity="params", value=60_000_000, within=0.02, source="abstract"),
            Published(quantity="params", value=61_000_000, within=0.01, source=_SURVEY),
            Published(quantity="macs", value=724_000_000, within=0.001, source=_SURVEY),
            Published(quantity="volume", layer="conv1", value=(96, 55, 55), source=_NOTES),
            Published(quantity="volume", layer="pool1", value=(96, 27, 27), source=_NOTES),
            # The paper gives units: 186,624, 64,896, 64,896, 43,264, 4096, 4096, 1000.
            Published(quantity="volume", layer="conv2", value=(256, 27, 27), source=_PAPER),
            Published(quantity="volume", layer="pool2", value=(256, 13, 13), source=_NOTES),
            Published(quantity="volume", layer="conv3", value=(384, 13, 13), source=_PAPER),
            Published(quantity="volume", layer="conv4", value=(384, 13, 13), source=_PAPER),
            Published(quantity="volume", layer="conv5", value=(256, 13, 13), source=_PAPER),
            Published(quantity="volume", layer="pool5", value=(256, 6, 6), source=_NOTES),
            Published(quantity="volume", layer="fc6", value=(4096,), source=_PAPER),
            Published(quantity="volume", layer="fc7", value=(4096,), source=_PAPER),
            Published(quantity="volume", layer="fc8", value=(1000,), source=_PAPER),
        ),
    ),
)
