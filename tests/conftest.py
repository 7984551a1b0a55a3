import os

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The tests' networks are so small that a second thread costs more than it brings."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache folder of the tests' own, for their processes too."""
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
