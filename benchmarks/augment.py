"""Augmentation of a batch at once against torchvision picture by picture, on one thread.

    python benchmarks/augment.py

Both sides get the same uint8 batch of 512 pictures, 3×32×32, and return floats from 0 to 1. The
loop is what a DataLoader's worker does: `torchvision.transforms.v2` on one picture after another,
then one stack. The runs of both sides alternate; the table shows medians and their ratio.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision.transforms import v2

from convolens.data.augment import AugmentConfig, augment

BATCH, CHANNELS, SIDE, ROUNDS = 512, 3, 32, 9


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, CHANNELS, SIDE, SIDE), dtype=torch.uint8)
    to_unit = v2.ToDtype(torch.float32, scale=True)
    crop, flip = v2.RandomCrop(SIDE, padding=SIDE // 8), v2.RandomHorizontalFlip()
    # A hole of a quarter of the side: a sixteenth of the area, square, always.
    hole = v2.RandomErasing(p=1.0, scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0))
    affine = v2.RandomAffine(
        degrees=15,
        translate=(1 / 8, 1 / 8),
        scale=(0.9, 1.1),
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    colour = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
    cases = [
        ("conversion only", AugmentConfig(), [to_unit]),
        ("shift, flip", AugmentConfig(shift=1 / 8, flip=0.5), [crop, flip, to_unit]),
        (
            "shift, flip, cutout",
            AugmentConfig(shift=1 / 8, flip=0.5, cutout=0.25),
            [crop, flip, to_unit, hole],
        ),
        (
            "rotation, scale, shift, flip",
            AugmentConfig(shift=1 / 8, flip=0.5, rotation=15, scale=0.1),
            [flip, to_unit, affine],
        ),
        (
            "brightness, contrast, saturation, hue",
            AugmentConfig(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05),
            [to_unit, colour],
        ),
    ]
    print(f"batch {BATCH}, {CHANNELS}×{SIDE}×{SIDE}, one thread [images/s], medians of {ROUNDS}")
    print(f"{'':38} {'convolens':>10} {'torchvision':>12} {'ratio':>7}")
    for name, config, steps in cases:
        generator = torch.Generator().manual_seed(0)
        ours, theirs = compare(
            partial(augment, pixels, generator, config),
            partial(picture_by_picture, pixels, v2.Compose(steps)),
        )
        print(f"{name:38} {BATCH / ours:10,.0f} {BATCH / theirs:12,.0f} {theirs / ours:7.1f}")


def picture_by_picture(pixels: Tensor, transform: v2.Compose) -> Tensor:
    return torch.stack([transform(picture) for picture in pixels])


def compare(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> tuple[float, float]:
    """Median seconds of both, measured in turns so that neither gets the quieter minutes."""
    seconds: tuple[list[float], list[float]] = ([], [])
    ours(), theirs()
    for _ in range(ROUNDS):
        for run, times in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    main()
