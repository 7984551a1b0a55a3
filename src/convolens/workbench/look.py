"""`look`: what a Run's network sees in a picture, as figures in a folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.analysis.field import fields_of
from convolens.analysis.field.arguments import Arguments, windows_of
from convolens.data.picture import read_as
from convolens.errors import ConfigError, near_matches
from convolens.train.files import make_folder, write_bytes
from convolens.visual.feature_maps import feature_maps
from convolens.visual.figure import Figure, Pixels, png_bytes
from convolens.visual.filters import filters
from convolens.visual.layers import Layers, layers_of, maps_of
from convolens.visual.receptive_field import receptive_field
from convolens.visual.saliency import (
    SaliencyMap,
    eigen_cam,
    grad_cam,
    gradient,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency_figure,
    unit_gradient,
)
from convolens.visual.templates import as_pictures, templates
from convolens.visual.window_animation import Window, gif_bytes, window_animation
from convolens.workbench.run import Run
from convolens.workbench.work import first_filters

_ACTIVATIONS = ("relu", "tanh", "elu", "silu", "swish", "sigmoid", "mish")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One file that was written.

    Args:
        file: where.
        caption: what to look for.
    """

    file: Path
    caption: str


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen in one picture.

    Args:
        image: the picture.
        predicted: the class that the network says, and its probability.
        asked: the class that the saliency is for.
        layer, unit: the strongest unit (channel, y, x) of the last layer with feature maps; None
            where the network has none.
        rows, cols: first and last that this unit sees.
        completeness_error: of integrated gradients, as a share of the difference that they explain.
        files: in the order in which to look at them.
    """

    image: str
    predicted: tuple[str, float]
    asked: str
    layer: str | None = None
    unit: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None
    cols: tuple[int, int] | None = None
    completeness_error: float
    files: tuple[Shown, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A network and a picture that it looks at."""

    net: nn.Module
    pixels: Pixels
    x: Tensor
    layers: Layers
    last: str | None


def look(
    run: str | Path | Run,
    image: str | Path,
    *,
    out: str | Path | None = None,
    layers: Sequence[str] = (),
    class_name: str | None = None,
    device: str | None = None,
) -> Look:
    """Draws what a Run's network sees in a picture: filters, feature maps, saliency, one field.

    Args:
        run: a Run or its folder.
        image: the picture's file.
        out: the folder for the figures; None is `figures/look-NAME` in the Run.
        layers: whose feature maps are drawn, as `summary` names them; by default the first, one in
            the middle, and the last before they are pooled away.
        class_name: the class that saliency is for, by name or number; None is the predicted one.
        device: "cpu" or "cuda"; None is the Run's.
    Returns: what was found, and the files.
    Raises:
        ConfigError: when there is no such layer or class.
        DataError: when the picture cannot be read.
        RunError: when the Run is damaged, or the folder cannot be written.
    """
    opened = Run.open(run)
    names = opened.task.class_names
    target = None if class_name is None else _class_index(class_name, names)
    pixels, _ = read_as(image, opened.format)
    # The trace of a network in PyTorch's own memory layout is seconds faster than in another.
    net = opened.network(device).to(memory_format=torch.contiguous_format)
    place = opened.plan(device).device
    x = opened.task.prepare(pixels[None].to(place), torch.zeros(1, dtype=torch.int64), None)[0]
    known = layers_of(net, x)
    scene = _Scene(net=net, pixels=pixels.numpy(), x=x, layers=known, last=_last(known))
    wanted = list(dict.fromkeys(layers)) or _few_layers(scene)
    for name in wanted:
        known.value(name)
    probabilities = _probabilities(net, x)
    predicted = int(probabilities.argmax())
    about = predicted if target is None else target
    folder = Path(out) if out is not None else opened.folder.figures / f"look-{Path(image).stem}"
    make_folder(folder)
    figures = [*_filters(scene), *_feature_maps(scene, wanted)]
    saliency, error = _saliency(scene, about, names[about])
    figures.append((saliency.name, saliency))
    unit, rows, cols = None, None, None
    if scene.last is not None:
        unit, rows, cols, figure = _field(scene, scene.last)
        figures.append((figure.name, figure))
    files = []
    for name, figure in figures:
        path = folder / f"{name}.png"
        write_bytes(path, png_bytes(figure))
        files.append(Shown(file=path, caption=figure.caption))
    files += _window(scene, folder)
    return Look(
        image=str(image),
        predicted=(names[predicted], float(probabilities[predicted])),
        asked=names[about],
        layer=scene.last,
        unit=unit,
        rows=rows,
        cols=cols,
        completeness_error=error,
        files=tuple(files),
    )


def _class_index(word: str, names: Sequence[str]) -> int:
    """The class of a name, or of a number where no class has that name."""
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    raise ConfigError(f"the Run has no class {word!r}", near_matches(word, names))


def _last(layers: Layers) -> str | None:
    """The last layer with feature maps, where there is one."""
    try:
        return layers.last_spatial()
    except ConfigError:
        return None


def _few_layers(scene: _Scene) -> list[str]:
    """The first layer with feature maps, one in the middle, and the last; or the embedding."""
    if scene.last is None:
        return [scene.layers.last_features()]
    rows = [row for row in scene.layers.spatial if row.operations]
    end = [row.name for row in rows].index(scene.last)
    middle = rows[: end + 1][end // 2 :]
    # After an activation is where a unit says yes or no.
    active = [row for row in middle if any(word in row.kind.lower() for word in _ACTIVATIONS)]
    return list(dict.fromkeys((rows[0].name, (active or middle)[0].name, scene.last)))


def _probabilities(net: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = net(x.clone())
    return output[0].float().softmax(0).cpu()


def _filters(scene: _Scene) -> list[tuple[str, Figure]]:
    """The first weights: kernels of a convolution, or templates of a linear layer."""
    for module in scene.net.modules():
        if isinstance(module, nn.Conv2d):
            weights = first_filters(scene.net)
            return [] if weights is None else [("filters", filters(weights))]
        if isinstance(module, nn.Linear):
            flat = module.weight.detach().float().cpu().numpy()
            channels, height, width = scene.pixels.shape
            if flat.shape[1] != channels * height * width:
                return []
            sets = {"first layer": as_pictures(flat, (channels, height, width))}
            return [("templates", templates(sets))]
    return []


def _feature_maps(scene: _Scene, names: Sequence[str]) -> list[tuple[str, Figure]]:
    maps = maps_of(scene.net, scene.x, names)
    return [
        (f"features-{_file_name(name)}", feature_maps(maps[name][0].float().cpu().numpy(), name))
        for name in names
    ]


def _file_name(layer: str) -> str:
    """A layer's name as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", layer) or "network"


def _saliency(scene: _Scene, target: int, class_name: str) -> tuple[Figure, float]:
    net, x = scene.net, scene.x
    height, width = x.shape[2:]

    def plain(values: Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = values[0].float().cpu().numpy()
        return array

    integrated = integrated_gradients(net, x, target)
    error = float(integrated.relative_error[0])
    slope, guided = gradient(net, x, target), guided_backprop(net, x, target)
    maps = [
        SaliencyMap(title="gradient", values=plain(slope), kind="size"),
        SaliencyMap(
            title="guided backprop",
            values=plain(guided),
            kind="size",
            note="no ReLU to guide it" if torch.equal(slope, guided) else "",
        ),
        SaliencyMap(
            title="integrated gradients",
            values=plain(integrated.attributions),
            kind="signed",
            note=f"completeness error {100 * error:.1g}%",
        ),
        SaliencyMap(title="occlusion", values=plain(occlusion(net, x, target)), kind="signed"),
    ]
    if scene.last is not None:
        for title, cam in (
            ("Grad-CAM", grad_cam(net, x, target, layer=scene.last)),
            ("Eigen-CAM", eigen_cam(net, x, layer=scene.last)),
        ):
            values = plain(cam.resized(height, width))
            note = f"{cam.layer}" if values.any() else "0 everywhere"
            maps.append(SaliencyMap(title=title, values=values, kind="overlay", note=note))
    return saliency_figure(scene.pixels, maps, class_name), error


def _field(
    scene: _Scene, layer: str
) -> tuple[tuple[int, ...], tuple[int, int], tuple[int, int], Figure]:
    """The strongest unit of a layer, and what it sees."""
    maps = maps_of(scene.net, scene.x, [layer])[layer][0]
    place = int(maps.nan_to_num(nan=-float("inf")).argmax())
    unit = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), maps.shape))
    seen = fields_of(scene.layers.trace).unit(scene.layers.value(layer), *unit[1:], channel=unit[0])
    rows, cols = ((0, 0), (0, 0)) if seen is None else (seen.rows, seen.cols)
    effective = unit_gradient(scene.net, scene.x, layer, unit)[0].float().cpu().numpy()
    return unit, rows, cols, receptive_field(scene.pixels, rows, cols, effective, layer, unit)


def _window(scene: _Scene, folder: Path) -> list[Shown]:
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
                path = folder / f"window-{_file_name(row.name)}.gif"
                write_bytes(path, gif_bytes(animation))
                return [Shown(file=path, caption=animation.caption)]
    return []
