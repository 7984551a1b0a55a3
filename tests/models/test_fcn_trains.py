"""FCN and U-Net learn the masks of `shapes`.

Two hundred steps of the networks that train on a CPU; the FCN on VGG-16, whose step takes a hundred
times as long, gets six of plain gradient descent.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.data.picture import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models.fcn import fcn8s, fcn8s_resnet18, fcn16s_resnet18, fcn32s_resnet18
from convolens.models.unet import unet

NUM_CLASSES = 9  # the background and eight figures


def shapes(side: int, count: int) -> tuple[Tensor, Tensor]:
    form = PictureFormat(channels=3, size=(side, side), fit="stretch")
    split = load_shapes(format=form, num_train=count, num_test=1).train
    pixels = split.pictures.batch(torch.arange(count)).float() / 127.5 - 1
    return pixels, torch.as_tensor(split.targets["masks"]).long()


def losses_of(
    net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, batches: list[Any]
) -> list[float]:
    found = []
    for step in range(steps):
        pixels, masks = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = F.cross_entropy(net(pixels), masks)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("builder", [fcn8s_resnet18, fcn16s_resnet18, fcn32s_resnet18, unet])
def test_two_hundred_steps_lower_the_loss(builder) -> None:  # type: ignore[no-untyped-def]
    pixels, masks = shapes(32, 16)
    batches = list(zip(pixels.split(4), masks.split(4), strict=True))
    torch.manual_seed(0)
    options = {"width": 4, "depth": 2, "norm": True} if builder is unet else {"width": 8}
    net = builder(NUM_CLASSES, 3, 32, **options)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = losses_of(net, optimizer, 200, batches)
    assert sum(losses[-8:]) < 0.6 * sum(losses[:8]), losses


def test_six_steps_of_the_fcn_on_vgg16_lower_the_loss() -> None:
    batch = shapes(32, 1)
    torch.manual_seed(0)
    net = fcn8s(NUM_CLASSES, 3, 32, padding="same", dropout=0.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    losses = losses_of(net, optimizer, 6, [batch])
    assert losses[-1] < 0.9 * losses[0], losses
