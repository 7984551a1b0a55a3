"""Networks in notation learn `shapes`: two hundred steps lower the loss."""

import pytest
import torch
from torch.nn import functional as F

from convolens.data.picture import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models.notation import build


@pytest.mark.parametrize(
    "text",
    [
        "INPUT 3x24x24 -> [CONV 16 -> RELU -> POOL]*2 -> FC 64 -> RELU -> FC",
        "3x24x24 | conv 16 3x3 /2 p1 nobias | bn | relu | maxpool | residual 16"
        " | inception 8 8-16 4-8 8 | concat(conv 16 1x1 ; dense 2 k8) | gap | fc 8",
    ],
)
def test_two_hundred_steps_on_shapes_lower_the_loss(text: str) -> None:
    """From ln 8 = 2.08 for eight labels."""
    form = PictureFormat(channels=3, size=(24, 24), fit="stretch")
    train = load_shapes(format=form, num_train=320, num_test=8).train
    pixels = train.pictures.batch(torch.arange(320)).float() / 127.5 - 1
    labels = train.targets["label"]
    torch.manual_seed(0)
    net = build(text, num_classes=8)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for step in range(200):
        rows = torch.arange(step * 16, step * 16 + 16) % 320
        optimizer.zero_grad()
        loss = F.cross_entropy(net(pixels[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[:5]) / 5 > 1.8
    assert sum(losses[-10:]) / 10 < 1.5
