"""`yolo` and `yolo_v1` learn from `shapes`.

Two hundred steps of a narrow `yolo` find the objects again. A step of `yolo_v1` updates thirty
million weights at any size of picture, so that it gets ten.
"""

import torch
from torch import Tensor, nn

from convolens.data.picture import PictureFormat
from convolens.data.shapes import SHAPES_CLASSES, load_shapes
from convolens.models.yolo import yolo
from convolens.models.yolo_v1 import yolo_v1
from convolens.nn.box_overlap import pairwise_iou
from convolens.nn.objects import Objects, pad_objects

KINDS = len(SHAPES_CLASSES)


def shapes(side: int, count: int) -> tuple[Tensor, Objects]:
    form = PictureFormat(channels=3, size=(side, side), fit="stretch")
    split = load_shapes(format=form, num_train=count, num_test=1).train
    boxes, labels = split.targets["boxes"], split.targets["box_labels"]
    pixels = split.pictures.batch(torch.arange(count)).float() / 127.5 - 1
    return pixels, pad_objects([*boxes], [*labels])


def train(
    net: nn.Module, pixels: Tensor, objects: Objects, *, steps: int, lr: float
) -> list[float]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    warm = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.2)
    found = []
    for _ in range(steps):
        loss = torch.stack([*net(pixels).losses(objects).values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        warm.step()
        found.append(loss.item())
    return found


def part_found(rows: Tensor, objects: Objects) -> float:
    """The part of the objects that a detection of their class covers with an IoU above 0.5."""
    overlap = pairwise_iou(objects.boxes, rows[..., :4])
    same = objects.labels[:, :, None] == rows[:, None, :, 5].long()
    hit = ((overlap > 0.5) & same).any(2)
    return hit[objects.labels >= 0].float().mean().item()


def test_yolo_finds_the_objects_again() -> None:
    pixels, objects = shapes(48, 4)
    torch.manual_seed(0)
    net = yolo(KINDS, width=0.375)
    losses = train(net, pixels, objects, steps=200, lr=4e-3)
    assert sum(losses[-8:]) < 0.3 * sum(losses[:8]), losses
    net.eval()
    with torch.no_grad():
        rows = net(pixels).detections(score=0.3)
    assert part_found(rows, objects) > 0.9


def test_ten_steps_lower_the_loss_of_yolo_v1() -> None:
    pixels, objects = shapes(64, 4)
    torch.manual_seed(0)
    net = yolo_v1(KINDS, 3, 64, variant="tiny", num_cells=4, batch_norm=True, dropout=0.0)
    losses = train(net, pixels, objects, steps=10, lr=3e-4)
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3]), losses
