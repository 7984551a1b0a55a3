"""A tiny training, for tests of the engine's parts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from convolens.data.base import MemoryPictures, Split
from convolens.tasks.classify import Classify
from convolens.train.config import Config, DataConfig, ModelConfig
from convolens.train.job import Job
from convolens.train.plan import Plan
from convolens.train.run import RunFolder

NUM_CLASSES = 3


def make_split(count: int, seed: int = 0) -> Split:
    """Pictures whose brightness tells their label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, NUM_CLASSES, (count,), generator=generator)
    noise = torch.randint(0, 60, (count, 1, 6, 6), generator=generator)
    pixels = (noise + 90 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    names = [f"picture {i}" for i in range(count)]
    return Split(pictures=MemoryPictures(pixels), targets={"label": labels}, names=names)


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """Makes a Job of a network and changes of the configuration."""

    def make(model: nn.Module | None = None, count: int = 40, **changes: object) -> Job:
        torch.manual_seed(0)
        if model is None:
            model = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, NUM_CLASSES)
            )
        config = Config(data=DataConfig(name="x"), model=ModelConfig(name="y"), batch_size=10)
        return Job(
            config=replace(config, **changes),
            model=model,
            task=Classify(class_names=("a", "b", "c"), mean=(0.5,), std=(0.25,), fill=(0.0,)),
            train=make_split(count),
            val=make_split(20, seed=1),
            plan=Plan(device="cpu", precision="float32", channels_last=False),
            folder=RunFolder(tmp_path),
        )

    return make
