"""Test accuracy and time on CIFAR-10 over several seeds: `cifar10_fast` against a ResNet-18.

    python benchmarks/cifar10.py --data-root DIR [--out runs/cifar10] [--seeds 3] [--epochs N]
                                 [--against 0] [--against-epochs 200]

Each training is a Run, OUT/RECIPE-EPOCHS-SEED. A Run that is complete is read, one that was
stopped goes on, so the script can be ended and started again at any time. `--against` is the number
of seeds of `cifar10_resnet18`, whose 200 epochs take days on a CPU; with fewer epochs its schedule
is as much shorter.

"seconds" are those of the training steps, in whatever number of sessions, without the test;
"plain" is the accuracy without test-time augmentation.
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convolens.errors import ConvolensError
from convolens.recipes.registry import find_recipe
from convolens.workbench.evaluate import evaluate
from convolens.workbench.run import Run
from convolens.workbench.train import train

TARGET = 0.94


@dataclass(frozen=True, kw_only=True)
class Result:
    seconds: float
    plain: float
    accuracy: float


def trained(recipe: str, seed: int, epochs: int, out: Path, data_root: str | None) -> Run:
    """The Run of one recipe and seed, brought to its end."""
    name = f"{recipe}-{epochs}-{seed}"
    try:
        run = Run.open(out / name)
    except ConvolensError:
        return train(
            "cifar10",
            recipe=recipe,
            seed=seed,
            epochs=epochs,
            out=out,
            name=name,
            data_root=data_root,
        )
    return run if run.is_complete else train(resume=run.path, data_root=data_root)


def results(
    recipe: str, seeds: int, epochs: int, out: Path, data_root: str | None
) -> Iterator[Result]:
    for seed in range(seeds):
        run = trained(recipe, seed, epochs, out, data_root)
        plain = evaluate(run, data_root=data_root, tta="none")["accuracy"]
        result = Result(
            seconds=sum(row["seconds"] for row in run.rows),
            plain=plain,
            accuracy=run.test["metrics"]["accuracy"],
        )
        row(recipe, seed, epochs, result)
        yield result


def row(recipe: str, seed: int | str, epochs: int, result: Result) -> None:
    print(
        f"{recipe:<18}{seed:>6}{epochs:>8}{result.seconds:>10.0f}"
        f"{result.plain:>10.2%}{result.accuracy:>10.2%}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--against", type=int, default=0)
    parser.add_argument("--against-epochs", type=int, default=200)
    words = parser.parse_args()
    fast = words.epochs or find_recipe("cifar10_fast", "cifar10").epochs
    arms = (
        ("cifar10_fast", words.seeds, fast),
        ("cifar10_resnet18", words.against, words.against_epochs),
    )
    print(f"{'recipe':<18}{'seed':>6}{'epochs':>8}{'seconds':>10}{'plain':>10}{'accuracy':>10}")
    for recipe, seeds, epochs in arms:
        found = list(results(recipe, seeds, epochs, words.out, words.data_root))
        if not found:
            continue
        columns = zip(*((r.seconds, r.plain, r.accuracy) for r in found), strict=True)
        seconds, plain, accuracy = map(statistics.mean, columns)
        row(recipe, "mean", epochs, Result(seconds=seconds, plain=plain, accuracy=accuracy))
        spread = statistics.stdev([r.accuracy for r in found]) if len(found) > 1 else 0.0
        reached = sum(r.accuracy >= TARGET for r in found)
        print(
            f"spread {spread:.2%} (standard deviation); {reached} of {len(found)} at {TARGET:.0%}"
        )


if __name__ == "__main__":
    main()
