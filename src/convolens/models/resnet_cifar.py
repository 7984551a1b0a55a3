"""ResNet for CIFAR: 20 to 110 layers, and their plain twins.

Source: He, Zhang, Ren, Sun (2015), Deep residual learning for image recognition,
arXiv:1512.03385, section 4.2.
"""

from collections import OrderedDict

from torch import nn

from convolens.geometry import output_size
from convolens.models.entry import Builder, ModelEntry, Published
from convolens.models.resnet import basic, stages, zero_last_norms
from convolens.nn.initial import drawn_once, he_weights
from convolens.nn.residual import Shortcut

WIDTHS = (16, 32, 64)


def _resnet(
    depth: int,
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    shortcut: Shortcut,
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """6n + 2 layers: a convolution, three stages of n blocks, an affine layer."""
    output_size(image_size, 3, padding=1)  # one pixel is enough for all that follows
    num_blocks = (depth - 2) // 6

    def build() -> nn.Sequential:
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),
                bn1=nn.BatchNorm2d(16),
                relu=nn.ReLU(inplace=True),
            )
            | OrderedDict(stages(basic(shortcut), 16, 3 * (num_blocks,), WIDTHS))
            | OrderedDict[str, nn.Module](
                avgpool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(64, num_classes),
            )
        )

    net = drawn_once(build, he_weights(fan="fan_out"))
    if zero_init_residual:
        zero_last_norms(net)
    return net


def resnet20(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    shortcut: Shortcut = "identity",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-20 for CIFAR: three stages of three residual blocks with 16, 32 and 64 filters.

    Source: He et al. (2015), section 4.2 and table 6.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]. No weight's shape depends on it.
        shortcut: where a block changes the shape: "identity" (channels of zeros, option A, as in
            the paper) or "projection" (1×1 convolutions, option B).
        zero_init_residual: lets every block begin as its shortcut.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ConfigError: when the shortcut is not known.
    Example:
        >>> sum(p.numel() for p in resnet20().parameters())
        269722
    """
    return _resnet(
        *(20, num_classes, in_channels, image_size),
        shortcut=shortcut,
        zero_init_residual=zero_init_residual,
    )


def resnet32(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    shortcut: Shortcut = "identity",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-32 for CIFAR: three stages of five residual blocks with 16, 32 and 64 filters.

    Source: He et al. (2015), section 4.2 and table 6.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ConfigError: when the shortcut is not known.
    Example:
        >>> sum(p.numel() for p in resnet32().parameters())
        464154
    """
    return _resnet(
        *(32, num_classes, in_channels, image_size),
        shortcut=shortcut,
        zero_init_residual=zero_init_residual,
    )


def resnet44(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    shortcut: Shortcut = "identity",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-44 for CIFAR: three stages of seven residual blocks with 16, 32 and 64 filters.

    Source: He et al. (2015), section 4.2 and table 6.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ConfigError: when the shortcut is not known.
    Example:
        >>> sum(p.numel() for p in resnet44().parameters())
        658586
    """
    return _resnet(
        *(44, num_classes, in_channels, image_size),
        shortcut=shortcut,
        zero_init_residual=zero_init_residual,
    )


def resnet56(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    shortcut: Shortcut = "identity",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-56 for CIFAR: three stages of nine residual blocks with 16, 32 and 64 filters.

    Source: He et al. (2015), section 4.2 and table 6.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ConfigError: when the shortcut is not known.
    Example:
        >>> sum(p.numel() for p in resnet56().parameters())
        853018
    """
    return _resnet(
        *(56, num_classes, in_channels, image_size),
        shortcut=shortcut,
        zero_init_residual=zero_init_residual,
    )


def resnet110(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    shortcut: Shortcut = "identity",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-110 for CIFAR: three stages of eighteen residual blocks with 16, 32 and 64 filters.

    Source: He et al. (2015), section 4.2 and table 6.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ConfigError: when the shortcut is not known.
    Example:
        >>> sum(p.numel() for p in resnet110().parameters())
        1727962
    """
    return _resnet(
        *(110, num_classes, in_channels, image_size),
        shortcut=shortcut,
        zero_init_residual=zero_init_residual,
    )


def plain20(num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> nn.Sequential:
    """The plain twin of `resnet20`: the same convolutions, and no shortcut.

    Source: He et al. (2015), section 4.2 and figure 6, left.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    """
    return _resnet(20, num_classes, in_channels, image_size, shortcut="none")


def plain32(num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> nn.Sequential:
    """The plain twin of `resnet32`: the same convolutions, and no shortcut.

    Source: He et al. (2015), section 4.2 and figure 6, left.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    """
    return _resnet(32, num_classes, in_channels, image_size, shortcut="none")


def plain44(num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> nn.Sequential:
    """The plain twin of `resnet44`: the same convolutions, and no shortcut.

    Source: He et al. (2015), section 4.2 and figure 6, left.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    """
    return _resnet(44, num_classes, in_channels, image_size, shortcut="none")


def plain56(num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> nn.Sequential:
    """The plain twin of `resnet56`: the same convolutions, and no shortcut.

    Source: He et al. (2015), section 4.2 and figure 6, left.
    Args: those of `resnet20`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    """
    return _resnet(56, num_classes, in_channels, image_size, shortcut="none")


def _entry(builder: Builder, description: str, params: int, within: float) -> ModelEntry:
    volumes = [(f"layer{i + 1}", (width, 32 >> i, 32 >> i)) for i, width in enumerate(WIDTHS)]
    section = "He et al. (2015), section 4.2"
    table = f"{section}, table 6; a plain network has as many as its residual twin"
    return ModelEntry(
        builder=builder,
        input_size=(3, 32, 32),
        description=description,
        published=(
            Published(quantity="params", value=params, within=within, source=table),
            *(
                Published(quantity="volume", value=volume, layer=layer, source=section)
                for layer, volume in volumes
            ),
        ),
    )


ENTRIES = (
    _entry(resnet20, "ResNet-20 for 32 px (He et al. 2015, section 4.2)", 270_000, 0.02),
    _entry(resnet32, "ResNet-32 for 32 px (He et al. 2015, section 4.2)", 460_000, 0.011),
    _entry(resnet44, "ResNet-44 for 32 px (He et al. 2015, section 4.2)", 660_000, 0.008),
    _entry(resnet56, "ResNet-56 for 32 px (He et al. 2015, section 4.2)", 850_000, 0.006),
    _entry(resnet110, "ResNet-110 for 32 px (He et al. 2015, section 4.2)", 1_700_000, 0.03),
    _entry(plain20, "the plain twin of ResNet-20 for 32 px", 270_000, 0.02),
    _entry(plain32, "the plain twin of ResNet-32 for 32 px", 460_000, 0.011),
    _entry(plain44, "the plain twin of ResNet-44 for 32 px", 660_000, 0.008),
    _entry(plain56, "the plain twin of ResNet-56 for 32 px", 850_000, 0.006),
)
