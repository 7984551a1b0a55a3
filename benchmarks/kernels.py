"""Training steps with the kernels of convolens.nn.kernels against PyTorch's own, in one run.

    python benchmarks/kernels.py [NETWORK…]

Each way to run has a process of its own, since the memory of the C library is set for a whole
process; the ways take turns of a few steps, and each table shows medians and their ratio to the
first way, which is what PyTorch does by default. "memory" is `keep_freed_memory` besides.
A step is zero_grad, forward, cross-entropy, backward and SGD with momentum, in float32.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.models import simple_convnet, small_convnet
from convolens.nn.kernels import (
    apply_kernels,
    batch_norm,
    conv_pool,
    keep_freed_memory,
    load_library,
    max_pool,
)
from convolens.nn.kernels.batch_norm import stock_batch_norm
from convolens.nn.kernels.conv_pool import stock_conv_pool
from convolens.nn.kernels.max_pool import stock_max_pool

STEPS = 4  # of a turn, after one that is not counted
PAUSE_S = 0.02  # before a turn: idle threads of the process before go on spinning for a while
WAYS = ("NCHW", "channels-last", "kernels", "kernels + memory")
LAYERS = {
    "conv 1→30 5×5, relu, pool at 28": (128, 1, 30, 28, 5, 0),
    "conv 20→50 5×5, pool at 12": (128, 20, 50, 12, 5, 0),
    "conv 16→32 3×3, pool at 12": (128, 16, 32, 12, 3, 0),
    "conv 3→64 3×3 pad 1, relu, pool at 64": (32, 3, 64, 64, 3, 1),
}


def lenet() -> nn.Module:
    """The LeNet of Caffe, 20-50-500."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


