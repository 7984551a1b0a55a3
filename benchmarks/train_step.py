"""Training steps per second: the plan that convolens chooses against PyTorch's eager default.

One step is zero_grad, forward, cross entropy, backward and an SGD step with momentum, on a batch
that lies in memory. The arms take turns within one process, so that what disturbs the machine
disturbs all; the table shows medians and their ratio to eager (NCHW, float32).

    python benchmarks/train_step.py [NETWORK...] [--steps 15] [--compile] [--lightning]

"of peak" is the share of the machine's own matrix-product speed in the same precision, counting
the operations of convolutions and matrix products alone.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convolens.data.root import cache_folder
from convolens.models import resnet20, simple_convnet, small_convnet
from convolens.train.optimizer import OptimizerConfig, make_optimizer
from convolens.train.plan import Plan
from convolens.train.trials import choose_by_trial
from convolens.workbench.planning import plans_for

Step = Callable[[], None]


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


def measure(name: str, steps: int, arms: argparse.Namespace) -> None:
    build, size, batch, target = NETWORKS[name]
    torch.manual_seed(0)
    inputs, targets = torch.randn(batch, *size), torch.randint(0, 10, (batch,))

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return build().train()

    choice = choose_by_trial(
        fresh(), plans_for("cpu"), inputs, targets, F.cross_entropy, cache=arms.cache
    )
    last = fresh().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    runs: dict[str, Step] = {
        "eager": plain_step(fresh(), inputs, targets),
        "channels-last": plain_step(
            last, inputs.contiguous(memory_format=torch.channels_last), targets
        ),
        "convolens": planned_step(fresh(), choice.plan, inputs, targets),
    }
    if arms.compile:
        runs["torch.compile"] = plain_step(torch.compile(fresh()), inputs, targets)  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {arm: [] for arm in runs}
    for turn in range(steps + 2):
        for arm, step in runs.items():
            began = time.perf_counter()
            step()
            if turn >= 2:
                seconds[arm].append(time.perf_counter() - began)
    if arms.lightning:
        seconds["Lightning"] = lightning_step(fresh(), inputs, targets, steps)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(fresh()(inputs), targets).backward()
    medians = {arm: statistics.median(values) for arm, values in seconds.items()}
    print(f"\n{name}, batch {batch} of {size}; {choice.describe()}")
    for arm, median in medians.items():
        dtype = (
            torch.bfloat16
            if arm == "convolens" and choice.plan.precision == "bfloat16"
            else torch.float32
        )
        share = counter.get_total_flops() / median / peak(dtype)
        aim = f"   target {target:.1f}" if arm == "convolens" and target else ""
        print(
            f"  {arm:<14}{batch / median:>10,.0f} images/s{medians['eager'] / median:>8.2f} × eager"
            f"{share:>8.0%} of peak{aim}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=", ".join(NETWORKS))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--lightning", action="store_true")
    parser.add_argument("--cache", type=Path, default=cache_folder())
    arms = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in arms.networks or NETWORKS:
        measure(name, arms.steps, arms)


if __name__ == "__main__":
    main()
