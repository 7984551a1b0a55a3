"""Average precision: by hand, and against the COCO evaluation."""

import math

import numpy as np
import pytest

from convolens.tasks.average_precision import (
    THRESHOLDS,
    Found,
    Truth,
    assign,
    match,
    overlaps,
    precision_recall,
)

COUNTS = np.array([False])


def truth(boxes, labels, ignore=None):
    return Truth(
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        ignore=np.array(ignore or [False] * len(labels), bool),
    )


def found(boxes, labels, scores):
    return Found(
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float64),
    )


def test_by_hand():
    """Two objects; detections are right, wrong, right: precision 1 up to recall ½, then ⅔."""
    truths = [truth([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])]
    detections = [
        found([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]], [0] * 3, [0.9, 0.8, 0.7])
    ]
    (curve,) = precision_recall(truths, detections, 1, thresholds=[0.5])
    # recalls 0, 0.01, …, 0.5 are 51 of the 101
    assert curve.average[0] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert curve.recall[0] == 1


def test_a_second_detection_of_one_object_is_wrong():
    truths = [truth([[0, 0, 10, 10]], [0])]
    detections = [found([[0, 0, 10, 9], [0, 0, 10, 10]], [0, 0], [0.9, 0.8])]
    (curve,) = precision_recall(truths, detections, 1, thresholds=[0.5, 0.95])
    assert curve.average[0] == 1  # the envelope is not lowered by what comes after full recall
    assert curve.average[1] == pytest.approx(0.5)


def test_ignored_objects_count_neither_way():
    crowd = np.array([[0.0, 0, 100, 100]])
    inside = np.array([[10.0, 10, 20, 20], [30, 30, 40, 40]])
    hit, left_out = match(inside, crowd, np.array([True]), np.array([0.5]))
    assert hit.all()
    assert left_out.all()
    (curve,) = precision_recall([truth(crowd, [0], [True])], [found(inside, [0, 0], [0.9, 0.8])], 1)
    assert curve.num_objects == 0
    assert np.isnan(curve.average).all()


def test_no_detections_and_no_objects():
    nothing = found([], [], [])
    first, second = precision_recall([truth([[0, 0, 5, 5]], [0])], [nothing], 2)
    assert (first.average == 0).all()
    assert np.isnan(second.average).all()


def test_of_two_objects_the_one_that_counts_is_taken_and_of_equals_the_later():
    same = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    box = np.array([[0.0, 0, 10, 10]])
    assert assign(box, same, np.array([False, True]), np.array([0.5]))[0, 0] == 0
    assert assign(box, same, np.array([False, False]), np.array([0.5]))[0, 0] == 1


def test_boxes_without_area_overlap_with_nothing():
    empty = np.array([[5.0, 5, 5, 9]])
    assert overlaps(empty, empty, COUNTS)[0, 0] == 0


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_coco_evaluation(seed):
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(seed)
    truths, detections = random_pictures(rng, num_pictures=12, num_classes=4)
    curves = precision_recall(truths, detections, 4)
    ours = np.array([curve.average for curve in curves])
    theirs = by_coco(truths, detections, 4)
    np.testing.assert_allclose(ours, theirs, atol=1e-9, equal_nan=True)
    assert not math.isnan(np.nanmean(ours))


def random_pictures(rng, num_pictures, num_classes):
    truths, detections = [], []
    for _ in range(num_pictures):
        count = int(rng.integers(0, 9))
        low = rng.uniform(0, 80, (count, 2))
        boxes = np.concatenate([low, low + rng.uniform(4, 40, (count, 2))], axis=1)
        labels = rng.integers(0, num_classes - 1, count)  # the last class never occurs
        truths.append(truth(boxes, labels, list(rng.random(count) < 0.2)))
        near = boxes[rng.integers(0, count, 2 * count)] if count else np.zeros((0, 4))
        near = near + rng.normal(0, 2, near.shape)
        near = np.concatenate(
            [np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])], axis=1
        )
        stray = rng.uniform(0, 60, (4, 2))
        stray = np.concatenate([stray, stray + rng.uniform(5, 40, (4, 2))], axis=1)
        every = np.concatenate([near, stray])
        scores = rng.integers(1, 12, len(every)) / 12  # many ties
        detections.append(found(every, rng.integers(0, num_classes - 1, len(every)), scores))
    return truths, detections


def by_coco(truths, detections, num_classes):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = [{"id": i + 1, "width": 200, "height": 200} for i in range(len(truths))]
    annotations, results = [], []
    for i, (each, seen) in enumerate(zip(truths, detections, strict=True)):
        for box, label, ignore in zip(each.boxes, each.labels, each.ignore, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": int(label),
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": (box[2] - box[0]) * (box[3] - box[1]),
                    "iscrowd": int(ignore),
                }
            )
        for box, label, score in zip(seen.boxes, seen.labels, seen.scores, strict=True):
            results.append(
                {
                    "image_id": i + 1,
                    "category_id": int(label),
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "score": float(score),
                }
            )
    names = [{"id": label, "name": str(label)} for label in range(num_classes)]
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": names, "info": {}}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # T, recalls, classes
    assert len(precision) == len(THRESHOLDS)
    average = precision.mean(axis=1).T
    average[(precision < 0).all(axis=(0, 1))] = np.nan
    return average
