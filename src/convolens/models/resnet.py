"""ResNet for ImageNet: 18 to 152 layers, and plain networks of 18 and 34.

Source: He, Zhang, Ren, Sun (2015), Deep residual learning for image recognition,
arXiv:1512.03385, sections 3 and 4.1; `resnet_cifar.py` has those of section 4.2.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, get_args

from torch import nn

from convolens.errors import ConfigError
from convolens.geometry import output_size
from convolens.models.entry import ModelEntry, Published
from convolens.nn.initial import drawn_once, he_weights
from convolens.nn.residual import BasicBlock, Bottleneck, Shortcut, StrideAt

Stem = Literal["full", "small"]
Block = BasicBlock | Bottleneck
MakeBlock = Callable[[int, int, int], Block]
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # channels that leave a bottleneck for each that is inside


def basic(shortcut: Shortcut) -> MakeBlock:
    """Makes blocks of (in_channels, channels, stride) with two 3×3 convolutions."""
    return lambda before, width, stride: BasicBlock(before, width, stride=stride, shortcut=shortcut)


def bottleneck(shortcut: Shortcut, stride_at: StrideAt) -> MakeBlock:
    """Makes blocks of (in_channels, channels, stride) that leave four times the channels."""
    return lambda before, width, stride: Bottleneck(
        *(before, width, EXPANSION * width),
        stride=stride,
        shortcut=shortcut,
        stride_at=stride_at,
    )


def stages(
    make: MakeBlock, channels: int, depths: tuple[int, ...], widths: tuple[int, ...]
) -> list[tuple[str, nn.Module]]:
    """Named stages of blocks; each stage but the first halves the side."""
    found: list[tuple[str, nn.Module]] = []
    for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        blocks = []
        for place in range(depth):
            blocks.append(make(channels, width, 2 if number > 1 and place == 0 else 1))
            channels = blocks[-1].out_channels
        found.append((f"layer{number}", nn.Sequential(*blocks)))
    return found


def zero_last_norms(net: nn.Module) -> None:
    """Lets every block begin as its shortcut (Goyal et al. 2017, arXiv:1706.02677, section 5.1)."""
    for block in net.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            norm = block.bn2 if isinstance(block, BasicBlock) else block.bn3
            nn.init.zeros_(norm.weight)


def _resnet(
    make: MakeBlock,
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    stem: Stem,
    expansion: int = 1,
    zero_init_residual: bool = False,
) -> nn.Sequential:
    if stem not in get_args(Stem):
        raise ConfigError(f"stem must be one of full, small, received {stem!r}")
    output_size(image_size, 3, padding=1)  # one pixel is enough for all that follows

    def build() -> nn.Sequential:
        layers = stages(make, 64, depths, WIDTHS)
        conv = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        pool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1)
        if stem == "small":
            conv, pool = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False), nn.Identity()
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=conv, bn1=nn.BatchNorm2d(64), relu=nn.ReLU(inplace=True), maxpool=pool
            )
            | OrderedDict(layers)
            | OrderedDict[str, nn.Module](
                avgpool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(expansion * WIDTHS[-1], num_classes),
            )
        )

    net = drawn_once(build, he_weights(fan="fan_out"))
    if zero_init_residual:
        zero_last_norms(net)
    return net


def resnet18(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    shortcut: Shortcut = "projection",
    stem: Stem = "full",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-18: a convolution, eight residual blocks of two 3×3 convolutions, an affine layer.

    Source: He et al. (2015), table 1.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]. No weight's shape depends on it.
        shortcut: where a block changes the shape: "projection" (1×1 convolutions, option B) or
            "identity" (channels of zeros, option A).
        stem: "full" begins with a 7×7 convolution of stride 2 and max-pooling, as in the paper;
            "small", for pictures of about 32 px, with a 3×3 convolution and no pooling.
        zero_init_residual: lets every block begin as its shortcut.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ConfigError: when an option is not known.
    Example:
        >>> sum(p.numel() for p in resnet18().parameters())
        11689512
    """
    return _resnet(
        *(basic(shortcut), (2, 2, 2, 2), num_classes, in_channels, image_size),
        stem=stem,
        zero_init_residual=zero_init_residual,
    )


