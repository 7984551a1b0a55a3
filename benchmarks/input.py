"""From a folder of JPEGs to training batches: ours against torchvision's ImageFolder + DataLoader.

    python benchmarks/input.py [--count 10000] [--rounds 5] [--take 2000]

The folder is made in a temporary place: JPEGs of 256 px cut out of a texture of coloured noise, in
ten classes. Every side shows them at 128 px with a random shift of up to an eighth and a random
flip, and hands over batches of 128 pictures, float32 from 0 to 1. Theirs is what torchvision's
examples show: ImageFolder decodes with Pillow, then Resize, CenterCrop, RandomCrop with padding,
RandomHorizontalFlip and ToTensor.

Each round takes the same random pictures through every side in turn; the table shows medians over
the rounds. The last column counts the processors' time, worker processes included, which says more
than the clock where the machine has other work to do. The files are in the system's cache for
everyone.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from convolens.data import Split
from convolens.data.augment import AugmentConfig, augment
from convolens.data.files import FilePictures
from convolens.data.folder import Reading, load_folder
from convolens.data.loader import batches

SIDE, BATCH, CLASSES = 128, 128, 10
Pass = Callable[[Tensor], Iterator[Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="pictures in the folder")
    parser.add_argument("--take", type=int, default=2_000, help="pictures in one round")
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "train"
        write_pictures(root, words.count)
        compare(Path(folder), root, words.take, words.rounds)


def compare(folder: Path, root: Path, take: int, rounds: int) -> None:
    began = time.perf_counter()
    streamed = load_folder(folder, Reading(image_size=SIDE, memory_limit_bytes=0)).train
    started_s = time.perf_counter() - began
    began = time.perf_counter()
    memory = load_folder(folder, Reading(image_size=SIDE, memory_limit_bytes=1 << 40)).train
    decoded_s = time.perf_counter() - began
    sides: dict[str, Pass] = {
        "convolens, streamed, workers 0": partial(ours, with_workers(streamed, 0)),
        "convolens, streamed, workers chosen": partial(ours, streamed),
        "convolens, in memory": partial(ours, memory),
        "torchvision, num_workers 0": theirs(root, 0),
        "torchvision, num_workers 2": theirs(root, 2),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    thrifts: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):  # the first is for warming up: workers start, files are cached
        generator = torch.Generator().manual_seed(turn)
        order = torch.randperm(len(streamed), generator=generator)[:take]
        for name, side in sides.items():
            began, spent = time.perf_counter(), processor_s()
            count = sum(len(batch) for batch in side(order))
            if turn:
                speeds[name].append(count / (time.perf_counter() - began))
                thrifts[name].append(count / (processor_s() - spent))
    print(f"{os.cpu_count()} processors; {len(streamed)} training pictures, {take} a round")
    print(f"start: streamed {started_s:.2f} s; decoded into memory once {decoded_s:.1f} s")
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best = max(speed for name, speed in medians.items() if name.startswith("torchvision"))
    print(f"ratio: to the faster of the two torchvision sides, {best:,.0f} images/s")
    print(f"{'':38} {'images/s':>9} {'least':>7} {'most':>7} {'ratio':>6} {'per processor-s':>16}")
    for name, median in medians.items():
        low, high, thrift = min(speeds[name]), max(speeds[name]), statistics.median(thrifts[name])
        ratio = median / best
        print(f"{name:38} {median:9,.0f} {low:7,.0f} {high:7,.0f} {ratio:6.2f} {thrift:16,.0f}")


def processor_s() -> float:
    """Seconds of processor time of this process and of the workers that have ended."""
    return sum(os.times()[:4])


def ours(split: Split, order: Tensor) -> Iterator[Tensor]:
    config = AugmentConfig(shift=1 / 8, flip=0.5)
    generator = torch.Generator().manual_seed(0)
    for batch in batches(split, order, BATCH):
        yield augment(batch.pixels, generator, config)


def with_workers(split: Split, workers: int) -> Split:
    pictures = split.pictures
    if not isinstance(pictures, FilePictures):
        raise TypeError("the pictures are in memory")
    return replace(split, pictures=replace(pictures, workers=workers))


def theirs(root: Path, workers: int) -> Pass:
    transform = transforms.Compose(
        [
            transforms.Resize(SIDE),
            transforms.CenterCrop(SIDE),
            transforms.RandomCrop(SIDE, padding=SIDE // 8),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    pictures = datasets.ImageFolder(str(root), transform)

    def run(order: Tensor) -> Iterator[Tensor]:
        part = Subset(pictures, order.tolist())
        for pixels, _ in DataLoader(part, batch_size=BATCH, num_workers=workers):
            yield pixels

    return run


def write_pictures(root: Path, count: int) -> None:
    """JPEGs of 256 px, of about 20 KB as photographs have, cut out of one large texture."""
    generator = np.random.default_rng(0)
    texture = np.zeros((1024, 1024, 3), np.float32)
    for octave in range(3, 9):
        side = 2**octave
        noise = generator.random((side, side, 3), dtype=np.float32) - 0.5
        planes = [
            Image.fromarray(noise[..., c]).resize((1024, 1024), Image.Resampling.BICUBIC)
            for c in range(3)
        ]
        texture += np.stack([np.asarray(plane) for plane in planes], axis=2) * (80 / octave)
    source = Image.fromarray(np.clip(texture * 2 + 128, 0, 255).astype(np.uint8))
    for label in range(CLASSES):
        (root / f"class{label}").mkdir(parents=True)
    for index in range(count):
        left, top = (int(value) for value in generator.integers(0, 1024 - 256, 2))
        picture = source.crop((left, top, left + 256, top + 256))
        picture.save(root / f"class{index % CLASSES}" / f"{index:06}.jpg", quality=85)


if __name__ == "__main__":
    main()
