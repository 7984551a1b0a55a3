from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convolens.web.answer import answer_of
from convolens.web.picture import sample_bytes
from convolens.web.scene import Scene, decoded, maps_in, open_run, scene_of
from convolens.workbench.train import train

NET = """
from torch import nn

def dots(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 1))
"""


def scene_from(run: Path) -> Scene:
    opened = open_run(run)
    return scene_of(opened, decoded(opened, sample_bytes(), "drawn.png"))


def pictures_in(folder: Path) -> None:
    for part in ("train", "test"):
        for name in ("images", "masks", "labels"):
            (folder / name / part).mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / part / f"{i}.png")
            mask = (pixels[:, :, 0] > 128).astype(np.uint8)
            Image.fromarray(mask).save(folder / "masks" / part / f"{i}.png")


def test_labels_of_a_run_that_classifies(trained: Path) -> None:
    scene = scene_from(trained / "first")
    answer = answer_of(scene)
    (label, share) = scene.labels[0]
    assert answer.facts[0] == (label, f"{100 * share:.2f} %")
    assert answer.pictures == ()


def test_a_mask_of_a_run_that_segments(tmp_path: Path) -> None:
    data = tmp_path / "data"
    pictures_in(data)
    (data / "classes.txt").write_text("ground\nsquare\n")
    (tmp_path / "net.py").write_text(NET)
    settings = ["plan.choose=reference", "data.image_size=32"]
    model = f"{tmp_path}/net.py:dots"
    train(str(data), model=model, epochs=1, out=tmp_path, name="a", settings=settings)
    scene = scene_from(tmp_path / "a")
    answer = answer_of(scene)
    assert scene.labels == ()
    shares = [float(text.removesuffix(" % of the pixels")) for _, text in answer.facts]
    assert {name for name, _ in answer.facts} <= {"ground", "square"}
    assert sum(shares) == pytest.approx(100, abs=0.02)
    assert answer.pictures[0].shape == (32, 32, 3)
    assert len(answer.pictures) == 2  # the mask on the picture, and what its colours mean
    assert maps_in(scene, scene.names[-1]).shape == (2, 32, 32)
