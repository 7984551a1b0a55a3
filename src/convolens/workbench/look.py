"""`look`: what a Run's network sees in a picture, as figures in a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.data.picture import read_as
from convolens.errors import ConfigError
from convolens.train.files import make_folder, write_text
from convolens.visual.figure import Figure
from convolens.visual.layers import layers_of
from convolens.visual.saliency import (
    SaliencyMap,
    eigen_cam,
    grad_cam,
    gradient,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency_figure,
)
from convolens.workbench.gathered import graph_of
from convolens.workbench.inside import first_figures, flow_of
from convolens.workbench.look_inside import RunLook, Shown, look_inside, written
from convolens.workbench.look_scene import (
    Scene,
    field_figure,
    last_maps,
    map_figures,
    window_file,
)
from convolens.workbench.look_tasks import TaskLook, class_of, look_at_task
from convolens.workbench.run import Run

__all__ = ["Look", "RunLook", "Shown", "TaskLook", "look"]


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


@overload
def look(
    run: str | Path | Run,
    image: str | Path,
    *,
    out: str | Path | None = None,
    layers: Sequence[str] = (),
    class_name: str | None = None,
    detection: int | None = None,
    device: str | None = None,
) -> Look | TaskLook: ...


@overload
def look(
    run: str | Path | Run,
    image: None = None,
    *,
    out: str | Path | None = None,
    layers: Sequence[str] = (),
    channels: Sequence[int] = (),
    data_root: str | Path | None = None,
    device: str | None = None,
) -> RunLook: ...


@overload
def look(
    run: str | Path | Run,
    image: str | Path | None,
    *,
    out: str | Path | None = None,
    layers: Sequence[str] = (),
    channels: Sequence[int] = (),
    class_name: str | None = None,
    detection: int | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
) -> Look | TaskLook | RunLook: ...


def look(
    run: str | Path | Run,
    image: str | Path | None = None,
    *,
    out: str | Path | None = None,
    layers: Sequence[str] = (),
    channels: Sequence[int] = (),
    class_name: str | None = None,
    detection: int | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
) -> Look | TaskLook | RunLook:
    """Draws what a Run's network sees in a picture; without one, what it has learned to look for.

    Of a picture: filters, feature maps, the picture flowing through the network, saliency, and the
    field of one unit; where the Run segments or detects, its masks or boxes, and saliency for a
    class of pixels or for single boxes. Without: filters, templates, the strongest patches of the
    Run's pictures, gradient ascent, an embedding, calibration and the accuracy of each class.

    Args:
        run: a Run or its folder.
        image: the picture's file.
        out: the folder for the figures; None is `figures/look-NAME` in the Run, or `figures/look`.
        layers: whose feature maps, or patches and ascents, are drawn, as `summary` names them; by
            default the first, one in the middle, and the last before they are pooled away; or of
            patches the first, and the deepest whose units see a part of the picture only.
        channels: of these layers, without a picture; by default the first nine.
        class_name: the class that saliency is for, by name or number; None is the predicted one,
            and where the Run segments, the one of most pixels but one.
        detection: of a Run that detects, the detection that saliency is for, 0 being the surest;
            None are the three surest.
        data_root: where the Run's named dataset is; None is where it was.
        device: "cpu" or "cuda"; None is the Run's.
    Returns: what was found, and the files.
    Raises:
        ConfigError: when there is no such layer, channel or class, or a word is of no use.
        DataError: when the picture cannot be read.
        RunError: when the Run is damaged, or the folder cannot be written.
    """
    opened = Run.open(run)
    if image is None:
        if class_name is not None:
            raise ConfigError("a class is asked about a picture: give one, or no class")
        if detection is not None:
            raise ConfigError("a detection is of a picture: give one, or no detection")
        return look_inside(
            opened, out=out, layers=layers, channels=channels, data_root=data_root, device=device
        )
    if channels:
        raise ConfigError("channels are chosen without a picture; of one, all maps are drawn")
    if opened.config.task != "classify":
        return look_at_task(
            opened,
            image,
            out=out,
            layers=layers,
            class_name=class_name,
            detection=detection,
            device=device,
        )
    if detection is not None:
        raise ConfigError(f"{opened.path} was trained to classify and has no detections")
    return _look_at(opened, image, out, layers, class_name, device)


def _look_at(
    run: Run,
    image: str | Path,
    out: str | Path | None,
    layers: Sequence[str],
    class_name: str | None,
    device: str | None,
) -> Look:
    task = run.classifier
    names = task.class_names
    target = None if class_name is None else class_of(class_name, names)
    pixels, _ = read_as(image, run.format)
    # The trace of a network in PyTorch's own memory layout is seconds faster than in another.
    net = run.network(device).to(memory_format=torch.contiguous_format)
    x = task.inputs(pixels[None].to(run.plan(device).device))
    known = layers_of(net, x)
    scene = Scene(net=net, pixels=pixels.numpy(), x=x, layers=known, last=last_maps(known))
    wanted = list(dict.fromkeys(layers)) or known.telling()
    for name in wanted:
        known.value(name)
    probabilities = _probabilities(net, x)
    predicted = int(probabilities.argmax())
    about = predicted if target is None else target
    folder = Path(out) if out is not None else run.folder.figures / f"look-{Path(image).stem}"
    make_folder(folder)
    figures = [(each.name, each) for each in first_figures(net, run.format)]
    figures += map_figures(scene, wanted)
    saliency, error = _saliency(scene, about, names[about])
    figures.append((saliency.name, saliency))
    unit, rows, cols = None, None, None
    if scene.last is not None:
        unit, rows, cols, figure = field_figure(scene, scene.last)
        figures.append((figure.name, figure))
    files = _flow(scene, run, probabilities, folder)
    files += [written(folder, name, figure) for name, figure in figures]
    files += window_file(scene, folder)
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


def _probabilities(net: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = net(x.clone())
    return output[0].float().softmax(0).cpu()


def _flow(scene: Scene, run: Run, probabilities: Tensor, folder: Path) -> list[Shown]:
    """The network as volumes with the picture flowing through, in two formats."""
    shares = zip(run.classifier.class_names, probabilities.tolist(), strict=True)
    drawing = flow_of(scene.net, scene.x, scene.pixels, graph_of(run), list(shares))
    path = folder / "flow.svg"
    write_text(path, drawing.svg)
    return [written(folder, "flow", drawing.figure), Shown(file=path, caption="The same as SVG.")]


def _saliency(scene: Scene, target: int, class_name: str) -> tuple[Figure, float]:
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
