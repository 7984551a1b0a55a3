"""U-Net: a path that contracts, one that expands, and a copy from each level to its twin.

Source: Ronneberger, Fischer, Brox (2015), U-Net: Convolutional networks for biomedical image
segmentation, arXiv:1505.04597.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.entry import ModelEntry, Published
from convolens.nn.initial import he_conv

Padding = Literal["same", "mirror", "valid"]


def double_conv(in_channels: int, channels: int, *, pad: bool, norm: bool) -> nn.Sequential:
    """Two 3×3 convolutions, each followed by ReLU, or by batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before in (in_channels, channels):
        layers.append(he_conv(before, channels, 3, padding=int(pad), bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """score(merge(up(…), copy)…): each level doubles the channels and halves the side.

    Source: Ronneberger et al. (2015), figure 1. The arguments are explained at `unet`.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W); with "valid" padding less.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        width: int,
        depth: int,
        padding: Padding,
        norm: bool,
        dropout: float,
        stem_stride: int,
    ) -> None:
        super().__init__()
        self.padding = padding
        pad = padding == "same"
        widths = [width << level for level in range(depth + 1)]
        self.stem = None
        if stem_stride > 1:
            size = 2 * stem_stride - 1
            self.stem = nn.Sequential(
                he_conv(in_channels, width, size, stride=stem_stride, padding=size // 2),
                nn.ReLU(inplace=True),
            )
            in_channels = width
        self.down = nn.ModuleList(
            double_conv(before, after, pad=pad, norm=norm)
            for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * after, after, 2, stride=2) for after in reversed(widths[:-1])
        )
        self.merge = nn.ModuleList(
            double_conv(2 * after, after, pad=pad, norm=norm) for after in reversed(widths[:-1])
        )
        self.score = he_conv(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        if self.stem is not None:
            x = self.stem(x)
        inner = x.shape[2:]
        if self.padding == "mirror":
            x = mirrored(x, *(margins(side, len(self.up)) for side in inner))
        logits: Tensor = self.score(self._expand(self._contract(x)))
        if self.padding == "mirror":
            logits = logits[:, :, : inner[0], : inner[1]]
        if self.stem is not None and self.padding != "valid":
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits

    def _contract(self, x: Tensor) -> list[Tensor]:
        """The map of each level, the finest first."""
        maps: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            if level >= len(self.down) - 2:
                x = self.dropout(x)
            maps.append(x)
        return maps

    def _expand(self, maps: list[Tensor]) -> Tensor:
        x = maps.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x, copy = up(x), maps.pop()
            # Unpadded, the copy is the larger one; padded, at odd sizes, what was upsampled.
            side = [min(a, b) for a, b in zip(x.shape[2:], copy.shape[2:], strict=True)]
            x = merge(torch.cat([_middle(copy, side), x[:, :, : side[0], : side[1]]], dim=1))
        return x


def margins(side: int, depth: int) -> tuple[int, int]:
    """Pixels before and after a side, so that unpadded convolutions give all of it.

    Source: Ronneberger et al. (2015), section 3: the sizes at which every pooling gets an even one.
    Example:
        >>> margins(388, 4)
        (92, 92)
    """
    scale = 2**depth
    # A bottom map of m px comes from m·2^d + 4·(2^d − 1) px and gives (m − 4)·2^d − 4·(2^d − 1).
    bottom = -(-(side + 4 * (scale - 1)) // scale) + 4
    before = 2 * scale + 4 * (scale - 1)
    return before, bottom * scale + 4 * (scale - 1) - before - side


def mirrored(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Continues a picture beyond its border by mirroring, however far that is.

    Source: Ronneberger et al. (2015), figure 2.
    Shape: x (N, C, H, W) -> (N, C, rows + H, columns + W)
    Example:
        >>> mirrored(torch.arange(3.0).view(1, 1, 1, 3), (0, 0), (3, 2)).flatten().tolist()
        [1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0]
    """
    for axis, (before, after) in ((2, rows), (3, columns)):
        last = x.shape[axis] - 1
        place = torch.arange(-before, last + 1 + after, device=x.device)
        period = max(1, 2 * last)
        place = place.remainder(period)
        x = x.index_select(axis, torch.minimum(place, period - place) if last else 0 * place)
    return x


def unet(
    num_classes: int = 2,
    in_channels: int = 1,
    image_size: int = 572,
    *,
    width: int = 64,
    depth: int = 4,
    padding: Padding = "same",
    norm: bool = False,
    dropout: float = 0.5,
    stem_stride: int = 1,
) -> UNet:
    """U-Net: four halvings and four doublings, with 23 convolutions.

    Source: Ronneberger et al. (2015), section 2 and figure 1; the probability of dropout is that of
        the authors' public network for Caffe.
    Args:
        num_classes: K.
        in_channels: channels of the picture.
        image_size: side of the picture [px]. No weight's shape depends on it, and every other
            size works as well.
        width: channels of the first level; each level below has twice as many.
        depth: how often the side is halved; at least 1.
        padding: "same" pads every convolution, so that sizes stay; "mirror" pads none and mirrors
            the picture at its border instead, the paper's overlap of tiles; "valid" pads nothing,
            and a picture of 572 px gives 388, as in the paper's figure.
        norm: batch norm after every 3×3 convolution.
        dropout: probability of dropping a unit of the two coarsest levels while contracting.
        stem_stride: where above 1, a convolution of that stride comes first, and the logits are
            upsampled as often; for pictures whose full size costs too much.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W)
    Returns: the network, which gives logits for pictures of every size.
    Raises:
        ConfigError: when an option is not known or out of its range.
        ShapeError: when the picture is too small for "valid" padding.
    Deviates: the padding, by default; poolings of odd sides keep the last row and column.
    Example:
        >>> sum(p.numel() for p in unet().parameters())
        31030658
        >>> unet(num_classes=11, in_channels=3, width=4)(torch.zeros(1, 3, 45, 61)).shape
        torch.Size([1, 11, 45, 61])
    """
    if padding not in get_args(Padding):
        known = ", ".join(get_args(Padding))
        raise ConfigError(f"padding must be one of {known}, received {padding!r}")
    for field, value in (("width", width), ("depth", depth), ("stem_stride", stem_stride)):
        if value < 1:
            raise ConfigError(f"{field} must be at least 1, received {value}")
    least = smallest_valid(depth) * stem_stride if padding == "valid" else 1
    if image_size < least:
        raise ShapeError(
            f"a picture of {image_size} px does not fit an unpadded U-Net that halves its side "
            f"{depth} times and loses 4 px at every level: expected at least {least} px",
            "Other paddings take pictures of every size.",
        )
    return UNet(
        num_classes,
        in_channels,
        width=width,
        depth=depth,
        padding=padding,
        norm=norm,
        dropout=dropout,
        stem_stride=stem_stride,
    )


def smallest_valid(depth: int) -> int:
    """Side of the smallest picture of which unpadded convolutions leave something [px].

    Example:
        >>> smallest_valid(4)
        188
    """
    before, after = margins(1, depth)
    return before + 1 + after


def _middle(x: Tensor, side: list[int]) -> Tensor:
    top, left = ((have - want) // 2 for have, want in zip(x.shape[2:], side, strict=True))
    return x[:, :, top : top + side[0], left : left + side[1]]


_FIGURE = "Ronneberger et al. (2015), figure 1"
_VOLUMES = {
    **{f"down.{i}": (64 << i, side, side) for i, side in enumerate((568, 280, 136, 64, 28))},
    **{f"merge.{i}": (512 >> i, side, side) for i, side in enumerate((52, 100, 196, 388))},
    "score": (2, 388, 388),
}

ENTRIES = (
    ModelEntry(
        builder=unet,
        input_size=(1, 572, 572),
        description="U-Net (Ronneberger et al. 2015): contracts, expands, and copies across",
        published=(
            *(
                Published(
                    quantity="volume",
                    layer=layer,
                    value=volume,
                    source=_FIGURE,
                    options={"padding": "valid"},
                )
                for layer, volume in _VOLUMES.items()
            ),
        ),
        task="segment",
    ),
)
