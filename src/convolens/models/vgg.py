"""VGG: 3×3 convolutions only, in eleven to nineteen layers.

Source: Simonyan and Zisserman (2014), Very deep convolutional networks for large-scale image
recognition, arXiv:1409.1556.
"""

from collections import OrderedDict
from typing import Literal, get_args

from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.entry import ModelEntry, Published
from convolens.nn.initial import drawn_once, he_weights

Head = Literal["full", "small"]
WIDTHS = (64, 128, 256, 512, 512)
# Convolutions before each of the five poolings: columns A, B, D and E of the paper's table 1.
VGG11, VGG13, VGG16, VGG19 = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
SMALLEST_SIDE = 32
LINEAR_STD = 0.01  # section 3.1 of the paper


def _vgg(
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    norm: bool,
    head: Head,
    dropout: float,
) -> nn.Sequential:
    if head not in get_args(Head):
        raise ConfigError(f"head must be one of full, small, received {head!r}")
    if image_size < SMALLEST_SIDE:
        raise ShapeError(
            f"a picture of {image_size} px does not fit VGG, which halves its side five times: "
            f"{image_size} / 2⁵ < 1, expected at least {SMALLEST_SIDE} px"
        )

    def build() -> nn.Sequential:
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                features=_features(depths, in_channels, norm),
                avgpool=nn.AdaptiveAvgPool2d(7 if head == "full" else 1),
                flatten=nn.Flatten(),
                classifier=_classifier(num_classes, head, dropout),
            )
        )

    return drawn_once(build, he_weights(fan="fan_out", linear_std=LINEAR_STD))


def _features(depths: tuple[int, ...], channels: int, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for depth, width in zip(depths, WIDTHS, strict=True):
        for _ in range(depth):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            if norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _classifier(num_classes: int, head: Head, dropout: float) -> nn.Sequential:
    if head == "small":
        return nn.Sequential(
            *(nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            nn.Linear(512, num_classes),
        )
    return nn.Sequential(
        *(nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout)),
        *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout)),
        nn.Linear(4096, num_classes),
    )


