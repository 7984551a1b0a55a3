"""Segmentation against torchmetrics and against its own equations."""

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.functional.classification import multiclass_accuracy

from convolens.data.augment import AugmentConfig
from convolens.data.base import MemoryPictures, Split
from convolens.data.placement import VOID
from convolens.errors import ConfigError, DataError
from convolens.tasks.segment import (
    Segment,
    balanced_weights,
    confusion_counts,
    segment_from_json,
)

NAMES = ("sky", "road", "car", "tree", "never")
CLASSES = len(NAMES)


def make_task(**changes: Any) -> Segment:
    options: dict[str, Any] = {"class_names": NAMES, "mean": (0.4,), "std": (0.2,), "fill": (0.0,)}
    return Segment(**{**options, **changes})


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_split(num: int = 10) -> Split:
    pixels = torch.randint(0, 256, (num, 1, 9, 12), dtype=torch.uint8, generator=seeded())
    masks = torch.randint(0, 4, (num, 9, 12), dtype=torch.uint8, generator=seeded())
    masks[:, :2] = VOID
    names = [f"picture {i}" for i in range(num)]
    return Split(pictures=MemoryPictures(pixels), targets={"masks": masks}, names=names)


def some_logits(num: int = 10) -> Tensor:
    logits = torch.randn(num, CLASSES, 9, 12, generator=seeded(1))
    logits[:, 4] = -9  # a class that is never true and never predicted
    return logits


def test_metrics_equal_torchmetrics_whatever_the_batches() -> None:
    task, split = make_task(), make_split()
    masks = task.targets(split, torch.arange(10))
    # Each picture is mostly right, to a different degree.
    logits = some_logits() + 2 * F.one_hot(masks.long().clamp(max=3), CLASSES).movedim(3, 1)
    meter = task.meter(10)
    for indices in (torch.arange(0, 4), torch.arange(4, 10)):
        meter.update(indices, task.results(logits[indices], masks[indices]))
    metrics = meter.metrics()
    predicted, true = logits.argmax(1), masks.long()
    mean = MulticlassJaccardIndex(CLASSES, ignore_index=VOID)
    each = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=VOID)
    assert metrics["miou"] == pytest.approx(float(mean(predicted, true)), rel=1e-5)
    found = each(predicted, true).tolist()
    for name, value in zip(NAMES[:4], found, strict=False):
        assert metrics[f"iou_{name}"] == pytest.approx(value, rel=1e-5)
    assert "iou_never" not in metrics
    right = multiclass_accuracy(
        predicted, true, num_classes=CLASSES, average="micro", ignore_index=VOID
    )
    assert metrics["accuracy"] == pytest.approx(float(right), rel=1e-5)
    loss = F.cross_entropy(logits.double(), true, ignore_index=VOID)
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
    for place in range(10):
        one = MulticlassJaccardIndex(CLASSES, ignore_index=VOID)
        expected = float(one(predicted[place : place + 1], true[place : place + 1]))
        assert float(meter.picture_miou[place]) == pytest.approx(expected, rel=1e-5)
    assert meter.worst(3).tolist() == meter.picture_miou.argsort()[:3].tolist()


