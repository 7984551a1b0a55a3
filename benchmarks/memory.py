"""Predicted peak of a training step against the measured peak of real ones, for ten networks.

    python benchmarks/memory.py [--optimizer sgd|momentum|adam]

Each network trains for two steps in a process of its own. Two measurements stand beside the
prediction: what PyTorch's allocator held at most, as its profiler tells (of the second step), and
how far the process itself grew (VmHWM), which the operating system tells and which knows nothing of
PyTorch. Before that the process has trained a small copy, so that libraries are loaded and their
kernels made; and freed memory goes back to the system at once.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

NETWORKS = (
    ("alexnet", 227, 32),
    ("vgg16(head='small')", 112, 16),
    ("googlenet", 160, 16),
    ("nin", 160, 32),
    ("resnet18", 128, 32),
    ("resnet50", 128, 16),
    ("densenet121", 112, 16),
    ("torchvision:mobilenet_v3_large", 160, 32),
    ("torchvision:convnext_tiny", 128, 16),
    ("torchvision:vit_b_16(image_size=128)", 128, 32),
)
LEARNING_RATE = 1e-3
ENVIRONMENT = {
    # Freed memory goes back to the system, so that the process is as large as what it holds.
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "10000000",
}


def optimizer_of(name: str, parameters):
    import torch

    if name == "adam":
        return torch.optim.Adam(parameters, lr=LEARNING_RATE, foreach=False)
    momentum = 0.9 if name == "momentum" else 0.0
    return torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=momentum, foreach=False)


def status(field: str) -> int:
    """A number of bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def train(word: str, side: int, batch: int, optimizer: str, steps: int) -> int:
    """Trains for some steps; the most that PyTorch's allocator held in the last one."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from convolens.workbench.design import design_of

    net = design_of(word, (3, side, side)).rebuild().train()
    step = optimizer_of(optimizer, [p for p in net.parameters() if p.requires_grad])
    x = torch.rand(batch, 3, side, side)
    before = sum(t.numel() * t.itemsize for t in (x, *net.parameters(), *net.buffers()))
    peak = 0
    for number in range(steps):
        if number == steps - 1:
            step.zero_grad()
            before += sum(
                t.numel() * t.itemsize for s in step.state.values() for t in s.values() if t.dim()
            )
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            y = net(x)
            y = y["out"] if isinstance(y, dict) else y if torch.is_tensor(y) else y[0]
            y.backward(torch.rand_like(y) / y.numel())
            del y
            step.step()
            step.zero_grad()
        peak = before + growth(seen)
    return peak


def growth(seen) -> int:
    """The most that was allocated since a profile began."""
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def measure(word: str, side: int, batch: int, optimizer: str) -> dict[str, int]:
    """The measurements of one network, in this process."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    train(word, side, 2, optimizer, 2)
    gc.collect()
    start = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    allocated = train(word, side, batch, optimizer, 2)
    return {"allocated": allocated, "process": status("VmHWM") - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--optimizer", default="momentum", choices=("sgd", "momentum", "adam"))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        word, side, batch = options.one
        print(json.dumps(measure(word, int(side), int(batch), options.optimizer)))
        return
    import torch

    from convolens.workbench.summary import summarize

    torch.set_num_threads(1)  # as in the processes: it decides how 1×1 convolutions are done
    print(f"training peak with {options.optimizer} [MiB]")
    print(f"{'network':<38} {'input':>12} {'predicted':>9} {'allocator':>9} {'':>7} {'process':>9}")
    for word, side, batch in NETWORKS:
        graph = summarize(word, (3, side, side), batch=batch, optimizer=options.optimizer)
        predicted = graph.totals.training_peak_bytes
        command = [sys.executable, __file__, "--optimizer", options.optimizer, "--one"]
        done = subprocess.run(
            [*command, word, str(side), str(batch)],
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        cells = [
            f"{found[key] / 2**20:9.1f} {predicted / found[key] - 1:+7.1%}"
            for key in ("allocated", "process")
        ]
        size = f"{batch}×3×{side}²"
        print(f"{word:<38} {size:>12} {predicted / 2**20:9.1f} {' '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
