"""Every classification network learns `shapes`: two hundred steps, at a size that suits it.

    OMP_NUM_THREADS=1 python benchmarks/two_hundred_steps.py [NAME ...]

Each network sees 64 drawn pictures of eight classes, in batches of eight, one after the other. Its
loss begins near ln 8 = 2.08, a guess. A line of the table of docs/model.md is printed for each:
the setting, then the mean loss of the first ten steps and of the last twenty. All of them together
take most of an hour on one thread.
"""

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convolens.data.picture import PictureFormat
from convolens.data.shapes import load_shapes
from convolens.models.registry import MODELS

BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A picture's side [px], Adam's rate, and what the builder is given besides."""

    side: int
    rate: float
    options: dict[str, Any] = field(default_factory=dict)


# Weights as He et al. draw them: the papers' own were made for pixels up to 255. No dropout, since
# all that is looked at is the loss in training.
PLAIN = {"dropout": 0.0, "weight_std": None}
VGG = Setting(side=32, rate=1e-4, options={"head": "small", "dropout": 0.0})
RESNET = Setting(side=32, rate=3e-4)
CIFAR = Setting(side=16, rate=1e-3)
DENSENET = Setting(side=32, rate=1e-3)

SETTINGS = {
    "lenet5": Setting(side=20, rate=3e-3),
    "lenet5_1998": Setting(side=20, rate=3e-3),
    "simple_convnet": Setting(side=20, rate=1e-3, options={"weight_std": None}),
    "alexnet": Setting(side=67, rate=1e-4, options=PLAIN),
    "zfnet": Setting(side=47, rate=1e-4, options=PLAIN),
    "nin": Setting(side=39, rate=3e-4, options=PLAIN),
    "nin_cifar": Setting(side=16, rate=1e-3, options=PLAIN),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), VGG),
    **dict.fromkeys(("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"), VGG),
    "googlenet": Setting(side=32, rate=5e-4, options={"dropout": 0.0}),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), RESNET),
    **dict.fromkeys(("plain18", "plain34"), RESNET),
    **dict.fromkeys(("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), CIFAR),
    **dict.fromkeys(("plain20", "plain32", "plain44", "plain56"), CIFAR),
    **dict.fromkeys(("densenet121", "densenet161", "densenet169", "densenet201"), DENSENET),
    "densenet_cifar": Setting(side=16, rate=1e-3),
    "resnet9": Setting(side=16, rate=1e-3),
    "small_convnet": Setting(side=16, rate=3e-3),
    "airbench94": Setting(side=24, rate=3e-3, options={"widths": (16, 32, 32)}),
}


def shapes(channels: int, side: int, count: int) -> tuple[Tensor, Tensor]:
    """Standardised pictures (N, C, side, side) and their labels (N,)."""
    form = PictureFormat(channels=channels, size=(side, side), fit="stretch")
    split = load_shapes(format=form, num_train=count, num_test=1).train
    pixels = split.pictures.batch(torch.arange(count)).float()
    return (pixels - pixels.mean()) / pixels.std(), torch.as_tensor(split.targets["label"])


def losses_of(name: str, *, steps: int = 200, num_pictures: int = 64) -> list[float]:
    """The loss of each step in training."""
    setting, channels = SETTINGS[name], MODELS[name].input_size[0]
    pixels, labels = shapes(channels, setting.side, num_pictures)
    torch.manual_seed(0)
    net = MODELS[name].builder(8, channels, setting.side, **setting.options)
    initialize = getattr(net, "initialize_from", None)
    if initialize is not None:
        initialize(pixels)
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=setting.rate, fused=True)
    losses = []
    for step in range(steps):
        rows = (BATCH * step + torch.arange(BATCH)) % num_pictures
        optimizer.zero_grad()
        loss = F.cross_entropy(net(pixels[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=tuple(SETTINGS), metavar="NAME")
    for name in parser.parse_args().names:
        setting = SETTINGS[name]
        start = time.process_time()
        losses = losses_of(name)
        options = ", ".join(f"{key}={value}" for key, value in setting.options.items())
        print(
            f"| `{name}` | {setting.side} px | {setting.rate:g} | {options or '–'} "
            f"| {sum(losses[:10]) / 10:.2f} | {sum(losses[-20:]) / 20:.2f} "
            f"| {time.process_time() - start:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
