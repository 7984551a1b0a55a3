"""LeNet-5: as it is usually built today, and as it was built in 1998.

Source: LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document
recognition, section II.B.
"""

import random
from collections import OrderedDict
from typing import Literal

from torch import nn

from convolens.errors import ConfigError
from convolens.models.entry import ModelEntry, Published
from convolens.models.side import Window, side_after
from convolens.nn.partial_conv import PartialConv2d
from convolens.nn.radial_basis import RadialBasis
from convolens.nn.scaled_tanh import ScaledTanh
from convolens.nn.subsampling import Subsampling2d

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
POOLINGS = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}
# Table I of the paper: the maps of S2 that each map of C3 sees.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
CODE_LENGTH = 84
# The digits on 7×12 pixels, drawn after figure 3 of the paper.
DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... ##...## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. ######. ######. ....##. .#####. ##...##
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .######
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def lenet5(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 32,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    pooling: Literal["average", "max"] = "average",
    dropout: float = 0.0,
) -> nn.Sequential:
    """LeNet-5 with full connections: two convolutions with pooling, three affine layers.

    Source: LeCun et al. (1998), section II.B and figure 2.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 16.
        activation: "tanh" as in the paper, or "relu".
        pooling: "average" as in the paper, or "max".
        dropout: probability of dropping a unit before the last layer.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is too small for the windows.
        ConfigError: when an activation or pooling is not known.
    Deviates: C3 sees all six maps of S2; pooling has no trainable scale and bias; the output is
        a linear layer with softmax loss instead of radial basis functions; tanh is not scaled.
    Example:
        >>> sum(p.numel() for p in lenet5().parameters())
        61706
    """
    for field, value, known in (
        ("activation", activation, ACTIVATIONS),
        ("pooling", pooling, POOLINGS),
    ):
        if value not in known:
            raise ConfigError(f"{field} must be one of {', '.join(known)}, received {value!r}")
    act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
    side = side_after(
        image_size,
        [Window("conv1", 5), Window("pool1", 2, 2), Window("conv2", 5), Window("pool2", 2, 2)],
    )
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(in_channels, 6, 5)),
        ("act1", act()),
        ("pool1", pool(2)),
        ("conv2", nn.Conv2d(6, 16, 5)),
        ("act2", act()),
        ("pool2", pool(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(16 * side * side, 120)),
        ("act3", act()),
        ("fc2", nn.Linear(120, 84)),
        ("act4", act()),
        ("dropout", nn.Dropout(dropout)),
        ("fc3", nn.Linear(84, num_classes)),
    ]
    return nn.Sequential(OrderedDict(layers))


def lenet5_1998(num_classes: int = 10, in_channels: int = 1, image_size: int = 32) -> nn.Sequential:
    """LeNet-5 as published: partial connections, trainable subsampling, radial basis outputs.

    Source: LeCun et al. (1998), section II.B, figure 2 and table I; the initial weights are those
        of appendix A, uniform within ±2.4 / fan-in.
    Args:
        num_classes: classes. Up to ten take the digits' bitmaps as codes; more than ten take
            codes of 84 random signs, the same ones always, which the paper names as a choice.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 16. The paper scales pixels so that
            the ground is −0.1 and the ink 1.175.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network; its logits are the negative squared distances of F6 to the codes.
    Raises:
        ShapeError: when the picture is too small for the windows.
    Deviates: outputs are negative distances, and cross-entropy on them is the paper's criterion
        (equation 9) without its constant for "none of the classes"; the paper prints the
        bitmaps as a picture only, so single pixels may differ; C5's filters are as large as S4's
        maps, which at 32 px is the paper's 5×5.
    Example:
        >>> sum(p.numel() for p in lenet5_1998().parameters())
        60000
    """
    side = side_after(
        image_size, [Window("c1", 5), Window("s2", 2, 2), Window("c3", 5), Window("s4", 2, 2)]
    )
    net = nn.Sequential(
        OrderedDict[str, nn.Module](
            c1=nn.Conv2d(in_channels, 6, 5),
            act1=ScaledTanh(),
            s2=Subsampling2d(6),
            act2=ScaledTanh(),
            c3=PartialConv2d(6, C3_TABLE, 5),
            act3=ScaledTanh(),
            s4=Subsampling2d(16),
            act4=ScaledTanh(),
            c5=nn.Conv2d(16, 120, side),
            act5=ScaledTanh(),
            flatten=nn.Flatten(),
            f6=nn.Linear(120, CODE_LENGTH),
            act6=ScaledTanh(),
            output=RadialBasis(class_codes(num_classes)),
        )
    )
    for module in net.modules():
        if isinstance(module, PartialConv2d):
            parts = [*module.rows()]
        elif isinstance(module, Subsampling2d):
            parts = [(module.weight, module.bias, module.kernel_size**2)]
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            parts = [(module.weight, module.bias, module.weight[0].numel())]
        else:
            continue
        for weight, bias, fan_in in parts:
            nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)
            nn.init.uniform_(bias, -2.4 / fan_in, 2.4 / fan_in)
    return net