def test_a_class_that_is_only_predicted_counts_in_the_mean() -> None:
    masks = torch.zeros(1, 2, 2, dtype=torch.uint8)
    logits = torch.zeros(1, CLASSES, 2, 2)
    logits[0, 4, 0, 0] = 1  # one of four pixels
    task = make_task()
    meter = task.meter(1)
    meter.update(torch.tensor([0]), task.results(logits, masks))
    assert meter.metrics()["miou"] == pytest.approx((0.75 + 0) / 2)
    assert meter.metrics()["iou_sky"] == 0.75


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5, 3.0, 1.0)])
def test_the_loss_is_the_weighted_mean_over_pixels_that_count(weights: tuple[float, ...]) -> None:
    task, split, logits = make_task(class_weights=weights), make_split(), some_logits()
    masks = task.targets(split, torch.arange(10))
    each = [
        F.cross_entropy(
            logits[i : i + 1],
            masks[i : i + 1].long(),
            weight=torch.tensor(weights) if weights else None,
            ignore_index=VOID,
        )
        for i in range(10)
    ]
    expected = torch.stack(each).mean()
    torch.testing.assert_close(task.loss(logits, masks), expected)
    meter = task.meter(10)
    meter.update(torch.arange(10), task.results(logits, masks))
    assert meter.metrics()["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_void_alone_gives_zero_and_no_nan() -> None:
    masks = torch.full((2, 4, 4), VOID, dtype=torch.uint8)
    for task in (make_task(), make_task(dice=1.0, class_weights=(0.0,) * CLASSES)):
        logits = torch.randn(2, CLASSES, 4, 4, requires_grad=True)
        loss = task.loss(logits, masks)
        loss.backward()
        assert loss.item() == 0
        assert logits.grad is not None
        assert not logits.grad.any()
        meter = task.meter(2)
        meter.update(torch.arange(2), task.results(logits.detach(), masks))
        assert meter.metrics() == {"loss": 0.0, "accuracy": 0.0, "miou": 0.0}
        assert task.batch_metrics(logits, masks)["accuracy"] == 0
        assert task.figures(meter, make_split(2)) == []
        assert not len(meter.worst(3))


def test_auxiliary_logits_add_their_weighted_loss_in_any_size() -> None:
    task, split, logits = make_task(), make_split(), some_logits()
    masks = task.targets(split, torch.arange(10))
    coarse = torch.randn(10, CLASSES, 3, 4, generator=seeded())
    fine = F.interpolate(coarse, size=(9, 12), mode="bilinear")
    expected = task.loss(logits, masks) + 0.4 * task.loss(fine, masks)
    torch.testing.assert_close(task.loss((logits, coarse, None), masks), expected)
    torch.testing.assert_close(task.loss({"out": logits, "aux": coarse}, masks), expected)
    own = task.results(logits, masks)
    for name, value in task.results({"out": logits, "aux": coarse}, masks).items():
        assert torch.equal(value, own[name])
    half = logits.to(torch.bfloat16)
    assert task.loss(half, masks).dtype == torch.float32


def test_the_dice_term_is_its_equation() -> None:
    task, split, logits = make_task(dice=0.7), make_split(2), some_logits(2)
    masks = task.targets(split, torch.arange(2))
    added = 0.0
    for one, mask in zip(logits, masks, strict=True):
        p = one.softmax(0)[:, mask != VOID].double()
        t = mask[mask != VOID].long()
        each = []
        for label in t.unique().tolist():
            both = 2 * p[label][t == label].sum()
            each.append(1 - both / (p[label].sum() + (t == label).sum()))
        added += 0.7 * float(torch.stack(each).mean()) / 2
    plain = make_task().loss(logits, masks)
    assert float(task.loss(logits, masks) - plain) == pytest.approx(added, rel=1e-4)
    meter = task.meter(2)
    meter.update(torch.arange(2), task.results(logits, masks))
    assert meter.metrics()["loss"] == pytest.approx(float(plain) + added, rel=1e-5)


def test_a_perfect_prediction() -> None:
    task, split = make_task(dice=1.0), make_split()
    masks = task.targets(split, torch.arange(10))
    logits = 50.0 * F.one_hot(masks.long().clamp(max=4), CLASSES).movedim(3, 1)
    meter = task.meter(10)
    meter.update(torch.arange(10), task.results(logits, masks))
    metrics = meter.metrics()
    assert metrics["miou"] == metrics["accuracy"] == 1.0
    assert metrics["loss"] == pytest.approx(0, abs=1e-4)


def test_pictures_are_normalised_and_masks_left_alone() -> None:
    task, split = make_task(), make_split()
    pixels = split.pictures.batch(torch.arange(5))
    masks = task.targets(split, torch.arange(5))
    x, same = task.prepare(pixels, masks, None)
    torch.testing.assert_close(x, (pixels.float() / 255 - 0.4) / 0.2, rtol=1e-5, atol=1e-5)
    assert same is masks


def test_augmentation_moves_pictures_with_masks() -> None:
    task = make_task(augmentation=AugmentConfig(flip=1.0), mean=(0.0,), std=(1.0,))
    masks = torch.randint(0, 4, (3, 9, 12), dtype=torch.uint8, generator=seeded())
    x, moved = task.prepare(masks[:, None] * 10, masks, seeded())
    assert torch.equal(moved, masks.flip(2))
    assert torch.equal((x[:, 0] * 25.5).round().to(torch.uint8), moved)
    zoomed = make_task(augmentation=AugmentConfig(zoom_out=0.3))
    _, out = zoomed.prepare(masks[:, None], masks, seeded())
    assert (out == VOID).float().mean() > 0.3


def test_balanced_weights_are_median_frequencies() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.uint8)
    masks[0, 0] = 1  # 4 of 16 pixels where it occurs
    masks[1, 0, 0], masks[1, 3] = 2, VOID  # 1 of 12
    split = Split(
        pictures=MemoryPictures(torch.zeros(3, 1, 4, 4, dtype=torch.uint8)),
        targets={"masks": masks},
        names=["a", "b", "c"],
    )
    shares = torch.tensor([39 / 44, 4 / 16, 1 / 12])
    expected = [*(shares.median() / shares).tolist(), 1.0]
    assert balanced_weights(split, 4) == pytest.approx(expected)
    with pytest.raises(DataError, match="a mask holds 2, expected 0 to 1, or 255: void"):
        balanced_weights(split, 2)


