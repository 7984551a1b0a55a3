"""Pictures that excite a unit, made by gradient ascent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.visual.asked import asked
from convolens.visual.figure import Figure, Pixels
from convolens.visual.layers import found, layers_of, watched
from convolens.visual.panels import Panel, draw_panels, fitted
from convolens.visual.text import class_labels
from convolens.visual.tiles import square_columns

_NOISE = 0.05  # of the range of a pixel, at the start
_RATE = 0.02  # likewise, by which a typical pixel moves in a step
_DECAY = 0.004  # by which it returns to the middle
_BLUR_EVERY = 4
_JITTER = 16  # the picture moves by up to a 16th of its side


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """What gradient ascent came to.

    Args:
        pictures: (M, C, H, W), as the network reads them.
        channels: the unit of each.
        before: mean activation of the unit at the start, (M,).
        after: at the end, (M,).
    """

    pictures: Tensor
    channels: tuple[int, ...]
    before: Tensor
    after: Tensor


def ascend(
    net: nn.Module,
    layer: str,
    channels: Sequence[int],
    *,
    low: Tensor,
    high: Tensor,
    size: tuple[int, int],
    steps: int = 96,
    seed: int = 0,
    batch: int = 16,
) -> Ascent:
    """Climbs from faint noise to a picture in which a channel's mean activation is great.

    x ← clamp(blur(x + η·g/rms(g) − λ·(x − middle))), where g is the gradient by a picture that is
    moved about a little. The same seed gives the same pictures, whichever other channels are asked
    for. The network is left exactly as it was found.

    Source: Simonyan, Vedaldi and Zisserman (2013), arXiv:1312.6034, section 2; blur after Yosinski
        et al. (2015), arXiv:1506.06579, section 3; jitter after Mordvintsev et al. (2015).
    Args:
        layer: as `summarize` names it, or a module; the last one asks for classes.
        channels: whose activation is raised.
        low, high: darkest and lightest value of each channel of a picture, as the network reads it.
        size: (H, W) of the picture.
        steps: of the climb.
        batch: pictures that go through the network at once.
    Shape: low and high (C,) -> pictures (M, C, H, W)
    Raises:
        ConfigError: when there is no such layer or channel, or a number is less than 1.
    """
    if steps < 1 or batch < 1 or not channels:
        raise ConfigError(
            f"steps, batch and the number of channels must be at least 1, received {steps}, "
            f"{batch} and {len(channels)}"
        )
    bottom, top = low.view(1, -1, 1, 1), high.view(1, -1, 1, 1)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, low.numel(), *size, generator=generator).to(low)
    start = (bottom + top) / 2 + _NOISE * (top - bottom) * noise
    shifts = [
        (int(y), int(x))
        for y, x in torch.randint(
            -max(1, min(size) // _JITTER),
            max(1, min(size) // _JITTER) + 1,
            (steps, 2),
            generator=generator,
        )
    ]
    number = layers_of(net, start).shape(layer)[0]
    for channel in channels:
        if not 0 <= channel < number:
            raise ConfigError(f"{layer} has no channel {channel}: it has 0 to {number - 1}")
    parts = [
        _climb(net, layer, channels[first : first + batch], start, bottom, top, shifts)
        for first in range(0, len(channels), batch)
    ]
    pictures, before, after = (torch.cat(column) for column in zip(*parts, strict=True))
    return Ascent(pictures=pictures, channels=tuple(channels), before=before, after=after)


def _climb(
    net: nn.Module,
    layer: str,
    channels: Sequence[int],
    start: Tensor,
    low: Tensor,
    high: Tensor,
    shifts: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor, Tensor]:
    x = start.repeat(len(channels), 1, 1, 1).clamp(low, high)
    middle = (low + high) / 2
    before = _activation(net, layer, channels, x)[0]
    for step, shift in enumerate(shifts):
        _, slope = _activation(net, layer, channels, x.roll(shift, (2, 3)))
        slope = slope.roll((-shift[0], -shift[1]), (2, 3))
        rms = slope.square().mean((1, 2, 3), keepdim=True).sqrt()
        x = x + _RATE * (high - low) * slope / rms.clamp(min=1e-12) - _DECAY * (x - middle)
        if step % _BLUR_EVERY == _BLUR_EVERY - 1 and step < len(shifts) - _BLUR_EVERY:
            x = _blurred(x)
        x = x.clamp(low, high)
    return x, before, _activation(net, layer, channels, x)[0]


def _activation(
    net: nn.Module, layer: str, channels: Sequence[int], pictures: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean activation of each picture's channel, and its gradient by the picture."""
    with asked(net):
        x = pictures.detach().clone().requires_grad_()
        with watched(net, [layer]) as readings:
            net(x.clone())
        reading = found(readings, layer)
        rows = torch.arange(len(channels))
        chosen = torch.zeros_like(reading.value)
        chosen[rows, list(channels)] = 1.0 / reading.value[0, 0].numel()
        mean = (reading.value * chosen).flatten(1).sum(1)
        slope = None
        if reading.edge is not None:
            (slope,) = torch.autograd.grad(
                (reading.edge,), x, grad_outputs=(chosen,), allow_unused=True
            )
    return mean, torch.zeros_like(pictures) if slope is None else slope


def _blurred(x: Tensor) -> Tensor:
    """Each pixel with a half of its neighbours across and down: weights 1, 6, 1 of 8."""
    line = x.new_tensor([1.0, 6.0, 1.0]) / 8
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel, groups=x.shape[1])


def ascent_figure(pictures: Pixels, found: Ascent, layer: str, names: Sequence[str] = ()) -> Figure:
    """Draws the pictures of gradient ascent.

    Args:
        pictures: uint8, those of `found` as a person sees them.
        names: what the layer's channels are called, where they are classes.
    Shape: pictures (M, 1 or 3, H, W) -> pixels (h, w, 3)
    """
    labels = class_labels(names)
    panels = [
        Panel(
            title=labels[channel] if labels else f"channel {channel}",
            pixels=fitted(picture, 160),
            note=f"{before:.2g} to {after:.2g}",
        )
        for picture, channel, before, after in zip(
            np.asarray(pictures), found.channels, found.before, found.after, strict=True
        )
    ]
    caption = (
        f"Pictures that excite {'classes' if labels else f'channels of {layer}'}, climbed to from "
        "noise: below each, its mean activation at the start and at the end. "
    )
    caption += (
        "They hold the colours and shapes that speak for a class, not a picture of it."
        if labels
        else "Compare with the strongest patches of the dataset: what both show is what the "
        "channel looks for."
    )
    columns = min(8, square_columns(len(panels)))
    pixels = draw_panels(panels, columns, f"{layer}: gradient ascent")
    return Figure(name="ascent", caption=caption, pixels=pixels)