def class_codes(num_classes: int) -> list[list[int]]:
    """A code of ±1 for each class: the digits' bitmaps, or random signs for more than ten."""
    if num_classes > 10:
        source = random.Random(1998)
        return [[source.choice((-1, 1)) for _ in range(CODE_LENGTH)] for _ in range(num_classes)]
    rows = [line.split() for line in DIGITS.split("\n") if line]
    return [
        [1 if pixel == "#" else -1 for row in rows for pixel in row[digit]]
        for digit in range(num_classes)
    ]


_LAYERS_1998 = "LeCun et al. (1998), section II.B"
ENTRIES = (
    ModelEntry(
        builder=lenet5,
        input_size=(1, 32, 32),
        description="LeNet-5 (LeCun et al. 1998): two convolutions, three affine layers",
        published=(
            Published(quantity="volume", layer="conv1", value=(6, 28, 28), source=_LAYERS_1998),
            Published(quantity="volume", layer="pool1", value=(6, 14, 14), source=_LAYERS_1998),
            Published(quantity="volume", layer="conv2", value=(16, 10, 10), source=_LAYERS_1998),
            Published(quantity="volume", layer="pool2", value=(16, 5, 5), source=_LAYERS_1998),
            Published(quantity="params", layer="conv1", value=156, source=_LAYERS_1998),
            Published(quantity="params", layer="fc1", value=48_120, source=_LAYERS_1998),
            Published(quantity="params", layer="fc2", value=10_164, source=_LAYERS_1998),
        ),
    ),
    ModelEntry(
        builder=lenet5_1998,
        input_size=(1, 32, 32),
        description="LeNet-5 as published: partial connections, radial basis outputs",
        published=(
            Published(quantity="params", value=60_000, source=f"{_LAYERS_1998}, last paragraph"),
            Published(quantity="params", layer="c1", value=156, source=_LAYERS_1998),
            Published(quantity="params", layer="s2", value=12, source=_LAYERS_1998),
            Published(quantity="params", layer="c3", value=1_516, source=_LAYERS_1998),
            Published(quantity="params", layer="s4", value=32, source=_LAYERS_1998),
            Published(quantity="params", layer="c5", value=48_120, source=_LAYERS_1998),
            Published(quantity="params", layer="f6", value=10_164, source=_LAYERS_1998),
            Published(quantity="volume", layer="c1", value=(6, 28, 28), source=_LAYERS_1998),
            Published(quantity="volume", layer="s2", value=(6, 14, 14), source=_LAYERS_1998),
            Published(quantity="volume", layer="c3", value=(16, 10, 10), source=_LAYERS_1998),
            Published(quantity="volume", layer="s4", value=(16, 5, 5), source=_LAYERS_1998),
            Published(quantity="volume", layer="c5", value=(120, 1, 1), source=_LAYERS_1998),
            Published(quantity="volume", layer="f6", value=(84,), source=_LAYERS_1998),
        ),
    ),
)
