"""torchvision's detectors and segmenters through `train`, `eval` and `predict`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.errors import ConfigError
from convolens.models.torchvision_detector import TorchvisionDetector
from convolens.workbench.evaluate import evaluate
from convolens.workbench.predict_boxes import BoxPrediction
from convolens.workbench.predict_masks import MaskPrediction
from convolens.workbench.train import train

SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a bright square, with boxes in `boxes` and masks in `masks`."""
    root = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for kind in ("boxes/images", "boxes/labels", "masks/images", "masks/masks"):
            (root / kind / part).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
            left, top = generator.integers(0, SIDE - 24, 2).tolist()
            pixels[top : top + 24, left : left + 24] += 180
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[top : top + 24, left : left + 24] = 1
            for kind in ("boxes", "masks"):
                Image.fromarray(pixels).save(root / kind / "images" / part / f"{i}.png")
            Image.fromarray(mask).save(root / "masks/masks" / part / f"{i}.png")
            line = f"0 {(left + 12) / SIDE} {(top + 12) / SIDE} {24 / SIDE} {24 / SIDE}\n"
            text = "" if i == 5 else line
            (root / f"boxes/labels/{part}/{i}.txt").write_text(text)
    (root / "masks/classes.txt").write_text("ground\nsquare\n")
    names = "train: images/train\ntest: images/test\nnames:\n  0: square\n"
    (root / "boxes/data.yaml").write_text(names)
    return root


@pytest.mark.parametrize(
    "name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"]
)
def test_a_detector_trains_evaluates_and_predicts(folder: Path, name: str) -> None:
    run = train(
        str(folder / "boxes"),
        model=f"torchvision:{name}",
        epochs=1,
        batch=3,
        out=folder / "runs",
        settings=["data.val_fraction=0.34", "data.image_size=64", "plan=reference"],
    )
    assert run.config.task == "detect"
    metrics = run.test["metrics"]
    assert np.isfinite(metrics["loss"])
    assert "ap_square" in metrics
    assert evaluate(run) == metrics
    assert np.isfinite(run.rows[-1]["val_loss"])
    network = run.network()
    assert isinstance(network, TorchvisionDetector)
    names = {name.partition(".")[0] for name, _ in network.named_parameters()}
    assert "backbone" in names
    (found,) = run.predict(folder / "boxes/images/test/0.png", score=0.0)
    assert isinstance(found, BoxPrediction)
    assert {one.label for one in found.detections} == {"square"}


def test_a_segmenter_trains_with_its_auxiliary_head(folder: Path) -> None:
    before = torch.get_rng_state()
    run = train(
        str(folder / "masks"),
        model="torchvision:deeplabv3_mobilenet_v3_large",
        epochs=1,
        batch=3,
        out=folder / "runs",
        settings=["data.val_fraction=0", "plan=reference", "model.aux_loss=true"],
    )
    torch.set_rng_state(before)
    assert evaluate(run) == run.test["metrics"]
    network = run.network()
    assert any(name.startswith("aux_classifier.") for name, _ in network.named_parameters())
    assert network.eval()(torch.zeros(1, 3, 40, 56)).shape == (1, 2, 40, 56)
    own, auxiliary = network.train()(torch.zeros(2, 3, 40, 56))
    assert own.shape == auxiliary.shape == (2, 2, 40, 56)
    (found,) = run.predict(folder / "masks/images/test/0.png")
    assert isinstance(found, MaskPrediction)
    assert found.mask.shape == (SIDE, SIDE)


def test_what_needs_more_than_boxes_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="maskrcnn_resnet50_fpn needs masks or keypoints"):
        train(str(folder / "boxes"), model="torchvision:maskrcnn_resnet50_fpn", out=tmp_path)
    assert not list(tmp_path.iterdir())
