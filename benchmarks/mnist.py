"""Seconds to 99.0 % on MNIST's test set: `convolens train mnist` against the tutorial loop.

Both train the same network in a fresh process, imports and evaluation included. The tutorial
loop is the one that most introductions to PyTorch show: torchvision's MNIST with ToTensor and
Normalize, a DataLoader of 64 shuffled pictures, Adam at 1e-3, eager float32, and the test set
after every epoch until the accuracy is reached.

    python benchmarks/mnist.py --data-root DIR [--times 3]
"""

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = 0.99
MAX_EPOCHS = 15
FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def tutorial(root: str) -> None:
    """The loop of the tutorials; prints its test accuracy after every epoch."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from convolens.models import small_convnet

    torch.manual_seed(0)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    train = datasets.MNIST(root, train=True, download=False, transform=transform)
    test = datasets.MNIST(root, train=False, download=False, transform=transform)
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    test_loader = DataLoader(test, batch_size=1000)
    model = small_convnet(num_classes=10, in_channels=1, image_size=28)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    for epoch in range(1, MAX_EPOCHS + 1):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss_function(model(images), labels).backward()
            optimizer.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in test_loader:
                correct += (model(images).argmax(dim=1) == labels).sum().item()
        accuracy = correct / len(test)
        print(json.dumps({"epochs": epoch, "accuracy": accuracy}), flush=True)
        if accuracy >= TARGET:
            return


def unpack(root: Path, folder: Path) -> None:
    """Lays the idx files where torchvision looks for them."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        packed = next(root.rglob(f"{name}-ubyte.gz"))
        with gzip.open(packed) as source, (raw / f"{name}-ubyte").open("wb") as target:
            shutil.copyfileobj(source, target)


def timed(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, done.stdout


def ours(root: Path, seed: int) -> tuple[float, float, int]:
    """Seconds, accuracy and epochs of `convolens train mnist`."""
    with tempfile.TemporaryDirectory() as out:
        words = ["train", "mnist", "--data-root", str(root), "--out", out, "--json"]
        command = [sys.executable, "-m", "convolens", *words, "--seed", str(seed)]
        seconds, printed = timed(command)
    result = json.loads(printed)
    return seconds, result["metrics"]["test_accuracy"], result["epochs"]


def theirs(folder: str) -> tuple[float, float, int]:
    """Seconds, accuracy and epochs of the tutorial loop."""
    seconds, printed = timed([sys.executable, __file__, "--tutorial", folder])
    last = json.loads(printed.splitlines()[-1])
    return seconds, last["accuracy"], last["epochs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--tutorial", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.tutorial:
        tutorial(words.tutorial)
        return
    seconds: dict[str, list[float]] = {"convolens": [], "tutorial": []}
    print(f"{'':<12}{'seconds':>9}{'epochs':>8}{'accuracy':>10}")
    with tempfile.TemporaryDirectory() as folder:
        unpack(words.data_root, Path(folder))
        for turn in range(words.times):
            for name, result in (
                ("convolens", ours(words.data_root, turn)),
                ("tutorial", theirs(folder)),
            ):
                took, accuracy, epochs = result
                print(f"{name:<12}{took:>9.1f}{epochs:>8}{accuracy:>10.2%}", flush=True)
                seconds[name].append(took if accuracy >= TARGET else float("inf"))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"median seconds to {TARGET:.1%}: {medians}")
    print(f"ratio: {medians['tutorial'] / medians['convolens']:.1f}")


if __name__ == "__main__":
    main()
