"""The parts of a dataset's pictures to which the units of a layer answer most strongly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.analysis.field import Fields, fields_of
from convolens.data.base import Pictures
from convolens.errors import ConfigError
from convolens.visual.asked import asked
from convolens.visual.figure import Figure, Pixels
from convolens.visual.layers import Layers, found, is_activation, layers_of, watched
from convolens.visual.panels import Panel, draw_panels, fitted
from convolens.visual.style import FRAME, GRID

_PATCH_PX = 120
_HATCH_PX = 4
_PART = 0.6


@dataclass(frozen=True, kw_only=True)
class Patch:
    """What one unit sees of one picture.

    Args:
        picture: its index in the dataset.
        unit: (channel, y, x), or (channel,) of a layer without places.
        value: what the unit gives.
        rows, cols: first and last of the picture that the unit can see, both included.
        pixels: uint8 (C, h, w), the receptive field cut out; 0 where there is no picture.
        is_padding: (h, w), where the field lies outside of the picture.
    """

    picture: int
    unit: tuple[int, ...]
    value: float
    rows: tuple[int, int]
    cols: tuple[int, int]
    pixels: Pixels
    is_padding: NDArray[np.bool_]


def layers_to_cut(layers: Layers) -> list[str]:
    """The first layer with feature maps, and the deepest whose units see a part of the picture.

    That is the last activation whose textbook field is at most 0.6 of the picture's sides; where
    there is none, a layer in the middle.
    """
    first, *rest = layers.telling()
    sides = layers.trace.values[layers.trace.inputs[0]].shape[2:]
    fields = fields_of(layers.trace)
    for row in reversed(layers.spatial):
        book = fields.textbook(row.value) if is_activation(row) and row.operations else None
        if book is not None and all(
            n <= _PART * side for n, side in zip(book.size, sides, strict=True)
        ):
            return list(dict.fromkeys((first, row.name)))
    return [first, *rest[:1]]


def strongest_patches(
    net: nn.Module,
    pictures: Pictures,
    prepare: Callable[[Tensor], Tensor],
    layer: str,
    *,
    channels: Sequence[int] | None = None,
    count: int = 9,
    batch: int = 64,
) -> dict[int, tuple[Patch, ...]]:
    """The pictures in which a channel of a layer is most active, each cut to what that unit sees.

    Of each picture only its strongest unit counts. The cut is the unit's exact receptive field;
    where the network is regular it is as large as the field of any other unit, and what lies in
    the padding is marked. The network is left exactly as it was found.

    Source: Zeiler and Fergus (2013), arXiv:1311.2901, figure 2; Girshick et al. (2013),
        arXiv:1311.2524, section 3.1.
    Args:
        pictures: uint8, of one size.
        prepare: makes them what the network reads, (B, C, H, W) on its device.
        layer: as `summarize` names it, or a module.
        channels: None is the first nine.
        count: patches for each channel.
        batch: pictures that go through the network at once.
    Returns: the patches by channel, the strongest first.
    Raises:
        ConfigError: when there is no such layer or channel, or a number is less than 1.
    """
    if count < 1 or batch < 1 or not len(pictures):
        raise ConfigError(
            "strongest patches need count and batch of at least 1 and a picture, received "
            f"{count}, {batch} and {len(pictures)} pictures"
        )
    first = prepare(pictures.batch(torch.tensor([0])))
    layers = layers_of(net, first)
    shape = layers.shape(layer)
    wanted = list(range(min(9, shape[0]))) if channels is None else list(channels)
    for channel in wanted:
        if not 0 <= channel < shape[0]:
            raise ConfigError(f"{layer} has no channel {channel}: it has 0 to {shape[0] - 1}")
    best = _search(net, pictures, prepare, layer, wanted, count, batch)
    fields = fields_of(layers.trace)
    return {
        channel: tuple(
            _cut(
                fields,
                layers,
                layer,
                pictures,
                (channel, *np.unravel_index(place, shape[1:])),
                i,
                v,
            )
            for v, i, place in best[number]
        )
        for number, channel in enumerate(wanted)
    }


def _search(
    net: nn.Module,
    pictures: Pictures,
    prepare: Callable[[Tensor], Tensor],
    layer: str,
    channels: Sequence[int],
    count: int,
    batch: int,
) -> list[list[tuple[float, int, int]]]:
    """For each channel the greatest (value, picture, place), the greatest first."""
    values, places = [], []
    with asked(net), torch.no_grad():
        for start in range(0, len(pictures), batch):
            indices = torch.arange(start, min(start + batch, len(pictures)))
            with watched(net, [layer]) as readings:
                net(prepare(pictures.batch(indices)))
            maps = found(readings, layer).value[:, list(channels)]
            maps = maps.flatten(2) if maps.dim() > 2 else maps[..., None]
            top = maps.nan_to_num(nan=-float("inf")).max(2)
            values.append(top.values.double().cpu())
            places.append(top.indices.cpu())
    value, place = torch.cat(values), torch.cat(places)
    order = value.argsort(dim=0, descending=True, stable=True)[:count]
    return [
        [(float(value[i, c]), int(i), int(place[i, c])) for i in order[:, c]]
        for c in range(len(channels))
    ]


def _cut(
    fields: Fields,
    layers: Layers,
    layer: str,
    pictures: Pictures,
    unit: tuple[int | np.intp, ...],
    index: int,
    value: float,
) -> Patch:
    picture = pictures.batch(torch.tensor([index]))[0].numpy()
    at = layers.value(layer)
    place = tuple(int(i) for i in unit)
    seen = fields.at(at, (0, *place))
    box = ((0, 0), (0, 0)) if seen is None else (seen.rows, seen.cols)
    window = _window(fields, at, place[1:], box, picture.shape[1:])
    (top, bottom), (left, right) = window
    pixels = np.zeros((len(picture), bottom - top + 1, right - left + 1), np.uint8)
    is_padding = np.ones(pixels.shape[1:], bool)
    (first_row, last_row), (first_col, last_col) = box
    inside = (
        slice(first_row - top, last_row - top + 1),
        slice(first_col - left, last_col - left + 1),
    )
    if seen is not None:
        pixels[(slice(None), *inside)] = picture[
            :, first_row : last_row + 1, first_col : last_col + 1
        ]
        is_padding[inside] = False
    return Patch(
        picture=index,
        unit=place,
        value=value,
        rows=box[0],
        cols=box[1],
        pixels=pixels,
        is_padding=is_padding,
    )


def _window(
    fields: Fields,
    value: int,
    place: Sequence[int],
    box: tuple[tuple[int, int], ...],
    size: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """The textbook window of a unit, padding included; the exact one where there is none better.

    A window larger than the picture would show little but padding.
    """
    book = fields.textbook(value)
    if book is None or len(place) != len(book.size):
        return box
    starts = [s + t * p for s, t, p in zip(book.start, book.stride, place, strict=True)]
    window = tuple((s, s + n - 1) for s, n in zip(starts, book.size, strict=True))
    fits = all(n <= side for n, side in zip(book.size, size, strict=True))
    covers = all(w[0] <= b[0] and b[1] <= w[1] for w, b in zip(window, box, strict=True))
    return window if fits and covers else box


def patches_figure(patches: Mapping[int, Sequence[Patch]], layer: str) -> Figure:
    """Draws the strongest patches, a row for each channel; padding is hatched.

    Args:
        patches: by channel, as `strongest_patches` gives them.
    Returns: a Figure; below each patch are its picture's index and the unit's value.
    Raises:
        ConfigError: when there is no patch.
    """
    panels = [
        Panel(
            title=f"channel {channel}" if number == 0 else "",
            pixels=_drawn(patch),
            note=f"#{patch.picture}: {patch.value:.3g}",
        )
        for channel, row in patches.items()
        for number, patch in enumerate(row)
    ]
    if not panels:
        raise ConfigError("there is no patch to draw")
    columns = max(len(row) for row in patches.values())
    padded = any(p.is_padding.any() for row in patches.values() for p in row)
    caption = (
        f"What makes the channels of {layer} answer most strongly: each row is one channel, each "
        "patch exactly what its unit sees (#picture: value). Look for what a row's patches share."
    )
    if padded:
        caption += " Hatched is padding, outside of the picture."
    pixels = draw_panels(panels, columns, f"{layer}: strongest patches")
    return Figure(name="patches", caption=caption, pixels=pixels)


def _drawn(patch: Patch) -> Pixels:
    large: Pixels = fitted(patch.pixels, _PATCH_PX).copy()
    height, width = large.shape[:2]
    rows, cols = np.indices((height, width))
    down, across = patch.is_padding.shape
    mask = patch.is_padding[rows * down // height, cols * across // width]
    is_line = (rows + cols) // _HATCH_PX % 2 == 0
    large[mask & is_line] = FRAME
    large[mask & ~is_line] = GRID
    return large
