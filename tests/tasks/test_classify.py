import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from convolens.data.augment import AugmentConfig
from convolens.data.base import MemoryPictures, Split
from convolens.errors import DataError
from convolens.tasks.classify import Classify, channel_statistics, classify_from_json

NAMES = tuple("abcdefg")


def make_task(**changes: object) -> Classify:
    options: dict = {"class_names": NAMES, "mean": (0.4,), "std": (0.2,), "fill": (0.0,)}
    return Classify(**{**options, **changes})


def make_split(num: int = 30, channels: int = 1) -> Split:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (num, channels, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, len(NAMES), (num,), generator=generator)
    return Split(
        pictures=MemoryPictures(pixels),
        targets={"label": labels},
        names=[f"picture {i}" for i in range(num)],
    )


def test_metrics_equal_torchmetrics_whatever_the_batches() -> None:
    torch.manual_seed(0)
    task, split = make_task(), make_split()
    logits = torch.randn(30, 7)
    labels = task.targets(split, torch.arange(30))
    meter = task.meter(30)
    for indices in (torch.arange(0, 11), torch.arange(11, 30)):
        meter.update(indices, task.results(logits[indices], labels[indices]))
    metrics = meter.metrics()
    expected = multiclass_confusion_matrix(logits, labels, num_classes=7)
    assert torch.equal(meter.confusion, expected)
    micro = multiclass_accuracy(logits, labels, num_classes=7, average="micro")
    top5 = multiclass_accuracy(logits, labels, num_classes=7, average="micro", top_k=5)
    assert metrics["accuracy"] == pytest.approx(float(micro))
    assert metrics["top5_accuracy"] == pytest.approx(float(top5))
    expected_loss = torch.nn.functional.cross_entropy(logits.double(), labels)
    assert metrics["loss"] == pytest.approx(float(expected_loss), rel=1e-6)
    assert torch.equal(meter.predicted, logits.argmax(dim=1))


def test_few_classes_have_no_top5() -> None:
    task = make_task(class_names=("a", "b"))
    meter = task.meter(2)
    results = task.results(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    meter.update(torch.arange(2), results)
    assert set(meter.metrics()) == {"loss", "accuracy"}


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
def test_pictures_are_normalised(generator: torch.Generator | None) -> None:
    split = make_split(channels=3)
    task = make_task(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), fill=(0, 0, 0))
    pixels = split.pictures.batch(torch.arange(5))
    x, _ = task.prepare(pixels, torch.zeros(5, dtype=torch.int64), generator)
    for channel, (mean, std) in enumerate(zip(task.mean, task.std, strict=True)):
        expected = (pixels[:, channel].double() / 255 - mean) / std
        torch.testing.assert_close(x[:, channel].double(), expected, rtol=1e-5, atol=1e-6)


def test_augmentation_happens_in_training_only() -> None:
    task = make_task(augmentation=AugmentConfig(shift=0.4))
    pixels = make_split().pictures.batch(torch.arange(8))
    labels = torch.zeros(8, dtype=torch.int64)
    plain, _ = task.prepare(pixels, labels, None)
    changed, _ = task.prepare(pixels, labels, torch.Generator().manual_seed(0))
    again, _ = task.prepare(pixels, labels, torch.Generator().manual_seed(0))
    assert not torch.equal(plain, changed)
    assert torch.equal(changed, again)


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
def test_mixing_gives_soft_targets(field: str) -> None:
    task = make_task(augmentation=AugmentConfig(**{field: 1.0}))
    labels = torch.arange(7)
    pixels = make_split(7).pictures.batch(torch.arange(7))
    x, targets = task.prepare(pixels, labels, torch.Generator().manual_seed(0))
    assert targets.shape == (7, 7)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(7))
    assert torch.isfinite(task.loss(torch.randn(7, 7), targets))
    assert x.shape == pixels.shape


def test_label_smoothing_is_the_equation() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 7), torch.tensor([0, 3, 3, 6])
    target = torch.full((4, 7), 0.1 / 7)
    target[torch.arange(4), labels] += 0.9
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(make_task(label_smoothing=0.1).loss(logits, labels), expected)


def test_auxiliary_logits_add_their_weighted_loss() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 3, 3, 6])
    own, first, second = torch.randn(3, 4, 7)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = cross_entropy(own, labels) + 0.3 * (
        cross_entropy(first, labels) + cross_entropy(second, labels)
    )
    task = make_task()
    torch.testing.assert_close(task.loss((own, first, second), labels), expected)
    torch.testing.assert_close(task.loss((own, None), labels), task.loss(own, labels))
    assert make_task(auxiliary_weight=0.0).loss((own, first), labels) == task.loss(own, labels)
    assert task.batch_metrics((own, first), labels) == task.batch_metrics(own, labels)


def test_figures_show_the_surest_mistakes() -> None:
    task, split = make_task(), make_split()
    labels = task.targets(split, torch.arange(30))
    logits = torch.nn.functional.one_hot(labels, 7).float() * 9
    meter = task.meter(30)
    meter.update(torch.arange(30), task.results(logits, labels))
    names = [figure.name for figure in task.figures(meter, split)]
    assert names == ["confusion", "mistakes"]
    assert meter.metrics()["accuracy"] == 1.0


def test_json_there_and_back() -> None:
    task = make_task()
    assert classify_from_json(task.to_json()) == task


def test_a_dataset_without_labels_is_refused() -> None:
    split = make_split()
    bare = Split(pictures=split.pictures, targets={}, names=split.names)
    with pytest.raises(DataError, match="no labels"):
        make_task().targets(bare, torch.arange(2))


def test_channel_statistics_equal_numpys() -> None:
    split = make_split(num=300, channels=3)
    mean, std = channel_statistics(split)
    pixels = split.pictures.batch(torch.arange(300)).numpy() / 255
    assert mean == pytest.approx(pixels.mean(axis=(0, 2, 3)).tolist())
    assert std == pytest.approx(pixels.std(axis=(0, 2, 3)).tolist())


def test_a_constant_channel_divides_by_one() -> None:
    pixels = torch.full((4, 1, 8, 8), 51, dtype=torch.uint8)
    labels = torch.zeros(4, dtype=torch.int64)
    split = Split(pictures=MemoryPictures(pixels), targets={"label": labels}, names=list("abcd"))
    mean, std = channel_statistics(split)
    assert mean == pytest.approx([0.2])
    assert std == [1.0]
