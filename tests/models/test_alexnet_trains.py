"""The networks before VGG learn `shapes`, by plain Adam.

LeNet-5 takes 200 steps; the others, with millions of parameters, fewer. AlexNet and ZFNet start
from the weights of He et al.: from their papers', made for pixels up to 255, they take longer.
"""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convolens.data import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models.alexnet import alexnet
from convolens.models.lenet import lenet5, lenet5_1998
from convolens.models.nin import nin, nin_cifar
from convolens.models.zfnet import zfnet

NUM_PICTURES = 32


def pictures(channels: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    form = PictureFormat(channels=channels, size=(side, side))
    split = load_shapes(format=form, num_train=NUM_PICTURES, num_test=8).train
    indices = torch.arange(NUM_PICTURES)
    x = split.pictures.batch(indices).float()
    return (x - x.mean()) / x.std(), torch.as_tensor(split.targets["label"])[indices]


def loss_of(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    net.eval()
    with torch.no_grad():
        return F.cross_entropy(net(x), y).item()


@pytest.mark.parametrize(
    ("builder", "options", "side", "rate", "steps", "factor"),
    [
        (lenet5, {}, 20, 3e-3, 200, 0.5),
        (lenet5_1998, {}, 20, 3e-3, 200, 0.5),
        (nin_cifar, {}, 16, 1e-3, 50, 0.95),
        (nin, {}, 39, 1e-3, 30, 0.98),
        (zfnet, {"dropout": 0.0, "weight_std": None}, 47, 1e-4, 20, 0.9),
        (alexnet, {"dropout": 0.0, "weight_std": None}, 67, 1e-4, 20, 0.9),
    ],
    ids=["lenet5", "lenet5_1998", "nin_cifar", "nin", "zfnet", "alexnet"],
)
def test_training_on_shapes_lowers_the_loss(
    builder: Any, options: dict[str, Any], side: int, rate: float, steps: int, factor: float
) -> None:
    torch.manual_seed(0)
    channels = 1 if builder in (lenet5, lenet5_1998) else 3
    x, y = pictures(channels, side)
    net = builder(8, channels, side, **options)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
    before = loss_of(net, x, y)
    net.train()
    for step in range(steps):
        batch = torch.arange(8 * step, 8 * (step + 1)) % NUM_PICTURES
        optimizer.zero_grad()
        F.cross_entropy(net(x[batch]), y[batch]).backward()
        optimizer.step()
    # Below a guess, not only below a bad start.
    assert loss_of(net, x, y) < factor * min(before, math.log(8))
