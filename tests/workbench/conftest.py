from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convolens.workbench.run import Run
from convolens.workbench.train import train


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A Run of a few seconds, for tests that only read it.

    Float32 everywhere: a network's outputs depend on nothing but its weights then.
    """
    out = tmp_path_factory.mktemp("runs")
    return train("digits", epochs=4, out=out, settings=["plan.precision=float32"])


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """A folder of pictures that a network tells apart at once: stripes across and down."""
    generator = np.random.default_rng(0)
    for name in ("across", "down"):
        (tmp_path / "stripes" / name).mkdir(parents=True)
        for i in range(24):
            rows = (np.arange(24) // 3 + generator.integers(2)) % 2 * 200
            pixels = np.broadcast_to(rows[:, None], (24, 24)) + generator.integers(0, 50, (24, 24))
            pixels = pixels if name == "across" else pixels.T
            picture = Image.fromarray(pixels.astype(np.uint8))
            picture.save(tmp_path / "stripes" / name / f"{i:02}.png")
    return tmp_path / "stripes"


SIZE = (48, 64)
DOTS = """
import torch.nn as nn

def dots(num_classes=2, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 1)
    )
"""


def scene(generator: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A dark picture with a bright square, and the square."""
    side = int(generator.integers(12, 24))
    top, left = (
        int(generator.integers(0, SIZE[0] - side)),
        int(generator.integers(0, SIZE[1] - side)),
    )
    pixels = generator.integers(0, 60, (*SIZE, 3)).astype(np.uint8)
    pixels[top : top + side, left : left + side] += 180
    return pixels, (left, top, left + side, top + side)


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets of the same pictures: `masks`, and `boxes` with one picture that is empty."""
    root = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 4)):
        for folder in ("masks/images", "masks/masks", "boxes/images", "boxes/labels"):
            (root / folder / part).mkdir(parents=True)
        for i in range(count):
            pixels, (x0, y0, x1, y1) = scene(generator)
            mask = np.zeros(SIZE, np.uint8)
            mask[y0:y1, x0:x1] = 1
            picture = Image.fromarray(pixels)
            picture.save(root / "masks/images" / part / f"{part}{i}.png")
            Image.fromarray(mask).save(root / "masks/masks" / part / f"{part}{i}.png")
            picture.save(root / "boxes/images" / part / f"{part}{i}.png")
            centre = ((x0 + x1) / 2 / SIZE[1], (y0 + y1) / 2 / SIZE[0])
            sides = ((x1 - x0) / SIZE[1], (y1 - y0) / SIZE[0])
            line = f"0 {centre[0]} {centre[1]} {sides[0]} {sides[1]}\n"
            (root / "boxes/labels" / part / f"{part}{i}.txt").write_text("" if i == 3 else line)
        Image.fromarray(np.full((*SIZE, 3), 30, np.uint8)).save(
            root / "boxes/images" / part / f"{part}3.png"
        )
    (root / "masks/classes.txt").write_text("ground\nsquare\n")
    names = "train: images/train\ntest: images/test\nnames:\n  0: square\n"
    (root / "boxes/data.yaml").write_text(names)
    (root / "dots.py").write_text(DOTS)
    return root
