import warnings
from functools import cache
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from convolens.analysis.summarize import summarize
from convolens.models.registry import find_model
from convolens.visual.layout import Lane, Volume
from convolens.visual.network import draw_network
from convolens.visual.volumes import volumes_of

from .test_network import overlaps


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = self.block(3, 16), self.block(16, 32)
        self.pool, self.up = nn.MaxPool2d(2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.merge, self.out = self.block(32, 16), nn.Conv2d(16, 2, 1)

    def block(self, m: int, n: int) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(m, n, 3, padding=1), nn.BatchNorm2d(n), nn.ReLU()),
            *(nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d(n), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x)
        b = self.up(self.deep(self.pool(a)))
        return self.out(self.merge(torch.cat([b, a], 1)))


@cache
def volumes(name: str) -> tuple[Volume, ...]:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "unet":
            return volumes_of(summarize(UNet(), (3, 64, 64)))
        if name.startswith("torchvision:"):
            from torchvision.models import get_model

            net = get_model(name.partition(":")[2], weights=None)
            return volumes_of(summarize(net, (3, 224, 224)))
        entry = find_model(name)
        return volumes_of(summarize(entry.builder(), entry.input_size))


PAPERS = ["lenet5", "alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121", "unet"]
OTHERS = ["inception_v3", "mobilenet_v3_small", "convnext_tiny", "vit_b_16", "shufflenet_v2_x1_0"]


@pytest.mark.parametrize("name", [*PAPERS, *(f"torchvision:{name}" for name in OTHERS)])
def test_no_text_meets_another(name: str) -> None:
    svg = draw_network(volumes(name), title=name)
    assert float(ElementTree.fromstring(svg).get("width")) <= 1200
    assert overlaps(svg) == []


@pytest.mark.parametrize("name", [*PAPERS, "torchvision:shufflenet_v2_x1_0"])
def test_a_volume_knows_a_layer_that_gives_it(name: str) -> None:
    found = volumes(name)
    assert found[0].layer == ""
    assert all(volume.layer for volume in found[1:])
    if name == "lenet5":
        layers = [volume.layer for volume in found[1:]]
        assert layers == ["act1", "pool1", "act2", "pool2", "flatten", "act3", "act4", "fc3"]
    if name == "resnet18":
        assert next(v.layer for v in found if v.label == "BasicBlock") == "layer1.1.relu#2"


def test_the_volumes_of_alexnet() -> None:
    assert [(v.label, v.shape, v.times) for v in volumes("alexnet")] == [
        ("input", (3, 227, 227), 1),
        ("conv 11×11 /4", (96, 55, 55), 1),
        ("max 3×3 /2", (96, 27, 27), 1),
        ("conv 5×5 g2", (256, 27, 27), 1),
        ("max 3×3 /2", (256, 13, 13), 1),
        ("conv 3×3", (384, 13, 13), 1),
        ("conv 3×3 g2", (384, 13, 13), 1),
        ("conv 3×3 g2", (256, 13, 13), 1),
        ("max 3×3 /2", (256, 6, 6), 1),
        ("flatten", (9216,), 1),
        ("fc", (4096,), 2),
        ("fc", (1000,), 1),
    ]


def test_the_blocks_of_resnet50() -> None:
    blocks = [v for v in volumes("resnet50") if v.role == "block"]
    assert [block.times for block in blocks] == [1, 2, 1, 3, 1, 5, 1, 2]
    assert set(blocks[1].lanes) == {Lane(), Lane(steps=("1×1, 64", "3×3, 64", "1×1, 256"))}
    assert Lane(steps=("1×1, 256",)) in blocks[0].lanes


def test_the_first_inception_of_googlenet() -> None:
    block = next(v for v in volumes("googlenet") if v.role == "block")
    assert {lane.steps for lane in block.lanes} == {
        ("1×1, 64",),
        ("1×1, 96", "3×3, 128"),
        ("1×1, 16", "5×5, 32"),
        ("max 3×3", "1×1, 32"),
    }


def test_the_blocks_of_densenet121() -> None:
    blocks = [v for v in volumes("densenet121") if v.role == "block"]
    assert [block.lanes[-1].times for block in blocks] == [6, 12, 24, 16]
    assert all(block.is_dense and block.lanes[0] == Lane() for block in blocks)


def test_what_is_read_again_later() -> None:
    found = volumes("unet")
    places = {v.label: i for i, v in enumerate(found)}
    assert found[places["cat"]].reads == (1, places["up-conv 2×2 /2"])
    assert (found[1].label, found[1].times, found[1].shape) == ("conv 3×3", 2, (16, 64, 64))


def test_several_inputs_and_signals() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.conv(a) + b

    found = volumes_of(summarize(Two(), [(2, 12), (4, 10)]))
    assert [(v.label, v.shape, v.reads) for v in found] == [
        ("input", (2, 12), ()),
        ("input", (4, 10), ()),
        ("conv 3", (4, 10), (0,)),
        ("add", (4, 10), (1, 2)),
    ]
    assert draw_network(found).startswith("<svg")


def test_a_drawing(golden) -> None:
    golden("unet.svg", draw_network(volumes("unet"), title="U-Net"))
