import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Awkward(nn.Module):
    """One ReLU used twice and in place, functional ones, a clamp, a sum, a write into the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.third = nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.1
        a = self.relu(self.first(x))
        b = self.relu(self.norm(self.second(a))) + a
        b += 0.01
        c = F.relu(self.third(b)).clamp(min=0)
        return self.last(F.max_pool2d(torch.relu_(c), 2).mean((2, 3)))


class Plain(Awkward):
    """The same function of modules that each are called once and write into nothing."""

    def __init__(self, other: Awkward) -> None:
        super().__init__()
        self.load_state_dict(other.state_dict())
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        x = x - 0.1
        a = self.relus[0](self.first(x))
        b = self.relus[1](self.norm(self.second(a))) + a
        b = b + 0.01
        c = self.relus[3](self.relus[2](self.third(b)))
        return self.last(F.max_pool2d(self.relus[4](c), 2).mean((2, 3)))


@pytest.fixture
def awkward() -> Awkward:
    torch.manual_seed(0)
    return Awkward().eval()


@pytest.fixture
def plain(awkward: Awkward) -> Plain:
    return Plain(awkward).eval()


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def captum() -> SimpleNamespace:
    """captum's attribution methods, an independent implementation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    return SimpleNamespace(**{name: getattr(attr, name) for name in dir(attr)})


@pytest.fixture(scope="session")
def grad_cams() -> SimpleNamespace:
    """pytorch-grad-cam's methods, an independent implementation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    return SimpleNamespace(**{name: getattr(package, name) for name in dir(package)})
