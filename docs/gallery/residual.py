"""Plain against residual networks of growing depth."""

from gallery.story import (
    PLAIN_PICTURES,
    SEEDS,
    Numbers,
    Story,
    chart,
    mean_curve,
    panel,
    percents,
    repeat,
    spread,
    table,
    workplace,
)

import convolens as cl
from convolens.visual import Figure
from convolens.visual.axis import axis_over

KINDS = {"plain": "plain", "resnet": "residual"}
DEPTHS = (20, 32, 44)
EPOCHS = 6
SETTINGS = (
    "data.image_size=8",
    "data.val_fraction=0",
    "batch_size=64",
    "optimizer.name=momentum",
    "optimizer.lr=0.05",
    "schedule.name=cosine",
    *PLAIN_PICTURES,
)


def tell(quick: bool) -> Story:
    """Trains both kinds at each depth and keeps the training loss of every epoch."""
    depths = DEPTHS[:1] if quick else DEPTHS
    with workplace() as folder:
        numbers: Numbers = {
            model: {
                "params": cl.summarize(model).totals.params,
                **repeat(
                    folder,
                    "digits",
                    model,
                    epochs=1 if quick else EPOCHS,
                    seeds=SEEDS[:1] if quick else SEEDS,
                    settings=SETTINGS,
                ),
            }
            for model in [f"{kind}{depth}" for kind in KINDS for depth in depths]
        }
    return Story(numbers=numbers, figures={"residual": figure(numbers)})


def figure(numbers: Numbers) -> Figure:
    """The mean loss of the seeds: plain at the left, residual at the right, on one scale."""
    means = {model: mean_curve(found["train_loss"]) for model, found in numbers.items()}
    scale = axis_over([v for curve in means.values() for v in curve], from_zero=True)
    panels = []
    for kind, title in KINDS.items():
        curves = {m.removeprefix(kind): curve for m, curve in means.items() if m.startswith(kind)}
        epochs = range(1, len(next(iter(curves.values()))) + 1)
        panels.append(panel(title, "epoch", epochs, curves, y=scale, whole_x=True, width_px=420))
    caption = "Training loss of plain and of residual networks of 20, 32 and 44 layers."
    return chart("residual", caption, panels, "training loss, by number of layers")


def lines(numbers: Numbers) -> dict[str, list[str]]:
    rows = [
        (
            f"`{model}`",
            f"{found['params']:,}",
            spread([curve[-1] for curve in found["train_loss"]]),
            percents(found["accuracies"]),
        )
        for model, found in numbers.items()
    ]
    head = ("network", "parameters", "training loss, last epoch", "test accuracy")
    return {"residual": table(head, rows)}
