"""What a network has learned, without any picture of the user's: figures about a Run as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.analysis.summarize import Graph
from convolens.data.base import Split
from convolens.data.picture import PictureFormat
from convolens.errors import ConfigError, DataError
from convolens.tasks.classify import Classify
from convolens.tasks.detect import Detect
from convolens.tasks.segment import Segment
from convolens.visual.ascent import ascend, ascent_figure
from convolens.visual.embedding import Method, embed, embedding, features_of
from convolens.visual.figure import Figure, Pixels
from convolens.visual.filters import filters
from convolens.visual.flow import Flow, flow
from convolens.visual.layers import Layers, is_activation, layers_of, maps_of
from convolens.visual.patches import patches_figure, strongest_patches
from convolens.visual.templates import as_pictures, linear_classifier, templates
from convolens.visual.volumes import volumes_of
from convolens.workbench.gathered import Evaluated
from convolens.workbench.work import first_filters

# Multiply-accumulates that gradient ascent may take: some seconds of one core.
_CLIMB_MACS = 300e9
_BATCH = 32
_FEWEST_UNITS, _MOST_UNITS, _MOST_CLASSES = 6, 9, 10
_MOST_PICTURES, _FEWEST_PICTURES = 2000, 60
_MOST_POINTS = 500
_MOST_STEPS, _FEWEST_STEPS = 96, 24
_TEMPLATE_PX, _TEMPLATE_PICTURES = 32, 1000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained network that is asked what it looks for.

    Args:
        net: ready to predict.
        device: where it computes.
        macs: of one picture.
        search_macs: that a search through a dataset may take, some seconds of one core.
    """

    net: nn.Module
    task: Classify | Segment | Detect
    format: PictureFormat
    device: str
    macs: int
    search_macs: float = 100e9

    def prepare(self, pixels: Tensor) -> Tensor:
        """Uint8 pictures as the network reads them."""
        return self.task.inputs(pixels.to(self.device))

    @cached_property
    def layers(self) -> Layers:
        blank = torch.zeros(1, self.format.channels, *self.format.size, dtype=torch.uint8)
        return layers_of(self.net, self.prepare(blank))

    def affordable(self, most: int) -> int:
        """How many pictures may go through the network for one figure."""
        return min(most, max(_FEWEST_PICTURES, int(self.search_macs / max(1, self.macs))))


def flow_of(
    net: nn.Module,
    x: Tensor,
    pixels: Pixels,
    graph: Graph,
    shares: Sequence[tuple[str, float]],
    *,
    width_px: float = 1200.0,
) -> Flow:
    """The network as volumes with a picture flowing through.

    Args:
        x: the picture as the network reads it.
        pixels: uint8, as a person sees it.
        graph: every number of the network.
        shares: the class names with their probabilities.
        width_px: of a row of volumes.
    Shape: x (1, C, H, W), pixels (C, H, W)
    """
    volumes = volumes_of(graph)
    maps = maps_of(net, x, [v.layer for v in volumes if v.layer])
    arrays = {name: value[0].float().cpu().numpy() for name, value in maps.items()}
    return flow(volumes, arrays, pixels, classes=shares, width_px=width_px)


