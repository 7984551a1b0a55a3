from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convolens.workbench.run import Run
from convolens.workbench.train import train


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A Run of a few seconds, for tests that only read it."""
    return train("digits", epochs=4, out=tmp_path_factory.mktemp("runs"))


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
