"""Time and memory of every number of a network: convolens, torchinfo and TorchLens side by side.

    python benchmarks/summary.py [--rounds N] [--repeats N] [--networks NAME ...] [--tools NAME ...]

Each measurement is a process of its own that has imported everything: it builds the network and
summarizes it, once for the memory and then --repeats times for the time. The tools take turns, so
that a machine that is busy for a while is busy for all of them: --rounds says how often each has
its turn. Times are medians over all turns, in the process's own CPU seconds, which other processes
disturb less than the clock does. Memory is how far the process grew (VmHWM). torchinfo and
TorchLens come from the package index: `pip install torchinfo torchlens`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NETWORKS = ("vgg16", "resnet50", "densenet121")
INPUT = (3, 224, 224)


def convolens_of(name: str) -> Callable[[], object]:
    from convolens.workbench.summary import summarize

    return lambda: summarize(name)


def torchinfo_of(name: str) -> Callable[[], object]:
    import torchinfo
    import torchvision

    build = getattr(torchvision.models, name)
    return lambda: torchinfo.summary(build(), (1, *INPUT), verbose=0, device="cpu")


def torchlens_of(name: str) -> Callable[[], object]:
    import torch
    import torchlens
    import torchvision

    build = getattr(torchvision.models, name)

    def log() -> object:
        return torchlens.trace(build(), torch.rand(1, *INPUT))

    return log


TOOLS = {"convolens": convolens_of, "torchinfo": torchinfo_of, "torchlens": torchlens_of}


def status(field: str) -> int:
    """A number of bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def measure(tool: str, name: str, repeats: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    run = TOOLS[tool](name)
    torch.nn.Conv2d(3, 3, 3)(torch.rand(1, 3, 8, 8))  # libraries are loaded
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.process_time()
    run()
    first = time.process_time() - start
    grown = status("VmHWM") - before
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return {"first": first, "times": times, "bytes": grown}


def turn(tool: str, name: str, repeats: int) -> dict[str, Any] | None:
    """One measurement in a process of its own; None, with a line, where it fails."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", tool, name]
    done = subprocess.run(
        [*command, "--repeats", str(repeats)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{name:<12} {tool:<10} {done.stderr.strip().splitlines()[-1]}")
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, tools: Sequence[str], rounds: int, repeats: int) -> None:
    """Prints a line for each tool."""
    turns: dict[str, list[dict[str, Any]]] = {tool: [] for tool in tools}
    for _ in range(rounds):
        for tool, found in turns.items():
            measured = turn(tool, name, repeats)
            if measured is not None:
                found.append(measured)
    ours = 0.0
    for tool, found in turns.items():
        if not found:
            continue
        median = statistics.median(time for one in found for time in one["times"])
        first = statistics.median(one["first"] for one in found)
        grown = statistics.median(one["bytes"] for one in found)
        ours = ours or median
        print(
            f"{name:<12} {tool:<10} {median * 1e3:11.1f} {first * 1e3:10.1f} "
            f"{grown / 2**20:12.1f}  {median / ours:.1f}×",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--tools", nargs="+", default=tuple(TOOLS), choices=tuple(TOOLS))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(*options.one, options.repeats)))
        return
    print(
        f"{'':<12} {'tool':<10} {'median [ms]':>11} {'first [ms]':>10} {'memory [MiB]':>12}  ratio"
    )
    for name in options.networks:
        compare(name, options.tools, options.rounds, options.repeats)


if __name__ == "__main__":
    main()
