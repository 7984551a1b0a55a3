import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The tests' networks are so small that a second thread costs more than it brings."""
    torch.set_num_threads(1)