def resnet34(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    shortcut: Shortcut = "projection",
    stem: Stem = "full",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-34: a convolution, sixteen residual blocks of two 3×3 convolutions, an affine layer.

    Source: He et al. (2015), table 1.
    Args: those of `resnet18`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ConfigError: when an option is not known.
    Example:
        >>> sum(p.numel() for p in resnet34().parameters())
        21797672
    """
    return _resnet(
        *(basic(shortcut), (3, 4, 6, 3), num_classes, in_channels, image_size),
        stem=stem,
        zero_init_residual=zero_init_residual,
    )


def resnet50(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    shortcut: Shortcut = "projection",
    stride_at: StrideAt = "3x3",
    stem: Stem = "full",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-50: a convolution, sixteen bottlenecks of 1×1, 3×3 and 1×1, an affine layer.

    Source: He et al. (2015), table 1.
    Args:
        stride_at: "3x3" halves the side in a block's middle convolution, as torchvision does and
            for its weights; "1x1" in the first, as in the paper, whose counts of
            multiply-accumulates hold for it.
        num_classes, in_channels, image_size, shortcut, stem, zero_init_residual: those of
            `resnet18`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ConfigError: when an option is not known.
    Deviates: the stride, by default.
    Example:
        >>> sum(p.numel() for p in resnet50().parameters())
        25557032
    """
    return _resnet(
        bottleneck(shortcut, stride_at),
        *((3, 4, 6, 3), num_classes, in_channels, image_size),
        stem=stem,
        expansion=EXPANSION,
        zero_init_residual=zero_init_residual,
    )


def resnet101(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    shortcut: Shortcut = "projection",
    stride_at: StrideAt = "3x3",
    stem: Stem = "full",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-101: a convolution, thirty-three bottlenecks of 1×1, 3×3 and 1×1, an affine layer.

    Source: He et al. (2015), table 1.
    Args: those of `resnet50`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ConfigError: when an option is not known.
    Example:
        >>> sum(p.numel() for p in resnet101().parameters())
        44549160
    """
    return _resnet(
        bottleneck(shortcut, stride_at),
        *((3, 4, 23, 3), num_classes, in_channels, image_size),
        stem=stem,
        expansion=EXPANSION,
        zero_init_residual=zero_init_residual,
    )


def resnet152(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    shortcut: Shortcut = "projection",
    stride_at: StrideAt = "3x3",
    stem: Stem = "full",
    zero_init_residual: bool = False,
) -> nn.Sequential:
    """ResNet-152: a convolution, fifty bottlenecks of 1×1, 3×3 and 1×1, an affine layer.

    Source: He et al. (2015), table 1.
    Args: those of `resnet50`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; parameter names are torchvision's.
    Raises:
        ConfigError: when an option is not known.
    Example:
        >>> sum(p.numel() for p in resnet152().parameters())
        60192808
    """
    return _resnet(
        bottleneck(shortcut, stride_at),
        *((3, 8, 36, 3), num_classes, in_channels, image_size),
        stem=stem,
        expansion=EXPANSION,
        zero_init_residual=zero_init_residual,
    )


def plain18(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    stem: Stem = "full",
) -> nn.Sequential:
    """The plain twin of `resnet18`: the same convolutions, and no shortcut.

    Source: He et al. (2015), section 4.1.
    Args: those of `resnet18`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ConfigError: when an option is not known.
    """
    return _resnet(basic("none"), (2, 2, 2, 2), num_classes, in_channels, image_size, stem=stem)


def plain34(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    stem: Stem = "full",
) -> nn.Sequential:
    """The plain twin of `resnet34`: the same convolutions, and no shortcut.

    Source: He et al. (2015), figure 3, middle.
    Args: those of `resnet18`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ConfigError: when an option is not known.
    """
    return _resnet(basic("none"), (3, 4, 6, 3), num_classes, in_channels, image_size, stem=stem)


_TABLE = "He et al. (2015), table 1"
_SIZE = (3, 224, 224)


def _published(macs: int, within: float, *, params: int, expansion: int) -> tuple[Published, ...]:
    """The paper's table, its FLOPs being multiply-adds, and torchvision's count of parameters."""
    options = {"stride_at": "1x1"} if expansion > 1 else {}
    volumes = [
        ("conv1", (64, 112, 112)),
        *((f"layer{i + 1}", (expansion * w, 56 >> i, 56 >> i)) for i, w in enumerate(WIDTHS)),
        ("fc", (1000,)),
    ]
    return (
        Published(quantity="params", value=params, source="torchvision's documentation"),
        Published(quantity="macs", value=macs, within=within, options=options, source=_TABLE),
        *(
            Published(quantity="volume", value=volume, layer=layer, source=_TABLE)
            for layer, volume in volumes
        ),
    )


ENTRIES = (
    ModelEntry(
        builder=resnet18,
        input_size=_SIZE,
        description="ResNet-18 (He et al. 2015): residual blocks of two 3×3 convolutions",
        published=_published(1_800_000_000, 0.01, params=11_689_512, expansion=1),
        weights=True,
    ),
    ModelEntry(
        builder=resnet34,
        input_size=_SIZE,
        description="ResNet-34 (He et al. 2015): residual blocks of two 3×3 convolutions",
        published=_published(3_600_000_000, 0.02, params=21_797_672, expansion=1),
        weights=True,
    ),
    ModelEntry(
        builder=resnet50,
        input_size=_SIZE,
        description="ResNet-50 (He et al. 2015): residual blocks of 1×1, 3×3 and 1×1",
        published=_published(3_800_000_000, 0.02, params=25_557_032, expansion=4),
        weights=True,
    ),
    ModelEntry(
        builder=resnet101,
        input_size=_SIZE,
        description="ResNet-101 (He et al. 2015): residual blocks of 1×1, 3×3 and 1×1",
        published=_published(7_600_000_000, 0.01, params=44_549_160, expansion=4),
        weights=True,
    ),
    ModelEntry(
        builder=resnet152,
        input_size=_SIZE,
        description="ResNet-152 (He et al. 2015): residual blocks of 1×1, 3×3 and 1×1",
        published=_published(11_300_000_000, 0.01, params=60_192_808, expansion=4),
        weights=True,
    ),
    ModelEntry(
        builder=plain18,
        input_size=_SIZE,
        description="the plain twin of ResNet-18 (He et al. 2015), without shortcuts",
    ),
    ModelEntry(
        builder=plain34,
        input_size=_SIZE,
        description="the plain twin of ResNet-34 (He et al. 2015), without shortcuts",
        published=(
            Published(
                quantity="macs",
                value=3_600_000_000,
                within=0.02,
                source="He et al. (2015), figure 3 and section 3.3",
            ),
        ),
    ),
)
