"""Training steps per second: the plan that convolens chooses against PyTorch's eager default.

One step is zero_grad, forward, cross entropy, backward and an SGD step with momentum, on a batch
that lies in memory. Each arm has a process of its own, as a person would run it, and they take
turns, so that what disturbs the machine disturbs all. A process is faster or slower than another
of the same arm by up to a third, for as long as it lives; so every arm is started several times,
and the table shows the median of the starts, and of their ratios to eager (NCHW, float32) the
median, the least and the greatest.

    python benchmarks/train_step.py [NETWORK...] [--starts 5] [--turns 4] [--compile] [--lightning]

"of peak" is the share of the machine's own matrix-product speed in the same precision, counting
the operations of convolutions and matrix products alone.
"""

import argparse
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.data.root import cache_folder
from convolens.models import resnet20, simple_convnet, small_convnet
from convolens.train.optimizer import OptimizerConfig, make_optimizer
from convolens.train.plan import Plan
from convolens.train.trials import choose_by_trial
from convolens.workbench.planning import plans_for
from convolens.workbench.summary import summarize

Step = Callable[[], None]
TURN_S = 0.3  # of each arm, at least


def lenet_20_50_500() -> nn.Module:
    """Caffe's LeNet."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def torchvision_model(name: str, classes: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision import models

        net: nn.Module = models.get_model(name, num_classes=classes)
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # so that gradients can be compared
        return net

    return build


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], int, float]] = {
    "SimpleConvNet": (lambda: simple_convnet(), (1, 28, 28), 128, 4.0),
    "LeNet 20-50-500": (lenet_20_50_500, (1, 28, 28), 128, 3.0),
    "small_convnet": (lambda: small_convnet(10, 1, 28), (1, 28, 28), 128, 0.0),
    "ResNet-20": (lambda: resnet20(10, 3, 32), (3, 32, 32), 128, 2.5),
    "ResNet-18": (torchvision_model("resnet18", 1000), (3, 224, 224), 16, 2.5),
    "VGG-11": (torchvision_model("vgg11", 200), (3, 64, 64), 32, 2.5),
}


def network(name: str) -> tuple[Callable[[], nn.Module], tuple[int, int, int], int, float]:
    """How to build it, the size of its pictures, how many of them, and the target."""
    if name.startswith("torchvision:"):
        name, _, size = name.removeprefix("torchvision:").partition("@")
        px, _, batch = (size or "64x32").partition("x")
        return torchvision_model(name, 100), (3, int(px), int(px)), int(batch or 32), 0.0
    return NETWORKS[name]


def batch_of(size: tuple[int, int, int], count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, *size), torch.randint(0, 10, (count,))


def plain_step(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """The step as a tutorial writes it."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), targets).backward()
        optimizer.step()

    return step


def planned_step(net: nn.Module, plan: Plan, inputs: Tensor, targets: Tensor) -> Step:
    """The step as `convolens train` runs it."""
    net = plan.place(net)
    config = OptimizerConfig(name="momentum", lr=0.001, momentum=0.9)
    optimizer = make_optimizer(net, config)
    count = len(inputs)
    parts = plan.num_parts(count)
    pairs = [
        (plan.arrange(x), y)
        for x, y in zip(inputs.tensor_split(parts), targets.tensor_split(parts), strict=True)
    ]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with plan.own_threads():
            for x, y in pairs:
                with plan.autocast():
                    outputs = net(x)
                (F.cross_entropy(outputs.float(), y) * (len(x) / count)).backward()
            optimizer.step()

    return step


def lightning_step(net: nn.Module, inputs: Tensor, targets: Tensor, steps: int) -> list[float]:
    """Seconds of each step inside Lightning's Trainer."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.times = net, []

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            self.times.append(time.perf_counter())
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.001, momentum=0.9)

    module = Module()
    trainer = lightning.Trainer(
        max_steps=steps + 3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield inputs, targets

    class Endless(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return batches()

    trainer.fit(module, torch.utils.data.DataLoader(Endless(), batch_size=None))
    times = module.times
    return [b - a for a, b in pairwise(times[2:])]


def peak(dtype: torch.dtype, size: int = 1024) -> float:
    """Floating-point operations per second of a matrix product."""
    a = torch.ones(size, size, dtype=dtype)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(a, a)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def training_flops(net: nn.Module, size: tuple[int, int, int]) -> int:
    """Multiplications and additions of a step with one picture: forward and for both gradients, of
    which the first layer's input needs none."""
    found = summarize(net, size)
    first = next(row.macs for row in found.rows if row.macs)
    return 2 * (3 * found.totals.macs - first)


