"""Test accuracy with the chosen plan and with the reference, over several seeds.

    python benchmarks/plan_accuracy.py --data-root DIR [--data mnist] [--model NAME] [--seeds 5]
        [--epochs N]

The plan may change what is computed only within rounding, so both columns must agree within the
spread of the seeds.
"""

import argparse
import statistics
import tempfile

from convolens.workbench.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--model")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    words = parser.parse_args()
    found: dict[str, list[float]] = {"auto": [], "reference": []}
    print(f"{words.data} {words.model or ''}\n{'seed':<6}{'auto':>10}{'reference':>12}")
    with tempfile.TemporaryDirectory() as out:
        for seed in range(words.seeds):
            for plan, accuracies in found.items():
                run = train(
                    words.data,
                    model=words.model,
                    data_root=words.data_root,
                    epochs=words.epochs,
                    seed=seed,
                    out=out,
                    settings=[f"plan={plan}"],
                )
                accuracies.append(run.test["metrics"]["accuracy"])
            print(f"{seed:<6}{found['auto'][-1]:>10.2%}{found['reference'][-1]:>12.2%}", flush=True)
    for name, of in (("mean", statistics.mean), ("stdev", statistics.stdev)):
        print(f"{name:<6}{of(found['auto']):>10.3%}{of(found['reference']):>12.3%}")


if __name__ == "__main__":
    main()
