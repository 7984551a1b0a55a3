"""Time and memory of every number of a network: convolens, torchinfo and TorchLens side by side.

    python benchmarks/summary.py [--repeats N]

Each measurement is a process of its own that has imported everything: it builds the network and
summarizes it, once for the memory and then N times for the time. Times are medians, in the
process's own CPU seconds, which other processes disturb less than the clock does. Memory is how far
the process grew (VmHWM). torchinfo and TorchLens come from the package index:
`pip install torchinfo torchlens`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


def measure(tool: str, name: str, repeats: int) -> dict[str, float]:
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
    return {"first": first, "median": statistics.median(times), "bytes": grown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(*options.one, options.repeats)))
        return
    print(
        f"{'':<12} {'tool':<10} {'median [ms]':>11} {'first [ms]':>10} {'memory [MiB]':>12}  ratio"
    )
    for name in NETWORKS:
        ours = 0.0
        for tool in TOOLS:
            command = [sys.executable, "-W", "ignore", __file__, "--one", tool, name]
            done = subprocess.run(
                [*command, "--repeats", str(options.repeats)], capture_output=True, text=True
            )
            if done.returncode:
                print(f"{name:<12} {tool:<10} {done.stderr.strip().splitlines()[-1]}")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            ours = ours or found["median"]
            print(
                f"{name:<12} {tool:<10} {found['median'] * 1e3:11.1f} {found['first'] * 1e3:10.1f} "
                f"{found['bytes'] / 2**20:12.1f}  {found['median'] / ours:.1f}×",
                flush=True,
            )


if __name__ == "__main__":
    main()
