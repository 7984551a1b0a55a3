"""Every network learns `shapes`, with the settings of benchmarks/two_hundred_steps.py.

The small ones here take their two hundred steps. Those for ImageNet, whose steps take many times as
long, take twelve with the same eight pictures, and of each family one or two. VGG without batch
norm needs more than twelve to leave ln 8; docs/model.md has its two hundred.
"""

import importlib.util
from pathlib import Path

import pytest

from convolens.models.registry import MODELS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "two_hundred_steps.py"


def load_script():
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


two_hundred_steps = load_script()


def test_every_network_has_a_setting() -> None:
    classifiers = [name for name, entry in MODELS.items() if entry.task == "classify"]
    assert list(two_hundred_steps.SETTINGS) == classifiers


SMALL = "lenet5 lenet5_1998 simple_convnet small_convnet airbench94 resnet20 plain20"
LARGE = """
    alexnet zfnet nin nin_cifar vgg16_bn googlenet resnet18 resnet50 plain18 densenet121
    densenet_cifar resnet9
"""


@pytest.mark.parametrize("name", SMALL.split())
def test_two_hundred_steps_lower_the_loss(name: str) -> None:
    losses = two_hundred_steps.losses_of(name)
    assert sum(losses[:10]) / 10 > 1.8  # a guess has ln 8 = 2.08
    assert sum(losses[-20:]) / 20 < 1.0


@pytest.mark.parametrize("name", LARGE.split())
def test_twelve_steps_with_the_same_pictures_lower_the_loss(name: str) -> None:
    losses = two_hundred_steps.losses_of(name, steps=12, num_pictures=8)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses
