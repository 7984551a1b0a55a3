import warnings
from collections import OrderedDict
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from convolens.analysis.summarize import Graph, summarize


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)) + x)


def small() -> nn.Module:
    """Three blocks that are alike, a stride that leaves pixels unread, and a head."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 16, 5, stride=2),
            relu=nn.ReLU(),
            blocks=nn.Sequential(Residual(16), Residual(16), Residual(16)),
            pool=nn.MaxPool2d(2, ceil_mode=True),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(),
            fc=nn.Linear(784, 10),
        )
    )


@cache
def of_torchvision(name: str, batch: int = 1) -> Graph:
    from torchvision.models import get_model

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # of weights that are not initialised as they were
        return summarize(get_model(name, weights=None), (3, 224, 224), batch=batch, name=name)


@pytest.fixture(scope="session")
def small_graph() -> Graph:
    with torch.device("meta"):
        return summarize(small(), (3, 32, 32), batch=2, name="small <net>", optimizer="adam")


@pytest.fixture(scope="session")
def torchvision_graph():
    return of_torchvision
