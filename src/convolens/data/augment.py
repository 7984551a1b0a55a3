"""Augmentation on whole batches: the random numbers, and the order in which they are used.

All random numbers come from one `torch.Generator` on the CPU, the same count in the same order
for every batch of a size, so a seed decides them whatever the device and the pictures are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from convolens.data.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)
from convolens.data.warp import Padding, cut_hole_, rectangle, shift_and_flip, warp
from convolens.errors import ConfigError, ShapeError

# SplitMix64's constants.
_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)

# One random number per picture and name. A new name goes to the end, so that the numbers of the
# others stay where they are.
_DRAWS = (
    "right",
    "down",
    "flip",
    "vertical_flip",
    "rotation",
    "scale",
    "stretch",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "hole_row",
    "hole_column",
)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How pictures are changed at random while training; 0 is off.

    Args:
        shift: farthest move, as a fraction of the side, rounded to whole pixels; [0, 1).
        flip: probability of swapping left and right; [0, 1].
        alternate: whether a picture that was flipped in one epoch is not in the next, and the
            reverse; `flip` is then the probability of being flipped in the first.
        vertical_flip: probability of swapping top and bottom; [0, 1].
        rotation: largest turn to either side; [0, 180] [°].
        scale: s scales by a factor from 1 − s to 1 + s; [0, 1).
        stretch: a makes the proportions (width : height) up to 1 + a times wider or narrower
            and keeps the area; at least 0.
        zoom_out, zoom_in: for masks and boxes, the least and the greatest factor by which a
            picture is shown larger, at a random place; 0 < zoom_out ≤ 1 ≤ zoom_in.
        brightness: b multiplies by a factor from max(0, 1 − b) to 1 + b; at least 0.
        contrast: the same, on the distance from the picture's mean grey; at least 0.
        saturation: the same, on the distance from each pixel's grey; at least 0.
        hue: farthest turn of the colour circle to either side; [0, 0.5] [turns].
        cutout: side of a square hole, as a fraction of the shorter side; [0, 1].
        mixup: α of the Beta(α, α) that blends each picture with another; at least 0.
        cutmix: α of the Beta(α, α) whose share of each picture is pasted over; at least 0.
        padding: what comes in from outside the picture: "zeros" (the fill), "reflect", "edge".
    Raises:
        ConfigError: when a value is out of its range.
    Example:
        >>> AugmentConfig(shift=0.125, flip=0.5).mixes
        False
    """

    shift: float = 0.0
    flip: float = 0.0
    alternate: bool = False
    vertical_flip: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    zoom_out: float = 1.0
    zoom_in: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    padding: Padding = "zeros"

    def __post_init__(self) -> None:
        for name in ("shift", "scale"):
            self._check(name, "number of at least 0 and below 1", below=1.0)
        for name in ("flip", "vertical_flip", "cutout"):
            self._check(name, "number from 0 to 1", most=1.0)
        for name in ("stretch", "brightness", "contrast", "saturation", "mixup", "cutmix"):
            self._check(name, "finite number of at least 0", below=math.inf)
        if not 0 < self.zoom_out <= 1 <= self.zoom_in < math.inf:
            raise ConfigError(
                "zoom_out and zoom_in must be 0 < zoom_out ≤ 1 ≤ zoom_in, received "
                f"{self.zoom_out!r} and {self.zoom_in!r}"
            )
        self._check("rotation", "number from 0 to 180 degrees", most=180.0)
        self._check("hue", "number from 0 to 0.5 turns", most=0.5)
        if not isinstance(self.alternate, bool):
            raise ConfigError(f"alternate must be true or false, received {self.alternate!r}")
        if self.alternate and not self.flip:
            raise ConfigError("alternate needs flip above 0, received flip 0")
        if self.padding not in get_args(Padding):
            raise ConfigError(
                f"padding must be one of {', '.join(get_args(Padding))}, received {self.padding!r}"
            )

    def _check(
        self, name: str, rule: str, *, most: float = math.inf, below: float | None = None
    ) -> None:
        value = getattr(self, name)
        number = isinstance(value, int | float) and value is not True
        if not (number and 0 <= value <= most and (below is None or value < below)):
            raise ConfigError(f"{name} must be a {rule}, received {value!r}")

    @property
    def warps(self) -> bool:
        """Whether pictures are resampled (rotation, scale or stretch)."""
        return bool(self.rotation or self.scale or self.stretch)

    @property
    def moves(self) -> bool:
        """Whether pixels change their place."""
        return bool(self.shift or self.flip or self.vertical_flip or self.warps)

    @property
    def recolours(self) -> bool:
        """Whether pixels change their colour."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue)

    @property
    def mixes(self) -> bool:
        """Whether pictures and their targets are mixed with others."""
        return bool(self.mixup or self.cutmix)


@dataclass(frozen=True)
class Share:
    """The pictures `first` to `last` − 1 of a batch of `total`.

    Several processes that each augment a share of a batch draw the numbers that one process
    draws for all of it.
    """

    first: int
    last: int
    total: int

    def __len__(self) -> int:
        return self.last - self.first

    def of(self, values: Tensor) -> Tensor:
        """The share's rows of what was drawn for the whole batch."""
        return values[self.first : self.last]