def test_counts_are_of_each_picture() -> None:
    split, predicted = make_split(3), torch.randint(0, 4, (3, 9, 12), generator=seeded(9))
    masks = make_task().targets(split, torch.arange(3))
    counts = confusion_counts(predicted, masks, CLASSES)
    assert counts.dtype == torch.int32
    for place in range(3):
        for true in range(CLASSES):
            for found in range(CLASSES):
                both = (masks[place] == true) & (predicted[place] == found)
                assert counts[place, true, found] == both.sum()


def test_figures_show_each_class_and_the_worst_pictures() -> None:
    task, split, logits = make_task(), make_split(), some_logits()
    masks = task.targets(split, torch.arange(10))
    meter = task.meter(10)
    meter.update(torch.arange(10), task.results(logits, masks))
    assert [figure.name for figure in task.figures(meter, split)] == ["class-iou"]
    asked: list[int] = []

    def predict(indices: Tensor) -> Tensor:
        asked.extend(indices.tolist())
        return logits[indices]

    bars, worst = task.figures(meter, split, predict)
    assert asked == meter.picture_miou.argsort()[:8].tolist()
    assert f"the first is picture {asked[0]}, mean IoU" in worst.caption
    assert "Neither true nor predicted: 1 of the 5 classes" in bars.caption


def test_json_there_and_back() -> None:
    task = make_task(
        colours=tuple((i, 2 * i, 3 * i) for i in range(5)), class_weights=(1.0,) * 5, dice=0.5
    )
    assert segment_from_json(json.loads(json.dumps(task.to_json()))) == task


def test_what_does_not_fit_is_refused() -> None:
    split = make_split()
    bare = Split(pictures=split.pictures, targets={}, names=split.names)
    with pytest.raises(DataError, match="no masks to segment"):
        make_task().targets(bare, torch.arange(2))
    with pytest.raises(DataError, match="no masks to weigh"):
        balanced_weights(bare, 4)
    with pytest.raises(ConfigError, match="masks and boxes cannot be mixed"):
        make_task(augmentation=AugmentConfig(mixup=0.2))
    with pytest.raises(ConfigError, match="one for each of 5 classes, received 2"):
        make_task(class_weights=(1.0, 2.0))
    with pytest.raises(ConfigError, match="must be at least 0"):
        make_task(dice=-1.0)
