"""`rcnn`, `fast_rcnn` and `faster_rcnn` learn from `shapes`.

Twenty steps of narrow networks on four pictures, for a step of a detector takes long; the
loss of all regions halves meanwhile.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convolens.data.shapes import load_shapes
from convolens.models.fast_rcnn import fast_rcnn
from convolens.models.faster_rcnn import faster_rcnn
from convolens.models.rcnn import rcnn
from convolens.nn.objects import Objects, pad_objects

NUM_STEPS, NUM_PICTURES = 20, 4


def pictures() -> tuple[Tensor, Objects]:
    split = load_shapes(num_train=NUM_PICTURES, num_test=1).train
    boxes = [torch.as_tensor(b) for b in split.targets["boxes"]]
    # Proposals as of a search: each object moved a little, and boxes anywhere.
    source = torch.Generator().manual_seed(0)
    proposals = []
    for own in boxes:
        near = own.repeat(4, 1) + 4 * torch.randn(4 * len(own), 4, generator=source)
        first = 44 * torch.rand(30, 2, generator=source)
        proposals.append(torch.cat((near, first.repeat(1, 2) + torch.tensor([0, 0, 20, 20]))))
    x = split.pictures.batch(torch.arange(NUM_PICTURES)).float()
    return (x - 128) / 64, pad_objects(boxes, split.targets["box_labels"], proposals=proposals)


@pytest.mark.parametrize(
    "build",
    [
        lambda: rcnn(8, region_size=24, num_regions=16),
        lambda: fast_rcnn(8, image_size=64, width=8, stem="full", num_regions=16, hidden=64),
        lambda: faster_rcnn(
            8, image_size=64, width=8, stem="full", num_regions=16, hidden=64, num_proposals=40
        ),
        lambda: faster_rcnn(
            8,
            image_size=64,
            width=8,
            stem="full",
            pyramid=True,
            num_regions=16,
            hidden=64,
            num_proposals=40,
        ),
    ],
    ids=["rcnn", "fast_rcnn", "faster_rcnn", "pyramid"],
)
def test_the_loss_halves(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = build()
    x, targets = pictures()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(NUM_STEPS):
        loss = torch.stack(list(net(x).losses(targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < losses[0] / 2
