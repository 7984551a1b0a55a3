"""Segmentation and detection through the same verbs as classification."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.errors import ConfigError, DataError, RunError
from convolens.train.checkpoint import load_tensors
from convolens.train.events import Event, Stepped
from convolens.train.stop import StoppedError
from convolens.workbench.draw_predictions import draw_predictions
from convolens.workbench.evaluate import evaluate
from convolens.workbench.predict_boxes import BoxPrediction
from convolens.workbench.predict_masks import MaskPrediction
from convolens.workbench.run import Run
from convolens.workbench.train import train

SIZE = (48, 64)


@pytest.fixture(scope="session")
def mask_run(squares: Path) -> Run:
    return train(
        str(squares / "masks"),
        model=f"{squares}/dots.py:dots",
        epochs=16,
        batch=4,
        out=squares / "runs",
        settings=[
            "optimizer.lr=0.03",
            "data.val_fraction=0.2",
            "plan=reference",
        ],
    )


@pytest.fixture(scope="session")
def box_run(squares: Path) -> Run:
    return train(
        str(squares / "boxes"),
        model="yolo",
        epochs=25,
        batch=4,
        out=squares / "runs",
        settings=[
            "model.width=0.5",
            "data.image_size=64",
            "data.val_fraction=0.2",
            "augment.zoom_out=0.9",
            "augment.zoom_in=1.1",
            "average.decay=0.5",
            "plan=reference",
        ],
    )


def test_segmentation_learns_and_is_evaluated_alike(mask_run: Run) -> None:
    assert mask_run.config.task == "segment"
    assert mask_run.task.class_names == ("ground", "square")
    metrics = mask_run.test["metrics"]
    assert metrics["miou"] > 0.9
    assert metrics["iou_square"] > 0.85
    assert evaluate(mask_run) == metrics
    assert {"val_miou", "val_accuracy", "train_accuracy", "val_seconds"} <= mask_run.rows[0].keys()
    figures = {file.name for file in mask_run.folder.figures.iterdir()}
    assert {"curves.png", "class-iou.png", "segmentation.png"} <= figures


def test_masks_come_back_in_the_pictures_own_size(
    mask_run: Run, squares: Path, tmp_path: Path
) -> None:
    small = Image.open(squares / "masks/images/test/test0.png")
    file = tmp_path / "large.png"
    small.resize((333, 251)).save(file)
    (found,) = mask_run.predict(file)
    assert isinstance(found, MaskPrediction)
    assert found.mask.shape == (251, 333)
    truth = Image.open(squares / "masks/masks/test/test0.png").resize((333, 251))
    agreement = float((found.mask.numpy() == np.asarray(truth)).mean())
    assert agreement > 0.95
    assert sum(found.shares.values()) == pytest.approx(1)
    (files,) = draw_predictions(mask_run.task, [found], tmp_path / "out")
    again = np.asarray(Image.open(files[1]))
    assert (again == found.mask.numpy()).all()


def test_detection_learns_and_is_evaluated_alike(box_run: Run) -> None:
    assert box_run.config.task == "detect"
    metrics = box_run.test["metrics"]
    assert metrics["map50"] > 0.5
    assert np.isfinite(metrics["loss"])
    assert evaluate(box_run) == metrics
    assert {"val_map", "val_map50", "val_ap_square"} <= box_run.rows[-1].keys()
    assert (box_run.folder.figures / "precision_recall.png").is_file()
    assert (box_run.folder.figures / "misses.png").is_file()


def test_boxes_come_back_in_the_pictures_own_pixels(
    box_run: Run, squares: Path, tmp_path: Path
) -> None:
    small = Image.open(squares / "boxes/images/test/test0.png")
    file = tmp_path / "large.png"
    small.resize((SIZE[1] * 5, SIZE[0] * 5), Image.Resampling.NEAREST).save(file)
    (found,) = box_run.predict(file, score=0.1)
    assert isinstance(found, BoxPrediction)
    assert found.size == (SIZE[0] * 5, SIZE[1] * 5)
    x, y, w, h = map(float, (squares / "boxes/labels/test/test0.txt").read_text().split()[1:])
    truth = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * [320, 240, 320, 240]
    assert np.abs(np.array(found.detections[0].box) - truth).max() < 25
    (files,) = draw_predictions(box_run.task, [found], tmp_path / "out")
    assert files[0].is_file()


def test_the_same_seed_gives_the_same_detector(box_run: Run, squares: Path) -> None:
    again = train(
        str(squares / "boxes"),
        model="yolo",
        epochs=1,
        batch=4,
        out=squares / "runs",
        settings=["model.width=0.25", "data.image_size=64", "plan=reference"],
    )
    other = train(
        str(squares / "boxes"),
        model="yolo",
        epochs=1,
        batch=4,
        out=squares / "runs",
        settings=["model.width=0.25", "data.image_size=64", "plan=reference"],
    )
    one, two = again.network().state_dict(), other.network().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert again.test["metrics"] == other.test["metrics"]


def test_what_does_not_go_together_is_refused(
    mask_run: Run, box_run: Run, squares: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="resnet20 is there to classify, the training"):
        train(str(squares / "masks"), model="resnet20", settings=["task=segment"], out=tmp_path)
    with pytest.raises(DataError, match="has targets to segment, not to detect"):
        train(str(squares / "masks"), model="yolo", out=tmp_path)
    with pytest.raises(ConfigError, match="tta=crops cannot be used to segment"):
        evaluate(mask_run, tta="crops")
    with pytest.raises(ConfigError, match="can be evaluated together where they classify"):
        evaluate([mask_run, box_run])
    with pytest.raises(RunError, match="needs a Run that classifies"):
        assert mask_run.classifier
    with pytest.raises(ConfigError, match="score must lie between 0 and 1"):
        box_run.predict(squares / "boxes/images/test/test0.png", score=2)
    assert not list(tmp_path.iterdir())


def test_flipping_views_of_a_mask(mask_run: Run) -> None:
    assert evaluate(mask_run, tta="flip")["miou"] == pytest.approx(
        mask_run.test["metrics"]["miou"], abs=0.05
    )


def test_the_summary_of_a_run_names_the_metrics(box_run: Run) -> None:
    tree = json.loads(json.dumps(box_run.summary()))
    assert tree["task"] == "detect"
    assert {"test_map", "test_map50", "test_map75", "test_ap_square"} <= tree["metrics"].keys()


def stop_at(step: int) -> Callable[[Event], None]:
    """Presses Ctrl-C after a step."""

    def notify(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return notify


TASKS = {
    "segment": ("masks", "{root}/dots.py:dots", ("augment.zoom_in=1.5", "data.val_fraction=0.2")),
    "detect": (
        "boxes",
        "yolo",
        ("model.width=0.25", "data.image_size=64", "data.val_fraction=0.2"),
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_stopped_run_goes_on_to_the_same_weights(
    task: str, squares: Path, tmp_path: Path
) -> None:
    data, model, settings = TASKS[task]
    options = {
        "model": model.format(root=squares),
        "epochs": 2,
        "batch": 4,
        "out": tmp_path,
        "settings": [*settings, "plan=reference"],
    }
    whole = train(str(squares / data), name="whole", **options)
    with pytest.raises(StoppedError):
        train(str(squares / data), name="stopped", notify=stop_at(2), **options)
    resumed = train(resume=tmp_path / "stopped")
    one, two = (load_tensors(run.folder.weights_file("last"))[0] for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.test["metrics"] == resumed.test["metrics"]


def test_parts_of_a_batch_give_the_gradient_of_the_whole(squares: Path, tmp_path: Path) -> None:
    """Where no batch norm mixes pictures, the loss is a mean over pictures."""
    data, model, settings = TASKS["segment"]
    runs = [
        train(
            str(squares / data),
            model=model.format(root=squares),
            epochs=1,
            batch=6,
            out=tmp_path,
            settings=[*settings, "plan=reference", f"accumulate={parts}", "optimizer.name=sgd"],
        )
        for parts in (1, 3)
    ]
    one, two = (load_tensors(run.folder.weights_file("last"))[0] for run in runs)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
