"""VGG and ResNet learn from `shapes`.

Two hundred steps of the networks for small pictures. A step of those for ImageNet takes many times
as long, so that they get fewer, all with the same pictures. The deeper ones are the same code with
more blocks.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.data.picture import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models.registry import MODELS

NUM_CLASSES = 8


def shapes(side: int, count: int) -> tuple[Tensor, Tensor]:
    form = PictureFormat(channels=3, size=(side, side), fit="stretch")
    split = load_shapes(format=form, num_train=count, num_test=1).train
    pixels = split.pictures.batch(torch.arange(count)).float() / 127.5 - 1
    return pixels, torch.as_tensor(split.targets["label"])


def losses_of(
    net: nn.Module, optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor]]
) -> list[float]:
    found = []
    for pixels, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(pixels), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_two_hundred_steps_lower_the_loss(name: str) -> None:
    pixels, labels = shapes(16, 64)
    batches = 25 * list(zip(pixels.split(8), labels.split(8), strict=True))
    torch.manual_seed(0)
    net = MODELS[name].builder(NUM_CLASSES, 3, 16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    losses = losses_of(net, optimizer, batches)
    assert sum(losses[-8:]) < 0.5 * sum(losses[:8]), losses


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg11", {"head": "small", "dropout": 0.0}),
        ("vgg16_bn", {"head": "small", "dropout": 0.0}),
        ("resnet18", {}),
        ("resnet50", {}),
        ("plain18", {}),
    ],
)
def test_sixteen_steps_lower_the_loss(name: str, options: dict[str, Any]) -> None:
    batches = 16 * [shapes(32, 8)]
    torch.manual_seed(0)
    net = MODELS[name].builder(NUM_CLASSES, 3, 32, **options)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4)
    losses = losses_of(net, optimizer, batches)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses
