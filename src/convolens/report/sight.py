"""What the network looks at: first filters, feature maps and saliency of a few pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.report.parts import Part, Text
from convolens.report.picture import picture, picture_of_file
from convolens.visual.feature_maps import feature_maps
from convolens.visual.figure import Pixels
from convolens.visual.filters import filters
from convolens.visual.layers import Layers, layers_of, maps_of
from convolens.visual.mistakes import percent
from convolens.visual.saliency import (
    SaliencyMap,
    grad_cam,
    gradient,
    integrated_gradients,
    saliency_figure,
)
from convolens.visual.templates import as_pictures, templates

_FILTERS = (
    "edges, spots and contrasts of colour: the layer has learned. Noise that looks the same before "
    "and after says that it has hardly changed; flat or equal filters, that there are too many."
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A test picture that the report shows.

    Args:
        why: what makes it worth showing.
        name: what a person knows it by.
        pixels: uint8 (1 or 3, H, W).
        true, predicted: labels.
        probability: of the predicted class.
    """

    why: str
    name: str
    pixels: Pixels
    true: int
    predicted: int
    probability: float


def chosen_examples(
    predicted: Tensor, probability: Tensor, labels: Tensor
) -> list[tuple[str, int]]:
    """The pictures to show: the surest that is right, the least sure, the surest that is wrong.

    Args:
        predicted: class of each picture, −1 where it could not be read.
    Shape: (N,) each
    Returns: why, and which; none twice.
    Example:
        >>> found = chosen_examples(
        ...     torch.tensor([0, 1, 1]), torch.tensor([0.9, 0.8, 0.6]), torch.tensor([0, 1, 0])
        ... )
        >>> found
        [('Right, and the surest', 0), ('Wrong, and the surest', 2)]
    """
    seen, right = predicted >= 0, predicted == labels
    wanted = (
        ("Right, and the surest", seen & right, probability),
        ("Wrong, and the surest", seen & ~right, probability),
        ("The least sure", seen, -probability),
    )
    found: dict[int, str] = {}
    for why, among, key in wanted:
        if bool(among.any()):
            place = int(torch.where(among, key, torch.full_like(key, -float("inf"))).argmax())
            found.setdefault(place, why)
    return [(why, place) for place, why in found.items()]


def filter_parts(net: nn.Module, image: Pixels | None, drawn: bytes | None) -> list[Part]:
    """The first filters before and after training; after alone where no picture of both is kept.

    Args:
        net: the trained network.
        image: a picture that it reads, uint8 (C, H, W), for weights as large as that.
        drawn: the PNG that training has left, with both.
    """
    if drawn is not None:
        caption = "The filters of the first convolution, before and after training, on one scale."
        return [picture_of_file(drawn, "figures/filters.png", "filters", caption, _FILTERS)]
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            weights = module.weight.detach().float().cpu().contiguous().numpy()
            note = Text(text="The filters before training were not kept in this Run.", tone="soft")
            return [picture(filters(weights), look_for=_FILTERS), note]
        if isinstance(module, nn.Linear) and image is not None:
            flat = module.weight.detach().float().cpu().numpy()
            channels, height, width = image.shape
            if flat.shape[1] == image.size and channels in (1, 3):
                sets = {"first layer": as_pictures(flat, (channels, height, width))}
                return [picture(templates(sets))]
            break
    return [Text(text="The network has no first filters that are pictures.", tone="soft")]


def map_parts(net: nn.Module, x: Tensor, example: Example) -> list[Part]:
    """The feature maps of the first, a middle and the last layer for one picture.

    Args:
        x: the picture as the network reads it, (1, C, H, W).
    """
    layers = layers_of(net, x)
    names = _few(layers)
    if not names:
        return [Text(text="The network has no layer with feature maps.", tone="soft")]
    maps = maps_of(net, x, names)
    words = f"What the network makes of {example.name}, at its first, a middle and its last layer."
    return [
        Text(text=words),
        *(picture(feature_maps(maps[name][0].float().cpu().numpy(), name)) for name in names),
    ]


def _few(layers: Layers) -> list[str]:
    try:
        last = layers.last_spatial()
    except ConfigError:  # a network without feature maps
        return []
    names = [row.name for row in layers.spatial if row.operations]
    end = names.index(last)
    return list(dict.fromkeys((names[0], names[end // 2], names[end])))


def saliency_parts(
    net: nn.Module, x: Tensor, examples: Sequence[Example], class_names: Sequence[str], steps: int
) -> list[Part]:
    """What in each picture speaks for the class that the network says.

    Args:
        x: the pictures as the network reads them, (N, C, H, W), in the order of the examples.
        steps: of the integral of the gradients.
    """
    target = torch.tensor([example.predicted for example in examples], device=x.device)
    slopes = gradient(net, x, target)
    integrated = integrated_gradients(net, x, target, steps=steps, batch=16)
    errors = integrated.relative_error.tolist()
    cams, layer = _cams(net, x, target)
    parts: list[Part] = []
    for place, example in enumerate(examples):
        maps = [
            SaliencyMap(title="gradient", values=_plain(slopes[place]), kind="size"),
            SaliencyMap(
                title="integrated gradients",
                values=_plain(integrated.attributions[place]),
                kind="signed",
                note=f"completeness error {100 * errors[place]:.1g}%",
            ),
        ]
        if cams is not None:
            values = _plain(cams[place])
            note = layer if values.any() else "0 everywhere"
            maps.append(SaliencyMap(title="Grad-CAM", values=values, kind="overlay", note=note))
        said = class_names[example.predicted]
        figure = saliency_figure(example.pixels, maps, said)
        truth = "" if example.true == example.predicted else f"; it is {class_names[example.true]}"
        sure = percent(example.probability)
        words = f"Of {example.name} the network says {said}, {sure}{truth}."
        shown = picture(figure)
        if place:  # what to look for is said once
            shown = replace(shown, caption=f"The same methods, for '{said}'.")
        parts += [Text(text=f"{example.why}. {words}"), shown]
    return parts


def _cams(net: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor | None, str]:
    """Grad-CAMs scaled to 1 each, and their layer; None where the network has no feature maps."""
    try:
        layer = layers_of(net, x).last_spatial()
    except ConfigError:
        return None, ""
    maps = grad_cam(net, x, target, layer=layer).resized(x.shape[2], x.shape[3])
    return maps, layer


def _plain(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.detach().float().cpu().numpy()
    return array
