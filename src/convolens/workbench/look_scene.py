"""A network and a picture that it looks at, and the figures that any task has of the two."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convolens.analysis.field import fields_of
from convolens.analysis.field.arguments import Arguments, windows_of
from convolens.errors import ConfigError
from convolens.train.files import write_bytes
from convolens.visual.feature_maps import feature_maps
from convolens.visual.figure import Figure, Pixels
from convolens.visual.layers import Layers, maps_of
from convolens.visual.receptive_field import receptive_field
from convolens.visual.saliency import unit_gradient
from convolens.visual.window_animation import Window, gif_bytes, window_animation
from convolens.workbench.look_inside import Shown, file_name


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A network and a picture that it looks at."""

    net: nn.Module
    pixels: Pixels
    x: Tensor
    layers: Layers
    last: str | None


def last_maps(layers: Layers) -> str | None:
    """The last layer with feature maps, where there is one."""
    try:
        return layers.last_spatial()
    except ConfigError:
        return None


def map_figures(scene: Scene, names: Sequence[str]) -> list[tuple[str, Figure]]:
    """The feature maps of some layers, with the names of their files."""
    maps = maps_of(scene.net, scene.x, names)
    return [
        (f"features-{file_name(name)}", feature_maps(maps[name][0].float().cpu().numpy(), name))
        for name in names
    ]


def field_figure(
    scene: Scene, layer: str
) -> tuple[tuple[int, ...], tuple[int, int], tuple[int, int], Figure]:
    """The strongest unit of a layer, and what it sees."""
    maps = maps_of(scene.net, scene.x, [layer])[layer][0]
    place = int(maps.nan_to_num(nan=-float("inf")).argmax())
    unit = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), maps.shape))
    seen = fields_of(scene.layers.trace).unit(scene.layers.value(layer), *unit[1:], channel=unit[0])
    rows, cols = ((0, 0), (0, 0)) if seen is None else (seen.rows, seen.cols)
    effective = unit_gradient(scene.net, scene.x, layer, unit)[0].float().cpu().numpy()
    return unit, rows, cols, receptive_field(scene.pixels, rows, cols, effective, layer, unit)


def window_file(scene: Scene, folder: Path) -> list[Shown]:
    """The first convolution's window sliding over its input."""
    for row in scene.layers.rows:
        for index in row.operations:
            given = Arguments(scene.layers.trace.operations[index], scene.layers.trace)
            windows = windows_of(given)
            if given.name == "convolution" and windows is not None and len(windows) == 2:
                down, across = windows
                window = Window(
                    kernel=(down.kernel, across.kernel),
                    stride=(down.stride, across.stride),
                    padding=(down.padding, across.padding),
                    dilation=(down.dilation, across.dilation),
                )
                size = given.shape(0)[2:]
                animation = window_animation((size[0], size[1]), window, row.name)
                path = folder / f"window-{file_name(row.name)}.gif"
                write_bytes(path, gif_bytes(animation))
                return [Shown(file=path, caption=animation.caption)]
    return []
