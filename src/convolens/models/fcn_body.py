"""The bodies of FCNs: classifiers without their last layer, which give maps of three strides.

Source: Long, Shelhamer, Darrell (2015), Fully convolutional networks for semantic segmentation,
arXiv:1411.4038, sections 3.1 and 4.1.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.resnet import basic, stages
from convolens.models.vgg import vgg16
from convolens.nn.initial import he_conv

Padding = Literal["paper", "same"]
Stem = Literal["full", "small"]
SURROUND_PX = 100  # of zeros, so that pictures of every size reach fc6's window of 7×7


class VGGBody(nn.Module):
    """VGG-16 with fc6 and fc7 as convolutions: pool3, pool4 and fc7.

    Source: Long et al. (2015), sections 3.1 and 4.1.
    Args:
        in_channels: channels of the picture.
        padding: "paper" puts 100 px of zeros around the picture and none around pool5; "same"
            3 around pool5.
        dropout: probability of dropping a unit after fc6 and after fc7.
    Shape: x (N, in_channels, H, W) -> three maps of 256, 512 and 4096 channels, each half as fine
    """

    channels = (256, 512, 4096)
    stride = 32
    pools = (16, 23)  # places of pool3 and pool4 in `features`

    def __init__(self, in_channels: int, *, padding: Padding, dropout: float) -> None:
        super().__init__()
        vgg = vgg16(in_channels=in_channels, head="small")
        self.features = nn.Sequential(*vgg.get_submodule("features").children())
        for place, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True  # as Caffe pools
            if isinstance(layer, nn.Conv2d) and place == 0 and padding == "paper":
                layer.padding = (SURROUND_PX, SURROUND_PX)
        self.classifier = nn.Sequential(
            he_conv(512, 4096, 7, padding=0 if padding == "paper" else 3),
            *(nn.ReLU(inplace=True), nn.Dropout(dropout)),
            he_conv(4096, 4096, 1),
            *(nn.ReLU(inplace=True), nn.Dropout(dropout)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        finer = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.pools:
                finer.append(x)
        return finer[0], finer[1], self.classifier(x)


class ResNetBody(nn.Module):
    """ResNet-18 without its head: the maps of the last three stages.

    Source: He et al. (2015), arXiv:1512.03385, table 1.
    Args:
        in_channels: channels of the picture.
        width: channels of the first stage; 64 in the paper.
        stem: "full" as in the paper; "small" begins with a 3×3 convolution of stride 2 and no
            pooling, so that every map is twice as fine.
    Shape: x (N, in_channels, H, W) -> maps of 2, 4 and 8 times `width` channels
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, in_channels: int, *, width: int, stem: Stem) -> None:
        super().__init__()
        self.channels = (2 * width, 4 * width, 8 * width)
        self.stride = 32 if stem == "full" else 16
        kernel = 7 if stem == "full" else 3
        self.conv1 = nn.Conv2d(
            in_channels, width, kernel, stride=2, padding=kernel // 2, bias=False
        )
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        full = stem == "full"
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if full else nn.Identity()
        widths = (width, *self.channels)
        for name, stage in stages(basic("projection"), width, (2, 2, 2, 2), widths):
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


def load_body(body: VGGBody | ResNetBody, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Gives a body a classifier's weights by their names; fc6 and fc7 become convolutions.

    Source: Long et al. (2015), section 3.1.
    Args:
        body: changed in place.
        tensors: of VGG-16 or ResNet-18, named as torchvision does; those of other shapes, and
            the last layer's, are passed over.
    Returns: the names of the body's tensors that stay as initialised.
    Raises:
        ConfigError: when no tensor fits.
    """
    own = body.state_dict()
    fitting = {
        # An affine layer's row over (C, h, w) is a filter of C channels and h×w.
        name: value.reshape(own[name].shape)
        for name, value in tensors.items()
        if name in own
        and value.shape[:1] == own[name].shape[:1]
        and value.numel() == own[name].numel()
    }
    if not fitting:
        raise ConfigError(
            f"no tensor fits the body of this network, whose first is {next(iter(own))}; "
            f"received {next(iter(tensors), 'none')} first"
        )
    with torch.no_grad():
        for name, value in fitting.items():
            own[name].copy_(value)
    return tuple(n for n in own if n not in fitting and not n.endswith("num_batches_tracked"))
