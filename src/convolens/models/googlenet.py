"""GoogLeNet: nine Inception modules.

Source: Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich (2014), Going
deeper with convolutions, arXiv:1409.4842.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal, get_args

from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.geometry import output_size
from convolens.models.entry import ModelEntry, Published
from convolens.nn.inception import Inception, conv_relu
from convolens.nn.lrn import LocalResponseNorm

Norm = Literal["lrn", "batch", "none"]

# Table 1: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool proj.
MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
POOL_BEFORE = {"inception4a": "pool3", "inception5a": "pool4"}
AUXILIARY_AFTER = ("inception4a", "inception4d")
SMALLEST_SIDE = 16  # of conv1's output: four poolings halve it


class GoogLeNet(nn.Module):
    """The network that `googlenet` builds.

    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes); in training, where it has
        auxiliary heads, a tuple of three such: of the network and of the two heads.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        norm: Norm,
        auxiliary: bool,
        naive: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        side, batch = _side_after_conv1(image_size), norm == "batch"
        self.features = _stem(in_channels, norm)
        self.auxiliary = nn.ModuleDict()
        channels = 192
        for name, filters in MODULES.items():
            if name in POOL_BEFORE:
                self.features.add_module(POOL_BEFORE[name], _pool())
            module = Inception(channels, *filters, naive=naive, norm=batch)
            self.features.add_module(name, module)
            channels = module.out_channels
            if auxiliary and name in AUXILIARY_AFTER:
                head = _auxiliary_head(channels, side // 8, num_classes, norm=batch)
                self.auxiliary[name] = head
        self.pool5 = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        heads: list[Tensor] = []
        for name, module in self.features.named_children():
            x = module(x)
            if self.training and name in self.auxiliary:
                heads.append(self.auxiliary[name](x))
        logits: Tensor = self.fc(self.dropout(self.flatten(self.pool5(x))))
        return (logits, *heads) if heads else logits


def googlenet(
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    norm: Norm = "lrn",
    auxiliary: bool = False,
    naive: bool = False,
    dropout: float = 0.4,
) -> GoogLeNet:
    """GoogLeNet: three convolutions, nine Inception modules, global average, one affine layer.

    Source: Szegedy et al. (2014), arXiv:1409.4842, section 5, table 1 and figure 3.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 31.
        norm: "lrn" as in the paper; "batch" has batch norm after every convolution instead, with
            which training from the beginning is far easier; "none" has neither.
        auxiliary: two further classifiers, on 4a and 4d, which only training uses: `Classify` adds
            0.3 times the loss of each.
        naive: Inception modules without reductions (figure 2(a)), with the same 1×1, 3×3 and 5×5
            filters, to see what the reductions save.
        dropout: probability of dropping a value before the last layer.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes); in training
        with auxiliary classifiers a tuple of three of that shape, the network's own first.
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is smaller than 31 px.
        ConfigError: when the norm is not known.
    Deviates: the paper gives neither the constants of LRN nor the initial weights: here those of
        Krizhevsky et al. and of He et al. The 7×7 average pooling takes the whole map, whatever the
        size of the picture; where 4a's map is smaller than the 5×5 pooling of the auxiliary
        classifiers, that takes the whole map too. Table 1's parameters are weights without biases
        in units of 1,024, and these rows of it do not follow from its filters: the first
        convolution has 9.2K weights and 118M operations (2.7K and 34M, which are (7 + 7)·3·64 and
        that times 112²), 4c has 498K (463K), 4d 590K (580K), 5a 1018K and 51M operations (1072K
        and 54M), 5b 1409K (1388K). torchvision's `googlenet` has 3×3 filters where this one has
        5×5, and batch norm.
    Example:
        >>> sum(p.numel() for p in googlenet().parameters())
        6998552
        >>> sum(p.numel() for p in googlenet(auxiliary=True).parameters())
        13378280
    """
    known = get_args(Norm)
    if norm not in known:
        raise ConfigError(f"norm must be one of {', '.join(known)}, received {norm!r}")
    return GoogLeNet(
        num_classes,
        in_channels,
        image_size,
        norm=norm,
        auxiliary=auxiliary,
        naive=naive,
        dropout=dropout,
    )


def _stem(in_channels: int, norm: Norm) -> nn.Sequential:
    """Up to the first Inception module: (N, in_channels, H, W) -> (N, 192, H/8, W/8)."""
    batch = norm == "batch"
    layers = OrderedDict[str, nn.Module](
        conv1=conv_relu(in_channels, 64, 7, stride=2, padding=3, norm=batch), pool1=_pool()
    )
    if norm == "lrn":
        layers["norm1"] = LocalResponseNorm()
    layers["conv2"] = nn.Sequential(
        OrderedDict(
            reduce=conv_relu(64, 64, 1, norm=batch),
            conv=conv_relu(64, 192, 3, padding=1, norm=batch),
        )
    )
    if norm == "lrn":
        layers["norm2"] = LocalResponseNorm()
    layers["pool2"] = _pool()
    return nn.Sequential(layers)


def _pool() -> nn.MaxPool2d:
    """3×3 of stride 2, which gives floor(H / 2): 112, 56, 28, 14, 7 as in table 1."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _auxiliary_head(channels: int, side: int, num_classes: int, *, norm: bool) -> nn.Sequential:
    """A classifier on the (N, channels, side, side) of a module in the middle; section 5."""
    window = min(5, side)
    pooled = output_size(side, window, stride=3)
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            pool=nn.AvgPool2d(window, stride=3),
            conv=conv_relu(channels, 128, 1, norm=norm),
            flatten=nn.Flatten(),
            fc1=nn.Linear(128 * pooled * pooled, 1024),
            relu=nn.ReLU(),
            dropout=nn.Dropout(0.7),
            fc2=nn.Linear(1024, num_classes),
        )
    )


def _side_after_conv1(image_size: int) -> int:
    side = output_size(image_size, 7, stride=2, padding=3)
    if side < SMALLEST_SIDE:
        raise ShapeError(
            f"a picture of {image_size} px does not fit googlenet: conv1 leaves "
            f"floor(({image_size} + 2·3 − 7)/2) + 1 = {side} px, and four poolings that halve "
            f"them need {SMALLEST_SIDE}",
            "The smallest picture is 31 px.",
        )
    return side


# Output, thousands of parameters and millions of operations; None where the table gives none, or
# one that does not follow from its filters, which `googlenet` names.
_TABLE1: dict[str, tuple[tuple[int, ...], int | None, int | None]] = {
    "features.conv1": ((64, 112, 112), None, None),
    "features.pool1": ((64, 56, 56), None, None),
    "features.conv2": ((192, 56, 56), 112, 360),
    "features.pool2": ((192, 28, 28), None, None),
    "features.inception3a": ((256, 28, 28), 159, 128),
    "features.inception3b": ((480, 28, 28), 380, 304),
    "features.pool3": ((480, 14, 14), None, None),
    "features.inception4a": ((512, 14, 14), 364, 73),
    "features.inception4b": ((512, 14, 14), 437, 88),
    "features.inception4c": ((512, 14, 14), None, 100),
    "features.inception4d": ((528, 14, 14), None, 119),
    "features.inception4e": ((832, 14, 14), 840, 170),
    "features.pool4": ((832, 7, 7), None, None),
    "features.inception5a": ((832, 7, 7), None, None),
    "features.inception5b": ((1024, 7, 7), None, 71),
    "pool5": ((1024, 1, 1), None, None),
    "fc": ((1000,), 1000, 1),
}


def _published() -> Iterator[Published]:
    source = "Szegedy et al. (2014), table 1"
    for layer, (volume, kilo, mega) in _TABLE1.items():
        yield Published(quantity="volume", value=volume, layer=layer, source=source)
        if kilo is not None:
            yield Published(
                quantity="params", value=kilo * 1024, layer=layer, within=0.01, source=source
            )
        if mega is not None:
            rounding = max(0.01, 0.5 / mega)
            yield Published(
                quantity="macs", value=mega * 10**6, layer=layer, within=rounding, source=source
            )


ENTRIES = (
    ModelEntry(
        builder=googlenet,
        input_size=(3, 224, 224),
        description="GoogLeNet: nine Inception modules (Szegedy et al. 2014)",
        published=tuple(_published()),
    ),
)
