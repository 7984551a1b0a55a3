"""DenseNet: every layer of a block reads what all layers before it gave.

Source: Huang, Liu, van der Maaten, Weinberger (2016), Densely connected convolutional networks,
arXiv:1608.06993.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from convolens.errors import ConfigError
from convolens.geometry import output_size
from convolens.models.entry import Builder, ModelEntry, Published
from convolens.nn.dense import DenseBlock, Transition
from convolens.nn.initial import he_conv


def densenet121(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    dropout: float = 0.0,
    memory_efficient: bool = False,
) -> nn.Sequential:
    """DenseNet-BC of 121 layers for ImageNet: k = 32, blocks of 6, 12, 24 and 16 layers.

    A 7×7 convolution and max-pooling, each of stride 2; four dense blocks with transitions that
    halve side and channels; batch norm, ReLU, the mean over the places, one affine layer.

    Source: Huang et al. (2016), arXiv:1608.06993, table 1.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 29.
        dropout: probability of dropping a value after each convolution of the blocks.
        memory_efficient: compute the layers of a block again on the way back rather than keep
            their inner volumes; see `DenseBlock`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits; its tensors have torchvision's names and shapes.
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: batch norm and ReLU between the first convolution and its pooling, as in the authors'
        code; table 1 does not show them.
    Example:
        >>> sum(p.numel() for p in densenet121().parameters())
        7978856
    """
    blocks, facts = (6, 12, 24, 16), (num_classes, in_channels, image_size)
    dense = _Dense(growth_rate=32, dropout=dropout, memory_efficient=memory_efficient)
    return _imagenet(blocks, dense, facts)


def densenet161(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    dropout: float = 0.0,
    memory_efficient: bool = False,
) -> nn.Sequential:
    """DenseNet-BC of 161 layers for ImageNet: k = 48, blocks of 6, 12, 36 and 24 layers.

    Source: Huang et al. (2016), arXiv:1608.06993, table 1 of its earlier versions; the last one has
        264 layers and k = 32 in its place.
    Args: as of `densenet121`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: as `densenet121`.
    """
    blocks, facts = (6, 12, 36, 24), (num_classes, in_channels, image_size)
    dense = _Dense(growth_rate=48, dropout=dropout, memory_efficient=memory_efficient)
    return _imagenet(blocks, dense, facts)


def densenet169(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    dropout: float = 0.0,
    memory_efficient: bool = False,
) -> nn.Sequential:
    """DenseNet-BC of 169 layers for ImageNet: k = 32, blocks of 6, 12, 32 and 32 layers.

    Source: Huang et al. (2016), arXiv:1608.06993, table 1.
    Args: as of `densenet121`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: as `densenet121`.
    """
    blocks, facts = (6, 12, 32, 32), (num_classes, in_channels, image_size)
    dense = _Dense(growth_rate=32, dropout=dropout, memory_efficient=memory_efficient)
    return _imagenet(blocks, dense, facts)


def densenet201(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    dropout: float = 0.0,
    memory_efficient: bool = False,
) -> nn.Sequential:
    """DenseNet-BC of 201 layers for ImageNet: k = 32, blocks of 6, 12, 48 and 32 layers.

    Source: Huang et al. (2016), arXiv:1608.06993, table 1.
    Args: as of `densenet121`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: as `densenet121`.
    """
    blocks, facts = (6, 12, 48, 32), (num_classes, in_channels, image_size)
    dense = _Dense(growth_rate=32, dropout=dropout, memory_efficient=memory_efficient)
    return _imagenet(blocks, dense, facts)


def densenet_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    depth: int = 100,
    growth_rate: int = 12,
    bottleneck: int = 4,
    compression: float = 0.5,
    dropout: float = 0.0,
    memory_efficient: bool = False,
) -> nn.Sequential:
    """DenseNet for CIFAR, by default DenseNet-BC: a 3×3 convolution and three dense blocks.

    Source: Huang et al. (2016), arXiv:1608.06993, section 3, "implementation details", and table 2.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 4.
        depth: L, layers with weights: 4 + 6n with a bottleneck, 4 + 3n without.
        growth_rate: k, channels that each layer adds.
        bottleneck: channels between a layer's two convolutions, in k; 0 for one 3×3 convolution.
        compression: θ, the part of a block's channels that a transition leaves; in (0, 1].
        dropout: probability of dropping a value after each convolution but the first; 0.2 in the
            paper where the pictures are not augmented.
        memory_efficient: see `DenseBlock`.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for the poolings.
        ConfigError: when no such depth exists, or the compression is out of range.
    Example:
        >>> sum(p.numel() for p in densenet_cifar().parameters())
        769162
        >>> plain = densenet_cifar(depth=40, bottleneck=0, compression=1.0)
        >>> sum(p.numel() for p in plain.parameters())
        1019722
    """
    per_layer = 6 if bottleneck else 3  # three blocks, of one or two convolutions a layer
    num_layers, left = divmod(depth - 4, per_layer)
    if num_layers < 1 or left:
        raise ConfigError(
            f"depth must be 4 + {per_layer}·n "
            f"{'with' if bottleneck else 'without'} a bottleneck, received {depth}",
            f"The nearest is {4 + per_layer * max(1, round((depth - 4) / per_layer))}.",
        )
    if not 0 < compression <= 1:
        raise ConfigError(f"compression must be in (0, 1], received {compression}")
    side = image_size
    for _ in range(2):
        side = output_size(side, 2, stride=2)
    # "16 (or twice the growth rate for DenseNet-BC) output channels"
    filters = 2 * growth_rate if bottleneck and compression < 1 else 16
    stem = OrderedDict[str, nn.Module](
        conv0=he_conv(in_channels, filters, 3, padding=1, bias=False)
    )
    dense = _Dense(
        growth_rate=growth_rate,
        bottleneck=bottleneck,
        compression=compression,
        dropout=dropout,
        memory_efficient=memory_efficient,
    )
    return _densenet(stem, filters, (num_layers,) * 3, dense, num_classes)


@dataclass(frozen=True, kw_only=True)
class _Dense:
    """What the blocks and transitions of one network have in common."""

    growth_rate: int
    bottleneck: int = 4
    compression: float = 0.5
    dropout: float
    memory_efficient: bool


def _imagenet(blocks: tuple[int, ...], dense: _Dense, facts: tuple[int, int, int]) -> nn.Sequential:
    """A network of table 1; `facts` are num_classes, in_channels and image_size."""
    num_classes, in_channels, image_size = facts
    side = output_size(output_size(image_size, 7, stride=2, padding=3), 3, stride=2, padding=1)
    for _ in blocks[1:]:
        side = output_size(side, 2, stride=2)
    filters = 2 * dense.growth_rate
    stem = OrderedDict[str, nn.Module](
        conv0=he_conv(in_channels, filters, 7, stride=2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(filters),
        relu0=nn.ReLU(),
        pool0=nn.MaxPool2d(3, stride=2, padding=1),
    )
    return _densenet(stem, filters, blocks, dense, num_classes)


def _densenet(
    stem: OrderedDict[str, nn.Module],
    channels: int,
    blocks: tuple[int, ...],
    dense: _Dense,
    num_classes: int,
) -> nn.Sequential:
    """Dense blocks with transitions between them, after a stem that gives `channels`."""
    features = OrderedDict(stem)
    for number, num_layers in enumerate(blocks, 1):
        block = DenseBlock(
            num_layers,
            channels,
            dense.growth_rate,
            bottleneck=dense.bottleneck,
            dropout=dense.dropout,
            memory_efficient=dense.memory_efficient,
        )
        features[f"denseblock{number}"] = block
        channels = block.out_channels
        if number < len(blocks):
            reduced = int(channels * dense.compression)
            features[f"transition{number}"] = Transition(channels, reduced, dropout=dense.dropout)
            channels = reduced
    features[f"norm{len(blocks) + 1}"] = nn.BatchNorm2d(channels)
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            features=nn.Sequential(features),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(channels, num_classes),
        )
    )


_TORCHVISION = "torchvision 0.29, table of classification weights"


def _entry(builder: Builder, params: int, macs: int, channels: tuple[int, ...]) -> ModelEntry:
    """An entry of table 1; `channels` of each block's and transition's output, in turn.

    The table gives the sides, and the channels follow from k and θ.
    """
    layers = [f"{kind}{i}" for i in range(1, 5) for kind in ("denseblock", "transition")][:-1]
    sides = (56, 28, 28, 14, 14, 7, 7)
    volumes = {
        "conv0": (channels[0], 112, 112),
        "pool0": (channels[0], 56, 56),
        **{n: (c, s, s) for n, c, s in zip(layers, channels[1:], sides, strict=True)},
    }
    name = builder.__name__.removeprefix("densenet")
    return ModelEntry(
        builder=builder,
        input_size=(3, 224, 224),
        description=f"DenseNet-BC of {name} layers (Huang et al. 2016)",
        published=(
            Published(quantity="params", value=params, source=_TORCHVISION),
            Published(quantity="macs", value=macs, within=0.0005, source=_TORCHVISION),
            *(
                Published(
                    quantity="volume",
                    value=volume,
                    layer=f"features.{layer}",
                    source="Huang et al. (2016), table 1",
                )
                for layer, volume in volumes.items()
            ),
        ),
        weights=True,
    )


ENTRIES = (
    _entry(densenet121, 7_978_856, 2_834_000_000, (64, 256, 128, 512, 256, 1024, 512, 1024)),
    _entry(densenet161, 28_681_000, 7_728_000_000, (96, 384, 192, 768, 384, 2112, 1056, 2208)),
    _entry(densenet169, 14_149_480, 3_360_000_000, (64, 256, 128, 512, 256, 1280, 640, 1664)),
    _entry(densenet201, 20_013_928, 4_291_000_000, (64, 256, 128, 512, 256, 1792, 896, 1920)),
    ModelEntry(
        builder=densenet_cifar,
        input_size=(3, 32, 32),
        description="DenseNet-BC of 100 layers, k = 12, for CIFAR (Huang et al. 2016)",
        published=(
            Published(
                quantity="params",
                value=800_000,
                within=0.0625,  # 0.8 M stands for 0.75 M to 0.85 M
                source="Huang et al. (2016), table 2",
            ),
        ),
    ),
)
