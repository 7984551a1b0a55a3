"""The convolutional bodies of the R-CNN family: a classification network without its end."""

from collections import OrderedDict
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.resnet import MakeBlock, basic, bottleneck, stages
from convolens.models.vgg import vgg16
from convolens.models.weights import fetch_imagenet
from convolens.nn.initial import Fill, he_weights

BodyName = Literal["resnet18", "resnet34", "resnet50", "vgg16"]
Stem = Literal["full", "small"]
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
SMALL_PICTURE = 128  # below it a stem that divides the side by four leaves too little


class RegionBody(nn.Module):
    """A stack of layers that gives the maps behind some of them.

    Args:
        layers: the layers by name.
        taps: names of the layers whose outputs are given.
        channels: of each map.
        strides: of each map, in pixels of the picture [px].
        multiple: pictures get zeros at their ends to a multiple of it, where pooling would leave
            the last pixels out [px].
    Shape: x (N, C, H, W) -> maps (N, channels[i], ceil(H / strides[i]), ceil(W / strides[i]))
    """

    def __init__(
        self,
        layers: OrderedDict[str, nn.Module],
        *,
        taps: tuple[str, ...],
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        multiple: int = 1,
    ) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.taps, self.channels, self.strides = taps, channels, strides
        self.multiple = multiple

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[-2:]
        bottom, right = -height % self.multiple, -width % self.multiple
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom))
        maps = []
        for name, layer in self.named_children():
            x = layer(x)
            if name in self.taps:
                maps.append(x)
        return maps


def region_body(
    name: BodyName,
    in_channels: int,
    *,
    width: int = 64,
    stem: Stem = "full",
    num_maps: int = 1,
) -> RegionBody:
    """The body of a detector; its weights are not drawn yet, see `region_weights`.

    Args:
        name: "resnet18", "resnet34", "resnet50", or "vgg16" up to its last convolution.
        in_channels: channels of the picture.
        width: channels of a ResNet's first stage, 64 in the paper; vgg16 has its own always.
        stem: "full" begins a ResNet with a 7×7 convolution of stride 2 and pooling; "small" with a
            3×3 convolution of stride 1, which divides all strides by four.
        num_maps: 1 gives the map of stride 16 (4 with a small stem), which is a ResNet's third
            stage; 3 gives those for a pyramid, of strides 8, 16 and 32 (vgg16: 4, 8 and 16).
    Raises:
        ConfigError: when a name is not known or the width is below 1.
    """
    for field, value, known in (("body", name, BodyName), ("stem", stem, Stem)):
        if value not in get_args(known):
            raise ConfigError(
                f"{field} must be one of {', '.join(get_args(known))}, received {value!r}"
            )
    if width < 1:
        raise ConfigError(f"width must be at least 1, received {width}")
    if name == "vgg16":
        return _vgg_body(in_channels, num_maps)
    return _resnet_body(name, in_channels, width, stem, num_maps)


def _resnet_body(name: str, in_channels: int, width: int, stem: Stem, num_maps: int) -> RegionBody:
    make: MakeBlock = basic("projection")
    expansion = 1
    if name == "resnet50":
        make, expansion = bottleneck("projection", "3x3"), 4
    depth = 4 if num_maps == 3 else 3
    widths = tuple(width << i for i in range(depth))
    conv = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
    pool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1)
    if stem == "small":
        conv, pool = nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.Identity()
    first = 4 if stem == "full" else 1
    return RegionBody(
        OrderedDict[str, nn.Module](
            conv1=conv, bn1=nn.BatchNorm2d(width), relu=nn.ReLU(inplace=True), maxpool=pool
        )
        | OrderedDict(stages(make, width, DEPTHS[name][:depth], widths)),
        taps=tuple(f"layer{i + 1}" for i in range(depth - num_maps, depth)),
        channels=tuple(expansion * w for w in widths[depth - num_maps :]),
        strides=tuple(first << i for i in range(depth - num_maps, depth)),
    )


def _vgg_body(in_channels: int, num_maps: int) -> RegionBody:
    features = vgg16(1, in_channels, head="small").get_submodule("features")
    return RegionBody(
        OrderedDict([*features.named_children()][:-1]),
        taps=("15", "22", "29")[3 - num_maps :],  # the ReLU behind conv3_3, conv4_3 and conv5_3
        channels=(256, 512, 512)[3 - num_maps :],
        strides=(4, 8, 16)[3 - num_maps :],
        multiple=16,
    )


def default_stem(image_size: int) -> Stem:
    """The stem that leaves enough of a picture whose longer side is `image_size`."""
    return "small" if image_size < SMALL_PICTURE else "full"


def region_weights(stds: dict[str, float]) -> Fill:
    """Convolutions as He et al. draw them; the layers whose path ends in a key from N(0, std²)."""
    usual = he_weights(fan="fan_out")

    def fill(name: str, module: nn.Module) -> None:
        std = next((s for end, s in stds.items() if name.endswith(end)), None)
        if std is None or not isinstance(module, nn.Conv2d | nn.Linear):
            usual(name, module)
            return
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    return fill


def load_body(net: nn.Module, name: BodyName, *, version: str = "DEFAULT") -> tuple[str, ...]:
    """Gives the body of a detector the weights that torchvision's network learnt from ImageNet.

    The affine layers of vgg16 go to the layers fc6 and fc7 of the head, as in the papers.

    Args:
        net: the detector, changed in place; its `body` is of that name, and a ResNet's of width 64.
        name: as torchvision calls it.
        version: of torchvision's weights, such as "IMAGENET1K_V1"; "DEFAULT" is the best.
    Returns: the names of the detector's tensors that stay as they are.
    Raises:
        ConfigError: when none of them fits.
        UnavailableError: when they cannot be fetched.
    """
    heads = {"classifier.0": "head.fc6", "classifier.3": "head.fc7"}
    own = net.state_dict()
    taken = set()
    for key, value in fetch_imagenet(name, version=version).items():
        layer, _, kind = key.rpartition(".")
        place = f"{heads[layer]}.{kind}" if layer in heads else f"body.{key}"
        place = place.replace("body.features.", "body.")
        if place in own and own[place].shape == value.shape:
            with torch.no_grad():
                own[place].copy_(value)
            taken.add(place)
    if not any(f"body.{key}" in taken for key, _ in net.get_submodule("body").named_parameters()):
        raise ConfigError(
            f"no tensor of torchvision's {name} fits the body of {type(net).__name__}",
            "A ResNet's body needs width=64.",
        )
    return tuple(key for key in own if key not in taken)
