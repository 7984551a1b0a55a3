"""GoogLeNet learns `shapes`: ten steps on eight pictures, because two hundred take a minute."""

import pytest
import torch

from convolens.data.picture import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models.googlenet import googlenet
from convolens.tasks.classify import Classify

STEPS = 10


@pytest.mark.parametrize(
    "options", [{"norm": "lrn"}, {"norm": "batch", "auxiliary": True}], ids=["lrn", "auxiliary"]
)
def test_ten_steps_lower_the_loss(options: dict) -> None:
    picture = PictureFormat(channels=3, size=(32, 32), fit="stretch")
    data = load_shapes(format=picture, num_train=8, num_test=8)
    task = Classify(class_names=data.class_names, mean=(0.5,) * 3, std=(0.25,) * 3, fill=(0.0,) * 3)
    indices = torch.arange(8)
    x, labels = task.prepare(
        data.train.pictures.batch(indices), task.targets(data.train, indices), None
    )
    torch.manual_seed(0)
    net = googlenet(num_classes=8, image_size=32, dropout=0.0, **options)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-4)
    losses = []
    for _ in range(STEPS):
        loss = task.loss(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
