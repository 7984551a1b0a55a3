"""DenseNets learn `shapes`: ten steps on eight pictures, because two hundred take minutes."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from convolens.data.picture import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models.densenet import densenet121, densenet_cifar
from convolens.tasks.classify import Classify

STEPS = 10


@pytest.mark.parametrize(
    ("builder", "size"), [(densenet121, 32), (densenet_cifar, 16)], ids=["densenet121", "cifar"]
)
def test_ten_steps_lower_the_loss(builder: Callable[..., nn.Module], size: int) -> None:
    picture = PictureFormat(channels=3, size=(size, size), fit="stretch")
    data = load_shapes(format=picture, num_train=8, num_test=8)
    task = Classify(class_names=data.class_names, mean=(0.5,) * 3, std=(0.25,) * 3, fill=(0.0,) * 3)
    indices = torch.arange(8)
    x, labels = task.prepare(
        data.train.pictures.batch(indices), task.targets(data.train, indices), None
    )
    torch.manual_seed(0)
    net = builder(num_classes=8, image_size=size)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        loss = task.loss(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