class Residual(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(filters), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2, self.stride, self.extra = nn.BatchNorm2d(filters), stride, filters - channels

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        result: Tensor = self.relu(out + x)
        return result


def resnet20() -> nn.Module:
    """He et al. (2015), section 4.2, with shortcuts that have no parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for filters in (16, 32, 64):
        for _ in range(3):
            layers.append(Residual(channels, filters, 2 if filters > channels else 1))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision  # takes seconds to import, and only two rows need it

        network: nn.Module = getattr(torchvision.models, name)(num_classes=10)
        return network

    return make


# What makes the network, the shape of a batch, and how many turns.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int, int], int]] = {
    "simple_convnet": (simple_convnet, (128, 1, 28, 28), 18),
    "lenet": (lenet, (128, 1, 28, 28), 18),
    "small_convnet": (lambda: small_convnet(10, 1, 28), (128, 1, 28, 28), 18),
    "resnet20": (resnet20, (128, 3, 32, 32), 6),
    "vgg11 at 64 px": (of_torchvision("vgg11"), (32, 3, 64, 64), 3),
    "resnet18 at 224 px": (of_torchvision("resnet18"), (8, 3, 224, 224), 3),
}


def main() -> None:
    wanted = sys.argv[1:] or ["layers", *NETWORKS]
    print(f"{torch.get_num_threads()} threads; load average before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        load_library(Path(cache))
        print(f"the kernels were compiled in {time.perf_counter() - start:.1f} s\n")
        if "layers" in wanted:
            compare_layers(Path(cache))
        compare_networks([name for name in wanted if name in NETWORKS], cache)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


def compare_layers(cache: Path) -> None:
    """Forward and backward of single layers, channels-last and with memory kept on both sides."""
    keep_freed_memory()
    print(f"{'forward + backward [ms]':40} {'PyTorch':>9} {'kernel':>9} {'ratio':>7}")
    library = load_library(cache)
    for name, (N, C, K, side, kernel, padding) in LAYERS.items():
        x = torch.randn(N, C, side, side).contiguous(memory_format=torch.channels_last)
        conv = nn.Conv2d(C, K, kernel).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x.requires_grad_(C > 4)
        options = {"padding": padding, "relu": "relu" in name}
        leaves = [conv.weight, conv.bias, *([x] if C > 4 else [])]
        row(
            name,
            partial(stock_conv_pool, x, conv.weight, conv.bias, **options),
            partial(conv_pool, x, conv.weight, conv.bias, library, **options),
            leaves,
        )
    for N, C, side, size in ((128, 16, 24, 2), (8, 64, 112, 3)):
        x = torch.randn(N, C, side, side).contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        options = {"kernel_size": size, "stride": 2, "padding": size // 3}
        row(
            f"max-pool {size}×{size}/2, {C} channels at {side}",
            partial(stock_max_pool, x, **options),
            partial(max_pool, x, library, **options),
            [x],
        )
    for N, C, side in ((128, 16, 12), (128, 16, 32), (128, 64, 8), (8, 64, 56)):
        x = torch.randn(N, C, side, side).contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        norm = nn.BatchNorm2d(C)
        row(
            f"batch norm, relu, {C} channels at {side}",
            partial(stock_batch_norm, x, norm, activation="relu"),
            partial(batch_norm, x, norm, library, activation="relu"),
            [x, *norm.parameters()],
        )
    print()


def row(
    name: str, stock: Callable[[], Tensor], mine: Callable[[], Tensor], leaves: list[Tensor]
) -> None:
    """Measures both ways in turns and prints a line."""
    grad = torch.randn_like(stock())
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(40):
        for way, times in zip((stock, mine), seconds, strict=True):
            start = time.perf_counter()
            torch.autograd.grad(way(), leaves, grad)
            times.append(time.perf_counter() - start)
    theirs, ours = (1e3 * statistics.median(times[3:]) for times in seconds)
    print(f"{name:40} {theirs:9.2f} {ours:9.2f} {theirs / ours:7.2f}")


def compare_networks(names: list[str], cache: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = []
    for way in WAYS:
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there, way, cache), daemon=True)
        process.start()
        workers.append((here, process))
    print(
        f"{'step [ms] (ratio)':20}" + "".join(f"{way:>20}" for way in WAYS) + "   ratio, by thirds"
    )
    for name in names:
        for pipe, _ in workers:
            pipe.send(name)
            pipe.recv()
        seconds: list[list[float]] = [[] for _ in WAYS]
        for turn in range(NETWORKS[name][2]):
            order = list(range(len(WAYS)))
            for i in order if turn % 2 else order[::-1]:
                time.sleep(PAUSE_S)
                workers[i][0].send("step")
                seconds[i] += workers[i][0].recv()
        medians = [1e3 * statistics.median(times) for times in seconds]
        cells = "".join(f"{f'{m:.2f} ({medians[0] / m:.2f}×)':>20}" for m in medians)
        thirds = []
        for part in range(3):
            third = slice(part * len(seconds[0]) // 3, (part + 1) * len(seconds[0]) // 3)
            slow, fast = (statistics.median(times[third]) for times in (seconds[0], seconds[-1]))
            thirds.append(f"{slow / fast:.2f}")
        print(f"{name:20}{cells}   {' '.join(thirds)}", flush=True)
    for pipe, process in workers:
        pipe.send("end")
        process.join()


def work(pipe: Connection, way: str, cache: str) -> None:
    """Prepares a network when it gets a name, and takes a step when it is told so."""
    if way == WAYS[3]:
        keep_freed_memory()
    step: Callable[[], None] | None = None
    while (word := pipe.recv()) != "end":
        if word != "step" or step is None:
            step = prepare(word, way, cache)
            for _ in range(3):
                step()
            pipe.send("ready")
            continue
        times = [time.perf_counter()]
        for _ in range(STEPS + 1):
            step()
            times.append(time.perf_counter())
        pipe.send([end - start for start, end in pairwise(times[1:])])


def prepare(name: str, way: str, cache: str) -> Callable[[], None]:
    torch.manual_seed(0)
    make, shape, _ = NETWORKS[name]
    model, x, targets = make(), torch.randn(shape), torch.arange(shape[0]) % 10
    if way != WAYS[0]:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=torch.channels_last)
    if way in WAYS[2:]:
        apply_kernels(model, load_library(Path(cache)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