def first_weights(net: nn.Module, format: PictureFormat) -> tuple[str, NDArray[np.float32]] | None:
    """The weights that read the picture and can be shown as pictures, and what they are.

    Returns: "first filters" (O, I, K, K) of a convolution, or "first layer" (O, C, H, W) of a
        linear layer; None where the first layer is neither.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            weights = first_filters(net)
            return None if weights is None else ("first filters", weights)
        if isinstance(module, nn.Linear):
            flat = module.weight.detach().float().cpu().numpy()
            size = (format.channels, *format.size)
            if flat.shape[1] != np.prod(size) or format.channels not in (1, 3):
                return None
            return "first layer", as_pictures(flat, size)
    return None


def first_figures(net: nn.Module, format: PictureFormat) -> list[Figure]:
    """The first weights as they are after training: filters or templates."""
    found = first_weights(net, format)
    if found is None:
        return []
    title, weights = found
    return [filters(weights) if title == "first filters" else templates({title: weights})]


def template_figure(subject: Subject, split: Split) -> Figure:
    """A linear classifier of the same pictures beside the first weights of the network.

    Args:
        split: what it learns from; at most 1,000 pictures, of at most 32 px.
    Raises:
        ConfigError: when the network's task is no classification.
    """
    if not isinstance(subject.task, Classify):
        raise ConfigError("a linear classifier needs one class for each picture")
    places = _spread(torch.arange(len(split)), min(_TEMPLATE_PICTURES, len(split)))
    pixels = split.pictures.batch(places).float()
    scale = _TEMPLATE_PX / max(subject.format.size)
    if scale < 1:
        size = [max(1, round(side * scale)) for side in subject.format.size]
        pixels = F.interpolate(pixels, size=size, mode="area")
    labels = subject.task.targets(split, places).numpy()
    small = pixels.round().to(torch.uint8).numpy()
    sets = {"a linear classifier": linear_classifier(small, labels, len(subject.task.class_names))}
    found = first_weights(subject.net, subject.format)
    if found is not None and found[1].shape[1] in (1, 3):
        sets[f"the network's {found[0]}"] = found[1]
    return templates(sets)


def patch_figure(
    subject: Subject,
    tested: Evaluated | Split,
    layer: str,
    channels: Sequence[int] = (),
    *,
    most: int = _MOST_UNITS,
    count: int = 9,
) -> Figure:
    """The patches of the test pictures to which channels of a layer answer most strongly.

    Args:
        tested: the pictures; those that could not be read are left out where it is known which.
        channels: none are the first.
        most: of these, how many.
        count: patches of each.
    """
    places = readable(tested, subject.affordable(_MOST_PICTURES))
    split = tested if isinstance(tested, Split) else tested.split
    found = strongest_patches(
        subject.net,
        split.pictures.select(places),
        subject.prepare,
        layer,
        channels=channels or range(min(most, subject.layers.shape(layer)[0])),
        count=count,
        batch=_BATCH,
    )
    named = {  # by their places in the whole split
        channel: [replace(patch, picture=int(places[patch.picture])) for patch in row]
        for channel, row in found.items()
    }
    return patches_figure(named, layer)


def climbed_figure(
    subject: Subject, layer: str, channels: Sequence[int] = (), names: Sequence[str] = ()
) -> Figure:
    """Pictures, made by gradient ascent, that excite channels of a layer.

    Args:
        channels: none are the first nine, or ten classes; fewer where the network is large.
        names: of the channels, where they are classes.
    """
    layer = _before_activation(subject.layers, layer)
    number = subject.layers.shape(layer)[0]
    pass_macs = 3 * max(1, subject.macs)  # a pass there and back
    most = _MOST_CLASSES if names else _MOST_UNITS
    fits = int(_CLIMB_MACS / pass_macs / _MOST_STEPS)
    wanted = list(channels) or list(range(min(number, most, max(_FEWEST_UNITS, fits))))
    steps = int(_CLIMB_MACS / pass_macs / len(wanted))
    mean = torch.tensor(subject.task.mean, device=subject.device)
    std = torch.tensor(subject.task.std, device=subject.device)
    found = ascend(
        subject.net,
        layer,
        wanted,
        low=-mean / std,
        high=(1 - mean) / std,
        size=subject.format.size,
        steps=min(_MOST_STEPS, max(_FEWEST_STEPS, steps)),
    )
    shares = found.pictures * std.view(-1, 1, 1) + mean.view(-1, 1, 1)
    pixels = (255 * shares).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return ascent_figure(pixels, found, layer, names)


def _before_activation(layers: Layers, layer: str) -> str:
    """What an activation reads: a unit that is 0 behind a ReLU has no slope to climb."""
    row = next((row for row in layers.rows if row.name == layer and row.operations), None)
    if row is None or not is_activation(row):
        return layer
    read = layers.trace.operations[row.operations[0]].inputs
    return next((r.name for r in reversed(layers.rows) if r.operations and r.value in read), layer)


def embedding_figures(
    subject: Subject, tested: Evaluated, methods: Sequence[Method] = ("pca", "t-sne")
) -> list[Figure]:
    """The test pictures laid out by what the last layer but one makes of them."""
    places = readable(tested, subject.affordable(_MOST_POINTS))
    pictures = tested.split.pictures.select(places)
    layer = subject.layers.last_features()
    values = features_of(subject.net, pictures, subject.prepare, layer, batch=_BATCH)
    pixels = pictures.batch(torch.arange(len(pictures))).numpy()
    labels = tested.labels[places].numpy()
    return [
        embedding(embed(values, method), pixels, labels, subject.task.class_names)
        for method in methods
    ]


def readable(tested: Evaluated | Split, count: int) -> Tensor:
    """At most so many places of the split, evenly spread, of pictures that could be read.

    Raises:
        DataError: when there is none.
    """
    if isinstance(tested, Split):
        return _spread(torch.arange(len(tested)), min(count, len(tested)))
    places = torch.nonzero(tested.meter.predicted >= 0).flatten()
    if not len(places):
        raise DataError("none of the test pictures can be read")
    return _spread(places, min(count, len(places)))


def _spread(places: Tensor, count: int) -> Tensor:
    return places[torch.arange(count) * len(places) // count]
