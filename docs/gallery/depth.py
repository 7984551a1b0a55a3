"""What depth changes: feature maps, receptive fields, and how much of a field counts."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from gallery.story import PLAIN_PICTURES, Numbers, Story, rounded, table, train, workplace
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import convolens as cl
from convolens.analysis.field import effective_field
from convolens.data.base import Split
from convolens.models.notation import build
from convolens.visual import Figure, MapRow, Pixels, signed_maps
from convolens.visual.cells import draw_border
from convolens.visual.layers import maps_of
from convolens.visual.panels import Panel, draw_panels, fitted, heat, whole_factor
from convolens.visual.style import BLUE, MARGIN_PX
from convolens.workbench.field import UnitField
from convolens.workbench.run import Run

LAYER = "conv {} 3x3 p1 nobias | bn | relu"
STAGES = [" | ".join([LAYER.format(filters)] * 2) for filters in (16, 32, 32)]
NET = f"3x48x48 | {' | maxpool | '.join(STAGES)} | gmp | fc 8"
LAYERS = tuple(f"relu{number}" for number in range(1, 7))
SIDE_PX = 48
EPOCHS = 18
SETTINGS = (
    *PLAIN_PICTURES,
    "augment.shift=0.1",
    "batch_size=64",
    "loss.label_smoothing=0",
    "optimizer.lr=0.01",
    "optimizer.weight_decay=0.5",
)
NUM_PICTURES = 64
PICTURE = 3
MAPS = 6
TARGET_PX = 240


def tell(quick: bool) -> Story:
    """Trains one network on `shapes` and looks into it, layer by layer."""
    side = 16 if quick else SIDE_PX
    settings = (*SETTINGS, f"data.image_size={side}")
    with workplace() as folder:
        run = train(folder, "shapes", NET, epochs=1 if quick else EPOCHS, settings=settings)
        net, accuracy = run.network(), run.test["metrics"]["accuracy"]
        test = cl.load_dataset("shapes", root=folder, image_size=side).test
    pictures = prepared(run, test)
    torch.manual_seed(run.config.seed)
    fresh = build(NET, image_size=side)
    graph = cl.summarize(net, (3, side, side))
    fields = {name: cl.field(net, name, input_size=(3, side, side)) for name in LAYERS}
    strengths = {
        name: [middle(one, name, fields[name].unit, pictures) for one in (fresh, net)]
        for name in LAYERS
    }
    numbers: Numbers = {
        "accuracy": rounded(accuracy),
        "layers": {
            name: {
                "volume": list(graph.by_name[name].output[-3:]),
                "field": field.textbook.size[0],
                "stride": field.textbook.stride[0],
                "half": [pixels_of_half(s) for s in strengths[name]],
            }
            for name, field in fields.items()
            if field.textbook is not None
        },
    }
    maps = maps_of(net, pictures[PICTURE : PICTURE + 1], LAYERS)
    shown_picture = test.pictures.batch(torch.tensor([PICTURE]))[0].numpy()
    figures = {
        "depth-maps": maps_figure(maps, shown_picture),
        "depth-fields": fields_figure(fields, {name: s[1] for name, s in strengths.items()}),
    }
    return Story(numbers=numbers, figures=figures)


def prepared(run: Run, split: Split) -> Tensor:
    """The first test pictures as the network reads them."""
    indices = torch.arange(NUM_PICTURES)
    labels = run.task.targets(split, indices)
    x, _ = run.task.prepare(split.pictures.batch(indices), labels, None)
    return x


def middle(
    net: nn.Module, layer: str, unit: Sequence[int], pictures: Tensor
) -> NDArray[np.float64]:
    """How much each pixel changes a layer's middle unit. Shape: -> (H, W)"""
    return effective_field(net, layer, unit, pictures).astype(np.float64)


def pixels_of_half(strengths: NDArray[np.float64]) -> int:
    """The fewest pixels that hold half of the whole."""
    ordered = np.sort(strengths, axis=None)[::-1].cumsum()
    return int(np.searchsorted(ordered, ordered[-1] / 2)) + 1


def maps_figure(maps: Mapping[str, Tensor], picture: Pixels) -> Figure:
    """The picture, and the six strongest maps of each layer."""
    rows = []
    for name, found in maps.items():
        values = found[0].numpy()
        strongest = np.argsort(-values.max(axis=(1, 2)), kind="stable")[:MAPS]
        rows.append(
            MapRow(
                title=f"{name}: {'×'.join(map(str, values.shape))}",
                values=values[np.sort(strongest)],
            )
        )
    drawn = signed_maps(rows)
    tile = fitted(picture, 144)
    head = np.full((tile.shape[0] + MARGIN_PX, drawn.pixels.shape[1], 3), 255, np.uint8)
    head[MARGIN_PX:, MARGIN_PX : MARGIN_PX + tile.shape[1]] = tile
    caption = "A picture of shapes, and the six strongest maps that each layer makes of it."
    pixels = np.concatenate([head, drawn.pixels])
    return Figure(name="depth-maps", caption=caption, pixels=pixels)


def fields_figure(
    fields: Mapping[str, UnitField], strengths: Mapping[str, NDArray[np.float64]]
) -> Figure:
    """What the middle unit of each layer can see, framed, and how much of it counts."""
    panels = []
    for name, field in fields.items():
        one = strengths[name]
        image = Image.fromarray(heat(one, float(one.max()), TARGET_PX))
        factor = whole_factor(one.shape, TARGET_PX)
        if field.rows is not None and field.cols is not None:
            corner = (field.cols[0] * factor, field.rows[0] * factor)
            extent = [(last - first + 1) * factor for first, last in (field.cols, field.rows)]
            draw_border(image, corner, (extent[0], extent[1]), BLUE)
        panels.append(Panel(title=name, pixels=np.asarray(image)))
    caption = "What the middle unit of each layer can see (frame), and what counts (colour)."
    return Figure(name="depth-fields", caption=caption, pixels=draw_panels(panels, 3))


def share(pixels: int, side: int) -> str:
    return f"{pixels} ({100 * pixels / side**2:.0f} %)"


def lines(numbers: Numbers) -> dict[str, list[str]]:
    rows = [
        (
            name,
            "×".join(map(str, found["volume"])),
            f"{found['field']}×{found['field']}",
            found["stride"],
            *(share(half, found["field"]) for half in found["half"]),
        )
        for name, found in numbers["layers"].items()
    ]
    head = ("layer", "volume", "can see [px]", "stride [px]", "half before training [px]")
    accuracy = f"{numbers['accuracy']:.1%}".replace("%", " %")
    return {
        "fields": table((*head, "half after training [px]"), rows),
        "accuracy": [f"Its test accuracy is {accuracy}."],
    }