def alternating_flips(indices: Tensor, epoch: int, seed: int, config: AugmentConfig) -> Tensor:
    """Which pictures are flipped in an epoch, where flips alternate: f(i, e) = f(i, 0) xor (e odd).

    Two epochs in a row then show every picture from both sides, where chance would show half
    of them twice from the same one.

    Source: Jordan (2024), arXiv:2404.00498, section 3.6.
    Args:
        indices: places of the pictures in their split.
        epoch: e, counted from 0.
        seed: with the place, decides the first epoch.
        config: a picture is flipped in the first epoch with the probability `flip`.
    Shape: indices (B,) -> bool (B,)
    Example:
        >>> places, config = torch.arange(6), AugmentConfig(flip=0.5, alternate=True)
        >>> first, second = (alternating_flips(places, epoch, 0, config) for epoch in (0, 1))
        >>> bool((first ^ second).all())
        True
    """
    # SplitMix64 of seed and place: the same for a picture in whatever batch it comes.
    start = np.uint64((1 + seed * int(_ODD[0])) % 2**64)
    z = indices.cpu().numpy().astype(np.uint64) + start
    z *= _ODD[0]
    for shift, factor in ((30, _ODD[1]), (27, _ODD[2])):
        z = (z ^ (z >> np.uint64(shift))) * factor
    number = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53
    return torch.from_numpy((number < config.flip) ^ bool(epoch % 2)).to(indices.device)


