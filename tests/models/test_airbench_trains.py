import torch
import torch.nn.functional as F

from convolens.data.picture import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models import airbench


def test_two_hundred_steps_on_shapes_lower_the_loss() -> None:
    """A narrow one at 24 px, from ln 8 = 2.08 for eight labels."""
    train = load_shapes(
        format=PictureFormat(channels=3, size=(24, 24), fit="stretch"), num_train=320, num_test=8
    ).train
    pixels = train.pictures.batch(torch.arange(320)).float() / 127.5 - 1
    labels = train.targets["label"]
    torch.manual_seed(0)
    net = airbench.airbench94(num_classes=8, image_size=24, widths=(16, 32, 32))
    net.initialize_from(pixels)
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad], lr=0.3, momentum=0.85, nesterov=True
    )
    losses = []
    for step in range(200):
        rows = torch.arange(step * 32, step * 32 + 32) % 320
        optimizer.zero_grad()
        loss = F.cross_entropy(net(pixels[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[:5]) / 5 > 1.8
    assert sum(losses[-10:]) / 10 < 1.0
