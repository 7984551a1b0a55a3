"""With and without batch norm: the learning rates that still train."""

import numpy as np
from gallery.story import (
    PLAIN_PICTURES,
    SEEDS,
    Numbers,
    Story,
    chart,
    panel,
    percents,
    repeat,
    table,
    workplace,
)

from convolens.visual import Figure
from convolens.visual.axis import axis_over

NET = (
    "1x8x8 | [conv 16 3x3 p1 {norm}relu]*4 | maxpool | [conv 32 3x3 p1 {norm}relu]*4 | gap | fc 10"
)
NETS = {"without": NET.format(norm="| "), "with": NET.format(norm="nobias | bn | ")}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
EPOCHS = 4
TRAINED = 0.75  # the test accuracy from which a rate counts as one that trains
GUESSING = 0.1
SETTINGS = (
    "data.image_size=8",
    "data.val_fraction=0",
    "batch_size=32",
    "optimizer.name=sgd",
    "optimizer.weight_decay=0",
    "schedule.name=constant",
    *PLAIN_PICTURES,
)


def tell(quick: bool) -> Story:
    """Trains both networks at every rate."""
    with workplace() as folder:
        numbers: Numbers = {
            name: {
                f"{rate:g}": repeat(
                    folder,
                    "digits",
                    net,
                    epochs=1 if quick else EPOCHS,
                    seeds=SEEDS[:1] if quick else SEEDS,
                    settings=(*SETTINGS, f"optimizer.lr={rate}"),
                    columns=(),
                )["accuracies"]
                for rate in (RATES[-1:] if quick else RATES)
            }
            for name, net in NETS.items()
        }
    return Story(numbers=numbers, figures={"batch-norm": figure(numbers)})


def with_guesses(accuracies: list[float | None]) -> list[float]:
    """A training that broke off knows no more than one who guesses."""
    return [GUESSING if accuracy is None else accuracy for accuracy in accuracies]


def training_rates(found: Numbers) -> list[float]:
    """The rates at which every seed has learned."""
    return [
        float(rate)
        for rate, accuracies in found.items()
        if min(with_guesses(accuracies)) >= TRAINED
    ]


def figure(numbers: Numbers) -> Figure:
    rates = [float(rate) for rate in numbers["with"]]
    curves = {
        f"{name} batch norm": [float(np.mean(with_guesses(a))) for a in found.values()]
        for name, found in numbers.items()
    }
    drawn = panel(
        "test accuracy",
        "learning rate",
        rates,
        curves,
        y=axis_over([0.0, 1.0], percent=True),
        log_x=True,
        width_px=900,
    )
    caption = "Test accuracy after a short training, by learning rate, with and without batch norm."
    return chart(
        "batch-norm", caption, [drawn], "eight layers, four epochs of SGD, mean of the seeds"
    )


def lines(numbers: Numbers) -> dict[str, list[str]]:
    def cell(accuracies: list[float | None]) -> str:
        lost = accuracies.count(None)
        words = f", {lost} of {len(accuracies)} broke off" if lost else ""
        return percents(with_guesses(accuracies)) + words

    rows = [
        (rate, cell(numbers["without"][rate]), cell(numbers["with"][rate]))
        for rate in numbers["with"]
    ]
    ranges = []
    for name, found in numbers.items():
        good = training_rates(found)
        ranges.append(
            f"{name} batch norm from {min(good):g} to {max(good):g}, a factor of "
            f"{max(good) / min(good):,.0f}"
            if good
            else f"{name} batch norm at none of them"
        )
    return {
        "rates": table(("learning rate", "without batch norm", "with batch norm"), rows),
        "ranges": [f"All seeds pass {TRAINED:.0%}: {'; '.join(ranges)}.".replace("%", " %")],
    }