def augment(
    pixels: Tensor,
    generator: torch.Generator,
    config: AugmentConfig,
    *,
    fill: float | Sequence[float] = 0.0,
    share: Share | None = None,
    flipped: Tensor | None = None,
) -> Tensor:
    """Changes every picture at random: flip, scale, turn, shift, then colour, then the hole.

    Args:
        pixels: uint8, or float 0..1; on any device, in any memory format.
        generator: on the CPU; gives 13 numbers per picture, or none where nothing is on.
        config: what to do and how much.
        fill: 0..1, one value or one per channel, for what comes in from outside and for holes.
        share: which pictures of a larger batch these are; None is all of it.
        flipped: bool (B,); which pictures are flipped. None draws it.
    Shape:   pixels (B, C, H, W) -> (B, C, H, W)
    Returns: new pictures, 0..1, in the memory format of `pixels`; uint8 becomes float32,
        floats keep their dtype.
    Raises:
        ShapeError: when `pixels` is not a batch of pictures.
    Example:
        >>> batch = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
        >>> out = augment(batch, torch.Generator().manual_seed(0), AugmentConfig(cutout=0.5))
        >>> out.shape, out.min().item(), out.max().item()
        (torch.Size([2, 1, 28, 28]), 0.0, 1.0)
    """
    if pixels.ndim != 4 or not (pixels.dtype == torch.uint8 or pixels.is_floating_point()):
        raise ShapeError(
            "pixels must be uint8 or float of shape (B, C, H, W), "
            f"received {pixels.dtype} of shape {tuple(pixels.shape)}"
        )
    if not (config.moves or config.recolours or config.cutout):
        return to_unit(pixels)
    layout = torch.contiguous_format
    if not pixels.is_contiguous() and pixels.is_contiguous(memory_format=torch.channels_last):
        layout = torch.channels_last
    whole = share or Share(0, len(pixels), len(pixels))
    numbers = torch.rand(whole.total, len(_DRAWS), generator=generator)
    numbers = whole.of(numbers).to(pixels.device)
    draws = dict(zip(_DRAWS, numbers.unbind(1), strict=True))
    if flipped is not None:
        draws["flip"] = torch.where(flipped.to(pixels.device), -1.0, 1.0)  # below flip, or not
    changed = _move(pixels, draws, config, fill) if config.moves else pixels
    changed = to_unit(changed)
    if config.recolours:
        changed = _recolour(changed, draws, config)
    if config.cutout:
        height, width = pixels.shape[2:]
        changed = cut_hole_(
            changed.clone() if changed is pixels else changed,
            row=_position(draws["hole_row"], height),
            column=_position(draws["hole_column"], width),
            side=max(1, round(config.cutout * min(height, width))),
            fill=fill,
        )
    return changed.contiguous(memory_format=layout)


def mix(
    pixels: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    config: AugmentConfig,
    *,
    share: Share | None = None,
) -> tuple[Tensor, Tensor]:
    """Mixes every picture, and its target in the same share, with another one of the batch.

    Mixup blends: λ·x + (1 − λ)·x'. Cutmix pastes a rectangle of x' over x, and λ is the share of
    pixels that remain; both draw λ per picture. Where both are on, a coin decides per batch.

    Source: Zhang et al. (2018), mixup, arXiv:1710.09412; Yun et al. (2019), CutMix,
        arXiv:1905.04899.
    Args:
        pixels: float.
        targets: float; soft labels, each row summing to 1.
        generator: on the CPU.
        config: `mixup` and `cutmix` are read; where both are 0, the inputs come back as they are.
        share: which pictures of a larger batch these are; None is all of it. The other picture
            is then one of the same share.
    Shape:   pixels (B, C, H, W), targets (B, K) -> (B, C, H, W), (B, K)
    Returns: new pictures and new soft labels.
    Raises:
        ShapeError: when `targets` are not soft labels of this batch.
    Deviates: one λ per picture rather than one per batch, so that a batch holds every share.
    """
    if not config.mixes:
        return pixels, targets
    if targets.ndim != 2 or len(targets) != len(pixels) or not targets.is_floating_point():
        raise ShapeError(
            f"targets must be soft labels, float of shape ({len(pixels)}, classes), "
            f"received {targets.dtype} of shape {tuple(targets.shape)}"
        )
    height, width = pixels.shape[2:]
    device = pixels.device
    heads = torch.rand(1, generator=generator).item() < 0.5
    whole = share or Share(0, len(pixels), len(pixels))
    partner = torch.randperm(whole.total, generator=generator)
    partner = partner[(partner >= whole.first) & (partner < whole.last)] - whole.first
    partner = partner.to(device)
    # torch offers no Beta with a generator; NumPy's is seeded from ours.
    seed = int(torch.randint(2**62, (1,), generator=generator).item())
    centre = whole.of(torch.rand(whole.total, 2, generator=generator)).to(device)
    if config.mixup and (heads or not config.cutmix):
        kept = whole.of(_beta(config.mixup, whole.total, seed)).to(device)
        other = (1 - kept).to(pixels.dtype).view(-1, 1, 1, 1)
        mixed = torch.lerp(pixels, pixels[partner], other)
    else:
        side = (1 - whole.of(_beta(config.cutmix, whole.total, seed))).sqrt().to(device)
        rows = _interval(centre[:, 0], (side * height).round().long(), height)
        columns = _interval(centre[:, 1], (side * width).round().long(), width)
        pasted = (rows[:, 1] - rows[:, 0]) * (columns[:, 1] - columns[:, 0])
        kept = 1 - pasted.float() / (height * width)
        inside = rectangle(height, width, rows=rows, columns=columns)
        mixed = torch.where(inside, pixels[partner], pixels)
    return mixed, torch.lerp(targets[partner], targets, kept.to(targets.dtype).view(-1, 1))


