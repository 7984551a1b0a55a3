"""Why two 3×3 convolutions equal one 5×5, and three one 7×7."""

import numpy as np
import torch
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
from torch import nn

import convolens as cl
from convolens.analysis.field import effective_field
from convolens.models.notation import build
from convolens.visual import Figure
from convolens.visual.panels import Panel, draw_panels, heat

CHANNELS = 64
COUNTED = {
    "5×5": "conv 64 5x5 p2 nobias",
    "two 3×3": "[conv 64 3x3 p1 nobias]*2",
    "7×7": "conv 64 7x7 p3 nobias",
    "three 3×3": "[conv 64 3x3 p1 nobias]*3",
}
# What stands in the trained networks; "linear" has no ReLU between its two convolutions.
TRAINED = {
    "5×5": "conv {c} 5x5 p2 nobias | bn | relu",
    "two 3×3, linear": "[conv {c} 3x3 p1 nobias]*2 | bn | relu",
    "two 3×3": "[conv {c} 3x3 p1 nobias | bn | relu]*2",
}
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


def net(block: str) -> str:
    first, second = block.format(c=16), block.format(c=32)
    return f"1x16x16 | conv 16 3x3 p1 | relu | {first} | maxpool | {second} | gap | fc 10"


def tell(quick: bool) -> Story:
    """Counts both ways, draws what a unit sees, and trains three networks on `digits`."""
    graphs = cl.compare(*(f"{CHANNELS}x32x32 | {text}" for text in COUNTED.values()))
    numbers: Numbers = {
        "counted": {
            name: {
                "params": graph.totals.params,
                "macs": graph.totals.macs,
                "saved_bytes": graph.totals.saved_bytes,
                "field": field_side(graph.model),
            }
            for name, graph in zip(COUNTED, graphs, strict=True)
        }
    }
    with workplace() as folder:
        numbers["trained"] = {
            name: {
                "params": cl.summarize(net(block)).totals.params,
                **repeat(
                    folder,
                    "digits",
                    net(block),
                    epochs=1 if quick else EPOCHS,
                    seeds=SEEDS[:1] if quick else SEEDS,
                    settings=SETTINGS,
                ),
            }
            for name, block in (list(TRAINED.items())[-1:] if quick else TRAINED.items())
        }
    return Story(
        numbers=numbers,
        figures={"stacks-paths": paths_figure(), "stacks-loss": loss_figure(numbers["trained"])},
    )


def field_side(text: str) -> int:
    """Of the middle unit, along one axis [px]."""
    first, last = cl.field(text, list(cl.summarize(text).by_name)[-1]).rows
    return int(last - first + 1)


def paths(text: str) -> np.ndarray:
    """How many paths lead from each pixel to the middle unit: its gradient for weights of 1."""
    net = build(f"1x9x9 | {text.replace('64', '1')}")
    for weight in net.parameters():
        nn.init.ones_(weight)
    last = list(cl.summarize(net, (1, 9, 9)).by_name)[-1]
    return effective_field(net, last, (4, 4), torch.zeros(1, 1, 9, 9))


def paths_figure() -> Figure:
    panels = []
    for name, text in COUNTED.items():
        found = paths(text)
        note = f"centre {found.max():.0f}, corner {found[found > 0].min():.0f}"
        panels.append(Panel(title=name, pixels=heat(found, float(found.max()), 270), note=note))
    caption = "Over how many paths each of 9×9 pixels reaches the unit in the middle."
    return Figure(name="stacks-paths", caption=caption, pixels=draw_panels(panels, 4))


def loss_figure(trained: Numbers) -> Figure:
    curves = {name: mean_curve(found["train_loss"]) for name, found in trained.items()}
    epochs = range(1, len(next(iter(curves.values()))) + 1)
    drawn = panel("training loss", "epoch", epochs, curves, whole_x=True, width_px=900)
    caption = "Training loss of the three networks on digits, the mean of three seeds."
    return chart("stacks-loss", caption, [drawn], "three networks on digits, mean of the seeds")


def lines(numbers: Numbers) -> dict[str, list[str]]:
    counted = [
        (
            name,
            f"{found['field']}×{found['field']}",
            f"{found['params']:,}",
            f"{found['params'] // CHANNELS**2}C²",
            f"{found['macs'] / 1e6:.1f} M",
            f"{found['saved_bytes'] // 1024:,} KiB",
        )
        for name, found in numbers["counted"].items()
    ]
    trained = [
        (
            name,
            f"{found['params']:,}",
            spread([curve[-1] for curve in found["train_loss"]]),
            percents(found["accuracies"]),
        )
        for name, found in numbers["trained"].items()
    ]
    head = ("", "field", "parameters", "in general", "MACs", "saved for backward")
    return {
        "counted": table(head, counted),
        "trained": table(
            ("block", "parameters of the network", "training loss at the end", "test accuracy"),
            trained,
        ),
    }
