"""Network in network.

Source: Lin, Chen, Yan (2013), Network in network, arXiv:1312.4400.
"""

from collections import OrderedDict

from torch import nn

from convolens.models.entry import ModelEntry, Published
from convolens.models.side import Window, side_after
from convolens.nn.initial import drawn_once, gaussian_weights

IMAGENET_WINDOWS = (
    Window("mlpconv1", 11, stride=4),
    Window("pool1", 3, stride=2, ceil_mode=True),
    Window("mlpconv2", 5, padding=2),
    Window("pool2", 3, stride=2, ceil_mode=True),
    Window("mlpconv3", 3, padding=1),
    Window("pool3", 3, stride=2, ceil_mode=True),
    Window("mlpconv4", 3, padding=1),
)
CIFAR_WINDOWS = (
    Window("mlpconv1", 5, padding=2),
    Window("pool1", 3, stride=2, ceil_mode=True),
    Window("mlpconv2", 5, padding=2),
    Window("pool2", 3, stride=2, ceil_mode=True),
    Window("mlpconv3", 3, padding=1),
)


def mlpconv(
    in_channels: int, filters: tuple[int, int, int], window: Window, *, last_relu: bool = True
) -> nn.Sequential:
    """A convolution whose every position passes through a two-layer perceptron, ReLU after each.

    The perceptron's layers are 1×1 convolutions, the paper's cascaded cross-channel pooling (cccp).
    """
    first, second, third = filters
    conv = nn.Conv2d(
        in_channels, first, window.kernel, stride=window.stride, padding=window.padding
    )
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=conv,
            relu1=nn.ReLU(inplace=True),
            cccp1=nn.Conv2d(first, second, 1),
            relu2=nn.ReLU(inplace=True),
            cccp2=nn.Conv2d(second, third, 1),
            **({"relu3": nn.ReLU(inplace=True)} if last_relu else {}),
        )
    )


def nin(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    dropout: float = 0.5,
    last_relu: bool = False,
    weight_std: float | None = 0.05,
) -> nn.Sequential:
    """Four mlpconv layers and global average pooling of one map per class.

    Source: Lin et al. (2013), section 3; the sizes and the initial weights are those of the
        authors' Caffe model `nin_imagenet`, which the paper does not describe.
    Args:
        num_classes: maps of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 39. The network reads larger ones too.
        dropout: probability of dropping a value before the last mlpconv layer.
        last_relu: whether a ReLU stands between the last convolution and the average.
        weight_std: standard deviation of the initial weights, of which the first, the seventh
            and the last convolution have 0.01; None takes those of He et al. (2015).
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: the authors' networks have the last ReLU; where all its inputs are negative no class
        gets a gradient any more, so it is left out unless asked for.
    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in nin().parameters())
        7595176
    """
    side_after(image_size, IMAGENET_WINDOWS)
    conv1, _, conv2, _, conv3, _, conv4 = IMAGENET_WINDOWS

    def build() -> nn.Sequential:
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                mlpconv1=mlpconv(in_channels, (96, 96, 96), conv1),
                pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                mlpconv2=mlpconv(96, (256, 256, 256), conv2),
                pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                mlpconv3=mlpconv(256, (384, 384, 384), conv3),
                pool3=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                dropout=nn.Dropout(dropout),
                mlpconv4=mlpconv(384, (1024, 1024, num_classes), conv4, last_relu=last_relu),
                average=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
            )
        )

    stds = {"mlpconv1.conv": 0.01, "mlpconv3.conv": 0.01, "mlpconv4.cccp2": 0.01}
    return drawn_once(build, gaussian_weights(weight_std, stds=stds))


def nin_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    dropout: float = 0.5,
    last_relu: bool = False,
    weight_std: float | None = 0.05,
) -> nn.Sequential:
    """Three mlpconv layers and global average pooling, for pictures of CIFAR's size.

    Source: Lin et al. (2013), section 4.1 and figure 2; the sizes are those of the authors'
        cuda-convnet definition, which the paper does not print.
    Args:
        num_classes: maps of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 4. The network reads larger ones too.
        dropout: probability of dropping a value between the mlpconv layers.
        last_relu: whether a ReLU stands between the last convolution and the average.
        weight_std: standard deviation of the initial weights; None takes those of He et al.
            (2015), from which the network learns sooner where pixels are standardised.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: the authors' networks have the last ReLU; where all its inputs are negative no class
        gets a gradient any more, so it is left out unless asked for.
    Example:
        >>> sum(p.numel() for p in nin_cifar().parameters())
        966986
    """
    side_after(image_size, CIFAR_WINDOWS)
    conv1, _, conv2, _, conv3 = CIFAR_WINDOWS

    def build() -> nn.Sequential:
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                mlpconv1=mlpconv(in_channels, (192, 160, 96), conv1),
                pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                dropout1=nn.Dropout(dropout),
                mlpconv2=mlpconv(96, (192, 192, 192), conv2),
                pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                dropout2=nn.Dropout(dropout),
                mlpconv3=mlpconv(192, (192, 192, num_classes), conv3, last_relu=last_relu),
                average=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
            )
        )

    return drawn_once(build, gaussian_weights(weight_std))


_CAFFE = "the authors' Caffe model nin_imagenet, added up layer by layer in docs/published.md"
ENTRIES = (
    ModelEntry(
        builder=nin,
        input_size=(3, 224, 224),
        description="Network in network (Lin et al. 2013), the authors' form for ImageNet",
        published=(
            Published(quantity="params", value=7_595_176, source=_CAFFE),
            Published(quantity="volume", layer="mlpconv1", value=(96, 54, 54), source=_CAFFE),
            Published(quantity="volume", layer="pool3", value=(384, 6, 6), source=_CAFFE),
            Published(quantity="volume", layer="mlpconv4", value=(1000, 6, 6), source=_CAFFE),
        ),
    ),
    ModelEntry(
        builder=nin_cifar,
        input_size=(3, 32, 32),
        description="Network in network (Lin et al. 2013) for 32 px",
    ),
)
