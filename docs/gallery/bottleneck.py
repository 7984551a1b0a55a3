"""What a bottleneck saves."""

import numpy as np
from gallery.story import (
    PLAIN_PICTURES,
    SEEDS,
    Numbers,
    Story,
    percents,
    repeat,
    spread,
    table,
    workplace,
)
from PIL import Image, ImageDraw

import convolens as cl
from convolens.visual import Figure
from convolens.visual.style import BLUE, BODY_PX, GRID, MARGIN_PX, PAPER, SMALL_PX, SOFT, VERMILLION
from convolens.visual.text import measure, write

# What each pair compares: the block without a bottleneck first.
PAIRS = {
    "residual block, 256 channels": (
        "256x14x14 | residual 256",
        "256x14x14 | bottleneck 64-256",
    ),
    "Inception 3a": (
        "192x28x28 | inception naive 64 128 32",
        "192x28x28 | inception 64 96-128 16-32 32",
    ),
    "GoogLeNet": ("googlenet(naive=True)", "googlenet"),
}
NET = "1x16x16 | conv 32 3x3 p1 nobias | bn | relu | maxpool | [{}]*3 | gap | fc 10"
NETS = {block: NET.format(block) for block in ("residual 32", "bottleneck 8-32")}
EPOCHS = 5
SETTINGS = (
    "data.image_size=16",
    "data.val_fraction=0",
    "batch_size=32",
    "optimizer.name=momentum",
    "optimizer.lr=0.02",
    "schedule.name=onecycle",
    *PLAIN_PICTURES,
)


def tell(quick: bool) -> Story:
    """Counts each pair, and trains a small network with and without bottlenecks."""
    counted = {}
    for name, pair in PAIRS.items():
        graphs = cl.compare(*pair)
        counted[name] = [
            {"model": g.model, "params": g.totals.params, "macs": g.totals.macs} for g in graphs
        ]
    with workplace() as folder:
        trained = {
            name: {
                "params": (totals := cl.summarize(net).totals).params,
                "macs": totals.macs,
                **repeat(
                    folder,
                    "digits",
                    net,
                    epochs=1 if quick else EPOCHS,
                    seeds=SEEDS[:1] if quick else SEEDS,
                    settings=SETTINGS,
                ),
            }
            for name, net in (list(NETS.items())[-1:] if quick else NETS.items())
        }
    numbers: Numbers = {"counted": counted, "trained": trained}
    return Story(numbers=numbers, figures={"bottleneck": figure(counted)})


def figure(counted: Numbers) -> Figure:
    """Bars of the MACs of each pair, each pair on a scale of its own."""
    row, bar, width = 46, 30, 640
    names = [half["model"] for pair in counted.values() for half in pair]
    left = MARGIN_PX + int(max(measure(name, SMALL_PX) for name in names)) + 16
    height = MARGIN_PX + len(counted) * (3 * row + 14)
    image = Image.new("RGB", (left + width + 220, height), PAPER)
    draw = ImageDraw.Draw(image)
    top = MARGIN_PX
    for name, pair in counted.items():
        write(image, (MARGIN_PX, top), f"MACs of {name}", size=BODY_PX)
        for half, colour in zip(pair, (VERMILLION, BLUE), strict=True):
            top += row
            share = half["macs"] / pair[0]["macs"]
            write(image, (left - 16, top), half["model"], size=SMALL_PX, colour=SOFT, anchor="r")
            draw.rectangle((left, top - bar / 2, left + width, top + bar / 2), fill=GRID)
            end = left + round(width * share)
            draw.rectangle((left, top - bar / 2, end, top + bar / 2), fill=colour)
            words = f"{half['macs'] / 1e6:,.1f} M ({share:.0%})".replace("%", " %")
            write(image, (left + width + 16, top), words, size=SMALL_PX, colour=SOFT)
        top += row + 14
    caption = "Multiply-accumulates of blocks and of a whole network without and with bottlenecks."
    return Figure(name="bottleneck", caption=caption, pixels=np.asarray(image))


def lines(numbers: Numbers) -> dict[str, list[str]]:
    counted = []
    for name, (wide, narrow) in numbers["counted"].items():
        counted += [
            (
                name if half is wide else "",
                f"`{half['model'].replace('|', '→')}`",  # a bar would end the cell
                f"{half['params']:,}",
                f"{half['macs'] / 1e6:,.1f} M",
                f"{half['macs'] / wide['macs']:.3f}",
            )
            for half in (wide, narrow)
        ]
    trained = [
        (
            f"`{name}`",
            f"{found['params']:,}",
            f"{found['macs'] / 1e6:.2f} M",
            spread([curve[-1] for curve in found["train_loss"]]),
            percents(found["accuracies"]),
        )
        for name, found in numbers["trained"].items()
    ]
    head = ("block", "parameters", "MACs", "training loss at the end", "test accuracy")
    return {
        "counted": table(("", "network", "parameters", "MACs", "share of MACs"), counted),
        "trained": table(head, trained),
    }