def to_unit(pixels: Tensor) -> Tensor:
    """Pictures as floats from 0 to 1: uint8 is divided by 255, floats come back as they are."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels


def _move(
    pixels: Tensor,
    draws: dict[str, Tensor],
    config: AugmentConfig,
    fill: float | Sequence[float],
) -> Tensor:
    """All changes of place; a resampling only where whole pixels do not do."""
    height, width = pixels.shape[2:]
    down = _whole_shift(draws["down"], config.shift, height)
    right = _whole_shift(draws["right"], config.shift, width)
    flip = draws["flip"] < config.flip
    vertical_flip = draws["vertical_flip"] < config.vertical_flip
    if not config.warps:
        return shift_and_flip(
            pixels,
            down=down,
            right=right,
            flip=flip,
            vertical_flip=vertical_flip,
            padding=config.padding,
            fill=fill,
        )
    size = 1 + config.scale * _either_side(draws["scale"])
    # Widths and heights change by √a and 1/√a, so that the area stays.
    slant = torch.exp(math.log1p(config.stretch) / 2 * _either_side(draws["stretch"]))
    return warp(
        to_unit(pixels),
        degrees=config.rotation * _either_side(draws["rotation"]),
        widen=size * slant * torch.where(flip, -1.0, 1.0),
        heighten=size / slant * torch.where(vertical_flip, -1.0, 1.0),
        down=down,
        right=right,
        padding=config.padding,
        fill=fill,
    )


def _recolour(pixels: Tensor, draws: dict[str, Tensor], config: AugmentConfig) -> Tensor:
    """Brightness, contrast, saturation and hue, in this order."""
    for amount, name, adjust in (
        (config.brightness, "brightness", adjust_brightness),
        (config.contrast, "contrast", adjust_contrast),
        (config.saturation, "saturation", adjust_saturation),
    ):
        if amount:
            low, high = max(0.0, 1 - amount), 1 + amount
            pixels = adjust(pixels, low + (high - low) * draws[name])
    if config.hue:
        pixels = adjust_hue(pixels, config.hue * _either_side(draws["hue"]))
    return pixels


def _either_side(number: Tensor) -> Tensor:
    """From [0, 1) to [−1, 1)."""
    return 2 * number - 1


def _whole_shift(number: Tensor, fraction: float, length: int) -> Tensor:
    """A whole number of pixels, each from −m to m equally likely, m = fraction·length."""
    most = min(round(fraction * length), length - 1)
    return ((number * (2 * most + 1)).long() - most).clamp_(max=most)


def _position(number: Tensor, length: int) -> Tensor:
    """A whole number from 0 to length − 1."""
    return (number * length).long().clamp_(max=length - 1)


def _interval(number: Tensor, length: Tensor, limit: int) -> Tensor:
    """(B, 2): an interval of this length around a random position, clipped to 0..limit."""
    first = _position(number, limit) - length // 2
    return torch.stack([first, first + length], dim=1).clamp_(0, limit)


def _beta(alpha: float, count: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()