def vgg11(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-11: eight 3×3 convolutions and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column A.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 32. No weight's shape depends on it.
        head: "full" averages the last map to 7×7 for three affine layers, as torchvision does;
            "small", for pictures below 224 px, whose last map is smaller than 7×7, averages it to
            one pixel for an affine layer of 512 units and the last: a tenth of the parameters.
        dropout: probability of dropping a unit after each hidden affine layer.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    Deviates: weights begin as He et al. (2015) draw them, so that no shallower network need be
        trained first.
    Example:
        >>> sum(p.numel() for p in vgg11(num_classes=10, head="small").parameters())
        9488266
    """
    return _vgg(VGG11, num_classes, in_channels, image_size, norm=False, head=head, dropout=dropout)


def vgg13(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-13: ten 3×3 convolutions and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column B.
    Args: those of `vgg11`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    """
    return _vgg(VGG13, num_classes, in_channels, image_size, norm=False, head=head, dropout=dropout)


def vgg16(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-16: thirteen 3×3 convolutions and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column D.
    Args: those of `vgg11`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    """
    return _vgg(VGG16, num_classes, in_channels, image_size, norm=False, head=head, dropout=dropout)


def vgg19(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-19: sixteen 3×3 convolutions and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column E.
    Args: those of `vgg11`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    """
    return _vgg(VGG19, num_classes, in_channels, image_size, norm=False, head=head, dropout=dropout)


def vgg11_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-11: eight 3×3 convolutions, each with batch norm, and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column A;
        batch norm after Ioffe and Szegedy (2015), arXiv:1502.03167.
    Args: those of `vgg11`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    """
    return _vgg(VGG11, num_classes, in_channels, image_size, norm=True, head=head, dropout=dropout)


def vgg13_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-13: ten 3×3 convolutions, each with batch norm, and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column B;
        batch norm after Ioffe and Szegedy (2015), arXiv:1502.03167.
    Args: those of `vgg11`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    """
    return _vgg(VGG13, num_classes, in_channels, image_size, norm=True, head=head, dropout=dropout)


def vgg16_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-16: thirteen 3×3 convolutions, each with batch norm, and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column D;
        batch norm after Ioffe and Szegedy (2015), arXiv:1502.03167.
    Args: those of `vgg11`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    """
    return _vgg(VGG16, num_classes, in_channels, image_size, norm=True, head=head, dropout=dropout)


def vgg19_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    head: Head = "full",
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-19: sixteen 3×3 convolutions, each with batch norm, and three affine layers.

    Source: Simonyan and Zisserman (2014), table 1, column E;
        batch norm after Ioffe and Szegedy (2015), arXiv:1502.03167.
    Args: those of `vgg11`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ShapeError: when the picture is smaller than 32 px.
    """
    return _vgg(VGG19, num_classes, in_channels, image_size, norm=True, head=head, dropout=dropout)


def _published(
    name: str, exact: int, rounded: int | None, more: tuple[Published, ...] = ()
) -> tuple[Published, ...]:
    """The parameters as torchvision and, where it has the network, the paper's table 2 count."""
    torchvision = Published(
        quantity="params", value=exact, source=f"torchvision's documentation, {name}"
    )
    if rounded is None:
        return (torchvision, *more)
    paper = Published(
        quantity="params",
        value=rounded * 10**6,
        within=0.5 / rounded,
        source="Simonyan and Zisserman (2014), table 2",
    )
    return (torchvision, paper, *more)


def _macs(value: int, within: float, source: str) -> Published:
    return Published(quantity="macs", value=value, within=within, source=source)


def _volumes(depths: tuple[int, ...]) -> tuple[Published, ...]:
    """The map after each pooling, and the affine layers: table 1 and section 2.1 of the paper."""
    source = "Simonyan and Zisserman (2014), section 2.1 and table 1"
    found, place, side = [], -1, 224
    for depth, width in zip(depths, WIDTHS, strict=True):
        place, side = place + 2 * depth + 1, side // 2
        volume = (width, side, side)
        layer = f"features.{place}"
        found.append(Published(quantity="volume", value=volume, layer=layer, source=source))
    for layer, units in (("classifier.0", 4096), ("classifier.3", 4096), ("classifier.6", 1000)):
        found.append(Published(quantity="volume", value=(units,), layer=layer, source=source))
    return tuple(found)


_HE = "He et al. (2015), arXiv:1512.03385, section 4.1, there called FLOPs"
_SIZE = (3, 224, 224)

ENTRIES = (
    ModelEntry(
        builder=vgg11,
        input_size=_SIZE,
        description="VGG-11 (Simonyan and Zisserman 2014): eight 3×3 convolutions",
        published=_published("vgg11", 132_863_336, 133, _volumes(VGG11)),
        weights=True,
    ),
    ModelEntry(
        builder=vgg13,
        input_size=_SIZE,
        description="VGG-13 (Simonyan and Zisserman 2014): ten 3×3 convolutions",
        published=_published("vgg13", 133_047_848, 133, _volumes(VGG13)),
        weights=True,
    ),
    ModelEntry(
        builder=vgg16,
        input_size=_SIZE,
        description="VGG-16 (Simonyan and Zisserman 2014): thirteen 3×3 convolutions",
        published=_published(
            "vgg16",
            138_357_544,
            138,
            (
                *_volumes(VGG16),
                _macs(15_300_000_000, 0.012, _HE),
                _macs(15_500_000_000, 0.005, "the figure in common use, affine layers included"),
            ),
        ),
        weights=True,
    ),
    ModelEntry(
        builder=vgg19,
        input_size=_SIZE,
        description="VGG-19 (Simonyan and Zisserman 2014): sixteen 3×3 convolutions",
        published=_published(
            "vgg19", 143_667_240, 144, (*_volumes(VGG19), _macs(19_600_000_000, 0.005, _HE))
        ),
        weights=True,
    ),
    ModelEntry(
        builder=vgg11_bn,
        input_size=_SIZE,
        description="VGG-11 with batch norm (Simonyan and Zisserman 2014)",
        published=_published("vgg11_bn", 132_868_840, None),
        weights=True,
    ),
    ModelEntry(
        builder=vgg13_bn,
        input_size=_SIZE,
        description="VGG-13 with batch norm (Simonyan and Zisserman 2014)",
        published=_published("vgg13_bn", 133_053_736, None),
        weights=True,
    ),
    ModelEntry(
        builder=vgg16_bn,
        input_size=_SIZE,
        description="VGG-16 with batch norm (Simonyan and Zisserman 2014)",
        published=_published("vgg16_bn", 138_365_992, None),
        weights=True,
    ),
    ModelEntry(
        builder=vgg19_bn,
        input_size=_SIZE,
        description="VGG-19 with batch norm (Simonyan and Zisserman 2014)",
        published=_published("vgg19_bn", 143_678_248, None),
        weights=True,
    ),
)
