"""Dropout on few pictures."""

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

from convolens.visual import Figure
from convolens.visual.axis import axis_over

SHARES = (0.0, 0.25, 0.5, 0.75)
EPOCHS = 60
SETTINGS = (
    "data.image_size=8",
    "data.val_fraction=0.8",  # a fifth is left to train on, so that there is something to overfit
    "batch_size=32",
    "optimizer.name=adam",
    "optimizer.lr=0.001",
    "optimizer.weight_decay=0",
    "schedule.name=constant",
    *PLAIN_PICTURES,
)


def net(share: float) -> str:
    dropout = f" | dropout {share:g}" if share else ""
    return f"1x8x8 | [fc 256 | relu{dropout}]*2 | fc 10"


def tell(quick: bool) -> Story:
    """Trains the same network with more and more dropout."""
    with workplace() as folder:
        numbers: Numbers = {
            f"{share:g}": repeat(
                folder,
                "digits",
                net(share),
                epochs=1 if quick else EPOCHS,
                seeds=SEEDS[:1] if quick else SEEDS,
                settings=SETTINGS,
                columns=("train_loss", "val_loss"),
            )
            for share in (SHARES[-1:] if quick else SHARES)
        }
    return Story(numbers=numbers, figures={"dropout": figure(numbers)})


def figure(numbers: Numbers) -> Figure:
    titles = {"train_loss": "training", "val_loss": "validation"}
    panels = []
    for name, title in titles.items():
        curves = {share: mean_curve(found[name]) for share, found in numbers.items()}
        epochs = range(1, len(next(iter(curves.values()))) + 1)
        # On a log scale, since without dropout the training loss goes to nothing.
        y = axis_over([v for curve in curves.values() for v in curve], log=True)
        panels.append(panel(title, "epoch", epochs, curves, y=y, whole_x=True, width_px=560))
    heading = "loss by the share of units that is dropped, log scale"
    caption = "Training and validation loss with dropout of 0, 0.25, 0.5 and 0.75."
    return chart("dropout", caption, panels, heading)


def lines(numbers: Numbers) -> dict[str, list[str]]:
    rows = [
        (
            share,
            spread([curve[-1] for curve in found["train_loss"]], ".4f"),
            spread([min(curve) for curve in found["val_loss"]]),
            spread([curve[-1] for curve in found["val_loss"]]),
            percents(found["accuracies"]),
        )
        for share, found in numbers.items()
    ]
    head = ("dropped", "training loss at the end", "least validation loss")
    return {"dropout": table((*head, "validation loss at the end", "test accuracy"), rows)}
