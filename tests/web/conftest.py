from pathlib import Path

import pytest

from convolens.workbench.train import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Run called "first", which no test changes."""
    out = tmp_path_factory.mktemp("trained")
    train("digits", epochs=1, seed=1, out=out, name="first", settings=["plan.choose=reference"])
    return out