def work(arm: str, name: str, cache: Path, pipe: Connection) -> None:
    """What an arm's process does: says how it runs, then as many steps as it is asked for."""
    warnings.simplefilter("ignore")
    build, size, batch, _ = network(name)
    inputs, targets = batch_of(size, batch)
    torch.manual_seed(0)
    net = build().train()
    if arm == "convolens":
        choice = choose_by_trial(
            net, plans_for("cpu"), inputs, targets, F.cross_entropy, cache=cache
        )
        step = planned_step(net, choice.plan, inputs, targets)
        pipe.send((choice.describe(), choice.plan.precision))
    else:
        if arm == "channels-last":
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if arm == "torch.compile":
            net = torch.compile(net)  # type: ignore[assignment]
        step = plain_step(net, inputs, targets)
        pipe.send(("", "float32"))
    while steps := pipe.recv():
        seconds = []
        for _ in range(steps):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        pipe.send(seconds)


def medians_of_a_start(
    name: str, options: argparse.Namespace
) -> tuple[dict[str, float], tuple[str, str]]:
    """Of new processes that take turns: each arm's median step in seconds; what the plan is."""
    arms = ["eager", "channels-last", "convolens", *(["torch.compile"] * options.compile)]
    context = multiprocessing.get_context("spawn")
    pipes, notes, steps, processes = {}, {}, {}, []
    for arm in arms:  # one after the other, so that a trial is not disturbed
        pipes[arm], theirs = context.Pipe()
        words = (arm, name, options.cache, theirs)
        processes.append(context.Process(target=work, args=words, daemon=True))
        processes[-1].start()
        theirs.close()  # so that a process that ends early is noticed
        notes[arm] = pipes[arm].recv()
        pipes[arm].send(4)
        # The first of a turn is left out: the caches are still another's.
        steps[arm] = max(1, round(TURN_S / min(pipes[arm].recv()))) + 1
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(options.turns):
        for arm, pipe in pipes.items():
            time.sleep(0.02)  # threads of the arm before spin for a while
            pipe.send(steps[arm])
            seconds[arm] += pipe.recv()[1:]
    for pipe in pipes.values():
        pipe.send(0)
    for process in processes:
        process.join()
    if options.lightning:
        build, size, batch, _ = network(name)
        seconds["Lightning"] = lightning_step(build().train(), *batch_of(size, batch), 20)
    return {arm: statistics.median(values) for arm, values in seconds.items()}, notes["convolens"]


def measure(name: str, options: argparse.Namespace) -> None:
    build, size, batch, target = network(name)
    starts, (words, precision) = [], ("", "")
    for _ in range(options.starts):
        medians, plan = medians_of_a_start(name, options)
        starts.append(medians)
        words, precision = (words or plan[0]), plan[1]  # of later ones it says "remembered"
    flops = batch * training_flops(build(), size)
    print(f"\n{name}, batch {batch} of {size}; {words}")
    for arm in starts[0]:
        median = statistics.median(start[arm] for start in starts)
        ratios = sorted(start["eager"] / start[arm] for start in starts)
        spread = f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        dtype = getattr(torch, precision if arm == "convolens" else "float32")
        aim = f"   target {target:.1f}" if arm == "convolens" and target else ""
        print(
            f"  {arm:<14}{batch / median:>10,.0f} images/s{statistics.median(ratios):>8.2f} × eager"
            f" {spread:<16}{flops / median / peak(dtype):>5.0%} of peak{aim}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = f"{', '.join(NETWORKS)}, or torchvision:NAME@PIXELSxBATCH"
    parser.add_argument("networks", nargs="*", help=known)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--lightning", action="store_true")
    parser.add_argument("--cache", type=Path, default=cache_folder())
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.networks or NETWORKS:
        measure(name, options)


if __name__ == "__main__":
    main()
