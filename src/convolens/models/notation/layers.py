"""Building each plain layer of the notation, and the volume behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal, TypeAlias

import torch
from torch import nn

from convolens.errors import ShapeError
from convolens.geometry import output_size
from convolens.models.notation.tree import Layer
from convolens.nn.bilinear import BilinearUpsample
from convolens.nn.dimensions import DIMENSIONS, Dimensions
from convolens.nn.lrn import LocalResponseNorm
from convolens.nn.maxout import Maxout
from convolens.nn.pooling import GlobalAveragePool

Volume: TypeAlias = tuple[int, ...]  # (C, *sizes) or (units,)
Built: TypeAlias = tuple[nn.Module, Volume]


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a layer stands.

    Args:
        volume: (C, *sizes) that it reads.
        filters: of a convolution whose text gives none.
        units: of an affine layer whose text gives none.
        head: units or filters, whatever the text says; None leaves them to the text.
    """

    volume: Volume
    filters: int
    units: int
    head: int | None = None

    @property
    def channels(self) -> int:
        return self.volume[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.volume[1:]

    @property
    def layers(self) -> Dimensions:
        """PyTorch's layers for as many axes as the volume has."""
        if not self.sizes:
            raise ShapeError(f"it reads a volume and gets {self.channels} numbers")
        return DIMENSIONS[len(self.sizes)]


def conv(layer: Layer, site: Site) -> Built:
    """A convolution with He's weights; 3×3 with one zero around where no window is given."""
    kind = site.layers.conv
    axes = len(site.sizes)
    depthwise = layer.word == "dwconv"
    filters = site.channels if depthwise else site.head or _count(layer, site.filters)
    groups = site.channels if depthwise else layer.groups or 1
    for name, channels in (("channels", site.channels), ("filters", filters)):
        if channels % groups:
            raise ShapeError(f"{groups} groups do not divide {channels} {name}")
    window = layer.window or (3,) * axes
    stride, dilation = _each(layer.stride, 1, axes), _each(layer.dilation, 1, axes)
    padding: tuple[int, ...] | str
    if not layer.window and layer.padding == ():
        padding = dilation  # a window of 3 then gives the size that it reads
    else:
        padding = _padding(layer, site.sizes, window, stride, dilation)
    if isinstance(padding, str):
        sizes = site.sizes
    else:
        sizes = _slide(site.sizes, window, stride, padding, dilation)
    make = partial(
        kind,
        site.channels,
        filters,
        window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias="nobias" not in layer.flags,
    )
    return _he(make), (filters, *sizes)


def deconv(layer: Layer, site: Site) -> Built:
    """A transposed convolution: (H − 1)·S − 2P + D(K − 1) + O + 1 rows."""
    kind = site.layers.conv_transpose
    axes = len(site.sizes)
    filters, groups = site.head or _count(layer, site.filters), layer.groups or 1
    for name, channels in (("channels", site.channels), ("filters", filters)):
        if channels % groups:
            raise ShapeError(f"{groups} groups do not divide {channels} {name}")
    given = layer.padding if isinstance(layer.padding, tuple) else ()
    stride, padding = _each(layer.stride, 1, axes), _each(given, 0, axes)
    dilation, added = _each(layer.dilation, 1, axes), _each(layer.output_padding, 0, axes)
    sizes = []
    for h, k, s, p, d, o in zip(
        site.sizes, layer.window, stride, padding, dilation, added, strict=True
    ):
        if o >= max(s, d):
            raise ShapeError(f"output padding {o} must be smaller than the stride {s}")
        size = (h - 1) * s - 2 * p + d * (k - 1) + o + 1
        if size < 1:
            raise ShapeError(
                f"a window of {k} px does not fit with {p} px of padding: "
                f"({h} − 1)·{s} − 2·{p} + {d}·({k} − 1) + {o} + 1 = {size} < 1"
            )
        sizes.append(size)
    make = partial(
        kind,
        site.channels,
        filters,
        layer.window,
        stride=stride,
        padding=padding,
        output_padding=added,
        groups=groups,
        bias="nobias" not in layer.flags,
        dilation=dilation,
    )
    return _he(make), (filters, *sizes)


def pool(layer: Layer, site: Site) -> Built:
    """Pooling with windows, 2×2 where none is given; the stride is the window where none is."""
    kind = site.layers.max_pool if layer.word == "maxpool" else site.layers.avg_pool
    axes = len(site.sizes)
    window = layer.window or (2,) * axes
    stride = _each(layer.stride, 0, axes) if layer.stride else window
    dilation = _each(layer.dilation, 1, axes)
    padding = _padding(layer, site.sizes, window, stride, dilation)
    if isinstance(padding, str):
        raise ShapeError(f"no padding gives {_side(window)} px windows the size that they read")
    for k, p in zip(window, padding, strict=True):
        if p > k // 2:
            raise ShapeError(f"padding {p} does not fit: it is more than half the window of {k} px")
    ceil = "ceil" in layer.flags
    sizes = _slide(site.sizes, window, stride, padding, dilation, ceil=ceil)
    if layer.word == "maxpool":
        module = kind(window, stride, padding, dilation=dilation, ceil_mode=ceil)
    else:
        module = kind(window, stride, padding, ceil_mode=ceil)
    return module, (site.channels, *sizes)


def adaptive_pool(layer: Layer, site: Site) -> Built:
    """Pooling to a given size, whatever the size before."""
    layers = site.layers
    average = layer.word == "adaptiveavgpool"
    kind = layers.adaptive_avg_pool if average else layers.adaptive_max_pool
    return kind(layer.window), (site.channels, *layer.window)


def global_pool(layer: Layer, site: Site) -> Built:
    """The mean or maximum of each channel."""
    layers = site.layers
    if layer.word == "gap":
        return GlobalAveragePool(), (site.channels,)
    return nn.Sequential(layers.adaptive_max_pool(1), nn.Flatten()), (site.channels,)


def fc(layer: Layer, site: Site) -> Built:
    """An affine layer with He's weights; what it reads is flat."""
    units = site.head or _count(layer, site.units)
    make = partial(nn.Linear, site.channels, units, bias="nobias" not in layer.flags)
    return _he(make), (units,)


def flatten(layer: Layer, site: Site) -> Built:  # noqa: ARG001  # every maker has both
    """All numbers in one row."""
    return nn.Flatten(), (prod(site.volume),)


def activation(layer: Layer, site: Site) -> Built:
    """A function of each number; softmax, of the channels."""
    number = layer.numbers[0] if layer.numbers else None
    simple: Mapping[str, Callable[[], nn.Module]] = {
        "identity": nn.Identity,
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "softmax": lambda: nn.Softmax(dim=1),
        "leakyrelu": lambda: nn.LeakyReLU(0.01 if number is None else _real(number)),
        "elu": lambda: nn.ELU(1.0 if number is None else _real(number)),
        "dropout": lambda: nn.Dropout(0.5 if number is None else _real(number)),
    }
    if layer.word == "prelu":
        slopes = _count(layer, 1)
        if slopes not in (1, site.channels):
            raise ShapeError(f"{slopes} slopes do not fit {site.channels} channels")
        return nn.PReLU(slopes), site.volume
    return simple[layer.word](), site.volume


def norm(layer: Layer, site: Site) -> Built:
    """Batch, group, layer or local response normalisation."""
    if layer.word == "lrn":
        written = [*map(_real, layer.numbers)]
        size, alpha, beta, k = written + [5, 1e-4, 0.75, 2.0][len(written) :]
        return LocalResponseNorm(int(size), alpha=alpha, beta=beta, k=k), site.volume
    if layer.word == "ln":
        return nn.LayerNorm(site.volume), site.volume
    if layer.word == "gn":
        groups = _count(layer, 1)
        if site.channels % groups:
            raise ShapeError(f"{groups} groups do not divide {site.channels} channels")
        return nn.GroupNorm(groups, site.channels), site.volume
    kind = site.layers.batch_norm if site.sizes else nn.BatchNorm1d
    return kind(site.channels), site.volume


def maxout(layer: Layer, site: Site) -> Built:
    """The maximum of neighbouring channels."""
    pieces = _count(layer, 2)
    if site.channels % pieces:
        raise ShapeError(f"{pieces} pieces do not divide {site.channels} channels")
    return Maxout(pieces), (site.channels // pieces, *site.sizes)


def upsample(layer: Layer, site: Site) -> Built:
    """Interpolation, or a transposed convolution that begins as bilinear interpolation."""
    layers = site.layers
    factor = _count(layer, 2)
    sizes = tuple(factor * size for size in site.sizes)
    if layer.word == "bilinear":
        if len(sizes) != 2:
            raise ShapeError(f"it reads a picture of two axes and gets {len(sizes)}")
        return BilinearUpsample(site.channels, factor), (site.channels, *sizes)
    mode = layer.flags[0] if layer.flags else "nearest"
    if mode not in ("nearest", layers.interpolation):
        raise ShapeError(
            f"{mode} does not fit an input of {len(sizes)} axes: use {layers.interpolation}"
        )
    return nn.Upsample(scale_factor=factor, mode=mode), (site.channels, *sizes)


Maker: TypeAlias = Callable[[Layer, Site], Built]
LAYERS: Mapping[str, Maker] = {
    "conv": conv,
    "dwconv": conv,
    "deconv": deconv,
    **dict.fromkeys(("maxpool", "avgpool"), pool),
    **dict.fromkeys(("adaptivemaxpool", "adaptiveavgpool"), adaptive_pool),
    **dict.fromkeys(("gap", "gmp"), global_pool),
    "fc": fc,
    "flatten": flatten,
    **dict.fromkeys(("bn", "gn", "ln", "lrn"), norm),
    "maxout": maxout,
    **dict.fromkeys(("upsample", "bilinear"), upsample),
    **dict.fromkeys(("identity", "relu", "leakyrelu", "prelu", "elu", "gelu"), activation),
    **dict.fromkeys(("silu", "sigmoid", "tanh", "softmax", "dropout"), activation),
}


def _he(make: Callable[..., nn.Module]) -> nn.Module:
    """The layer with weights from U(−√(6/n), √(6/n)), n inputs of a unit, and biases of zero.

    Source: He et al. (2015), arXiv:1502.01852, section 2.2.
    """
    device = torch.get_default_device()
    # PyTorch's layers draw their own weights when they are made: on meta that costs nothing.
    module = make(device="meta")
    if device.type == "meta":
        return module
    module.to_empty(device=device)
    transposed = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    mode: Literal["fan_out", "fan_in"] = "fan_out" if transposed else "fan_in"
    nn.init.kaiming_uniform_(module.get_parameter("weight"), mode=mode, nonlinearity="relu")
    bias = getattr(module, "bias", None)
    if bias is not None:
        nn.init.zeros_(bias)
    return module


def _slide(
    sizes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    *,
    ceil: bool = False,
) -> tuple[int, ...]:
    """The number of positions along each axis; with `ceil`, one more for the pixels left over."""
    after = []
    for h, k, s, p, d in zip(sizes, window, stride, padding, dilation, strict=True):
        room = h + 2 * p - d * (k - 1) - 1
        if ceil and -s < room < 0:  # the one window hangs over the end
            after.append(1)
            continue
        positions = output_size(h, k, stride=s, padding=p, dilation=d)
        # PyTorch drops a window that would begin in the padding at the end.
        after.append(positions + (ceil and room % s > 0 and positions * s < h + p))
    return tuple(after)


def _padding(
    layer: Layer,
    sizes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...] | str:
    """Zeros at each end; "same" where PyTorch must add one more at one end than at the other."""
    if layer.padding == "valid":
        return (0,) * len(window)
    if not isinstance(layer.padding, str):
        return _each(layer.padding, 0, len(window))
    padding = tuple(d * (k - 1) // 2 for k, d in zip(window, dilation, strict=True))
    wanted = tuple(-(-h // s) for h, s in zip(sizes, stride, strict=True))
    try:
        if _slide(sizes, window, stride, padding, dilation) == wanted:
            return padding
    except ShapeError:
        pass
    if max(stride) == 1:
        return "same"
    raise ShapeError(
        f"no padding that is the same at both ends takes {_side(sizes)} to {_side(wanted)} "
        f"with a window of {_side(window)} and stride {_side(stride)}"
    )


def _each(numbers: tuple[int, ...], default: int, axes: int) -> tuple[int, ...]:
    return numbers if len(numbers) == axes else (numbers or (default,)) * axes


def _count(layer: Layer, default: int) -> int:
    number = layer.numbers[0] if layer.numbers else default
    return number if isinstance(number, int) else default


def _real(number: int | float | tuple[int, int]) -> float:
    return float(number) if not isinstance(number, tuple) else float(number[0])


def _side(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))
