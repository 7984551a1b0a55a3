"""The task of detection: targets, loss, metrics, figures."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from convolens.data.augment import AugmentConfig
from convolens.data.base import MemoryPictures, Split
from convolens.errors import ConfigError, DataError
from convolens.nn.objects import Objects
from convolens.tasks.average_precision import Found, Truth
from convolens.tasks.detect import Detect, detect_from_json
from convolens.tasks.misses import misses_of


class Told(NamedTuple):
    """Outputs that are what a test says."""

    rows: Tensor

    def losses(self, targets: Objects) -> dict[str, Tensor]:
        return {"box": torch.tensor(2.0), "score": torch.tensor(0.5) * len(targets)}

    def detections(
        self, *, score: float, iou: float, most: int, proposals: Tensor | None = None
    ) -> Tensor:
        assert (score, iou, most, proposals) == (0.001, 0.6, 100, None)
        return self.rows


def make_task(**changes: object) -> Detect:
    arguments: dict[str, object] = {
        "class_names": ("cat", "dog", "owl"),
        "mean": (0.5,),
        "std": (0.25,),
        "fill": (0.5,),
    }
    return Detect(**(arguments | changes))  # type: ignore[arg-type]


def make_split(boxes: list[list[list[float]]], labels: list[list[int]]) -> Split:
    return Split(
        pictures=MemoryPictures(torch.zeros(len(boxes), 1, 20, 30, dtype=torch.uint8)),
        targets={
            "boxes": [torch.tensor(b).reshape(-1, 4) for b in boxes],
            "box_labels": [torch.tensor(label, dtype=torch.int64) for label in labels],
        },
        names=[f"picture {i}" for i in range(len(boxes))],
    )


TWO = make_split([[[0, 0, 10, 10], [10, 0, 30, 20]], []], [[0, 1], []])


def results_of(rows: Tensor) -> dict[str, Tensor]:
    task = make_task()
    return task.results(Told(rows), task.targets(TWO, torch.arange(2)))


def test_metrics_of_a_perfect_detector_and_of_one_that_is_half_right() -> None:
    rows = torch.zeros(2, 100, 6)
    rows[..., 5] = -1
    rows[0, 0] = torch.tensor([0, 0, 10, 10, 0.9, 0])
    rows[0, 1] = torch.tensor([10, 0, 30, 20, 0.8, 1])
    meter = make_task().meter(2)
    meter.update(torch.arange(2), results_of(rows))
    metrics = meter.metrics()
    assert metrics["map"] == metrics["map50"] == 1
    assert metrics["loss"] == 3  # 2 + 0.5·2
    assert "ap_owl" not in metrics  # there is none to be found
    rows[0, 1, 5] = 2
    half = make_task().meter(2)
    half.update(torch.arange(2), results_of(rows))
    assert half.metrics()["map50"] == 0.5
    assert half.metrics()["ap50_dog"] == 0


def test_pictures_without_objects_have_metrics() -> None:
    empty = make_split([[], []], [[], []])
    task = make_task()
    targets = task.targets(empty, torch.arange(2))
    assert targets.boxes.shape == (2, 0, 4)
    rows = torch.zeros(2, 100, 6)
    rows[..., 5] = -1
    meter = task.meter(2)
    meter.update(torch.arange(2), task.results(Told(rows), targets))
    assert meter.metrics()["map"] == 0
    x, moved = task.prepare(
        empty.pictures.batch(torch.arange(2)), targets, torch.Generator().manual_seed(0)
    )
    assert torch.isfinite(x).all()
    assert len(moved) == 2


def test_augmentation_moves_boxes_and_leaves_out_what_it_moves_away() -> None:
    task = make_task(augmentation=AugmentConfig(flip=1.0))
    pixels = TWO.pictures.batch(torch.arange(2))
    targets = task.targets(TWO, torch.arange(2))
    _, moved = task.prepare(pixels, targets, torch.Generator().manual_seed(0))
    assert moved.boxes[0].tolist() == [[20, 0, 30, 10], [0, 0, 20, 20]]
    assert moved.labels.tolist() == [[0, 1], [-1, -1]]
    zoomed = make_task(augmentation=AugmentConfig(zoom_in=6.0))
    lost = 0
    for seed in range(20):
        _, moved = zoomed.prepare(pixels, targets, torch.Generator().manual_seed(seed))
        there = moved.labels >= 0
        lost += int((~there[0]).sum())
        assert (moved.boxes[~there] == 0).all()
        sides = moved.boxes[there][:, 2:] - moved.boxes[there][:, :2]
        assert (sides > 0).all()
    assert lost > 0


def test_proposals_move_with_the_objects() -> None:
    split = Split(
        pictures=TWO.pictures,
        targets={**TWO.targets, "proposals": [torch.tensor([[0.0, 0, 5, 5]]), torch.zeros(0, 4)]},
        names=TWO.names,
    )
    task = make_task(augmentation=AugmentConfig(flip=1.0))
    targets = task.targets(split, torch.arange(2))
    _, moved = task.prepare(
        split.pictures.batch(torch.arange(2)), targets, torch.Generator().manual_seed(0)
    )
    assert moved.proposals_of(0).tolist() == [[25, 0, 30, 5]]
    assert len(moved.proposals_of(1)) == 0


def test_what_it_remembers_is_enough_to_predict() -> None:
    task = make_task()
    assert detect_from_json(task.to_json()) == task


def test_mirrored_objects_would_have_no_boxes() -> None:
    with pytest.raises(ConfigError, match="would show mirrored objects without boxes"):
        make_task(augmentation=AugmentConfig(shift=0.1, padding="reflect"))


def test_data_without_boxes() -> None:
    bare = Split(pictures=TWO.pictures, targets={}, names=TWO.names)
    with pytest.raises(DataError, match="no boxes"):
        make_task().targets(bare, torch.arange(2))


def test_figures_of_a_pass() -> None:
    rows = torch.zeros(2, 100, 6)
    rows[..., 5] = -1
    rows[0, 0] = torch.tensor([20, 0, 30, 10, 0.9, 0])
    meter = make_task().meter(2)
    meter.update(torch.arange(2), results_of(rows))
    curve, misses = make_task().figures(meter, TWO)
    assert curve.name == "precision_recall"
    assert "3 objects missed or falsely found in 2 pictures" in misses.caption


def test_what_is_wrong_in_a_picture() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    truth = Truth(boxes=boxes, labels=np.array([0, 1]), ignore=np.array([False, True]))
    right = Found(boxes=boxes[:1], labels=np.array([0]), scores=np.array([0.9]))
    assert misses_of(truth, right).count == 0
    unsure = Found(boxes=boxes[:1], labels=np.array([0]), scores=np.array([0.1]))
    assert misses_of(truth, unsure).count == 1
    other = Found(boxes=boxes[:1], labels=np.array([2]), scores=np.array([0.9]))
    assert misses_of(truth, other).count == 2
    crowd = Found(  # two inside of what is ignored, and the object itself only the second time
        boxes=np.array([[20.0, 20, 25, 30], [25, 20, 30, 30], [8, 8, 30, 30], [0, 0, 10, 9]]),
        labels=np.array([1, 1, 0, 0]),
        scores=np.array([0.9, 0.5, 0.8, 0.7]),
    )
    misses = misses_of(truth, crowd)
    assert misses.seen.scores.tolist() == [0.9, 0.8, 0.7, 0.5]
    assert misses.wrong.tolist() == [False, True, False, False]
    assert misses.missed.tolist() == [False, False]
