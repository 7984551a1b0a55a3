"""`look` at a picture with a network that segments or detects."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convolens.analysis.tracer import tensors_in
from convolens.errors import ConfigError, near_matches
from convolens.tasks.detect import Detect
from convolens.tasks.segment import Segment
from convolens.train.files import make_folder
from convolens.visual.boxes import draw_boxes, outlined
from convolens.visual.figure import Figure, Pixels
from convolens.visual.layers import layers_of
from convolens.visual.overlay import class_colours, overlaid
from convolens.visual.saliency import (
    SaliencyMap,
    grad_cam,
    gradient,
    guided_backprop,
    saliency_figure,
)
from convolens.workbench.asking import asking
from convolens.workbench.explain_detection import EXPLAINED, detected, detections, picture_of
from convolens.workbench.inside import first_figures
from convolens.workbench.look_inside import Shown, written
from convolens.workbench.look_scene import (
    Scene,
    field_figure,
    last_maps,
    map_figures,
    window_file,
)
from convolens.workbench.predict_boxes import SCORE
from convolens.workbench.run import Run

MOST_BOXES = 3


@dataclass(frozen=True, kw_only=True)
class TaskLook:
    """What a network that segments or detects was seen to do in one picture.

    Args:
        image: the picture.
        task: "segment" or "detect".
        said: what the network says of the picture, in words.
        asked: the class of pixels, or the detections, that saliency is for.
        files: in the order in which to look at them.
    """

    image: str
    task: str
    said: str
    asked: tuple[str, ...]
    files: tuple[Shown, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one saliency figure is about.

    Args:
        net: gives the one number that is asked about, (1, C, H, W) -> (1, 1).
        words: what that is.
        layers: of the class activation maps.
        box: on the picture, where it is about a box.
    """

    net: nn.Module
    words: str
    layers: tuple[str, ...]
    box: tuple[float, float, float, float] | None = None


def look_at_task(
    run: Run,
    image: str | Path,
    *,
    out: str | Path | None,
    layers: Sequence[str],
    class_name: str | None,
    detection: int | None,
    device: str | None,
) -> TaskLook:
    """Draws what a network that segments or detects sees in a picture; see `look`."""
    task = run.task
    if isinstance(task, Segment) and detection is not None:
        raise ConfigError(f"{run.path} was trained to segment: it has classes of pixels")
    if isinstance(task, Detect) and class_name is not None:
        raise ConfigError(
            f"{run.path} was trained to detect: saliency is for one of its detections"
        )
    pixels, _ = picture_of(image, run.format)
    # The trace of a network in PyTorch's own memory layout is seconds faster than in another.
    net = run.network(device).to(memory_format=torch.contiguous_format)
    x = task.inputs(pixels[None].to(run.plan(device).device))
    if isinstance(task, Detect):
        said, figure, asked = boxes_asked(net, task, x, pixels, detection)
    elif isinstance(task, Segment):
        said, figure, asked = masks_asked(net, task, x, pixels, class_name)
    else:
        raise ConfigError(f"there is no look at a Run that was trained to {run.config.task}")
    known = layers_of(net, x)
    # The last maps of a detector are its scores; those that a detection was read from say more.
    last = asked[0].layers[-1] if asked and asked[0].layers else last_maps(known)
    scene = Scene(net=net, pixels=pixels.numpy(), x=x, layers=known, last=last)
    telling = [*known.telling()[:-1], *([] if last is None else [last])]
    wanted = list(dict.fromkeys(layers or telling))
    for name in wanted:
        known.value(name)
    folder = Path(out) if out is not None else run.folder.figures / f"look-{Path(image).stem}"
    make_folder(folder)
    figures = [(figure.name, figure)]
    figures += [(each.name, each) for each in first_figures(net, run.format)]
    figures += map_figures(scene, wanted)
    for number, one in enumerate(asked):
        name = "saliency" if len(asked) == 1 else f"saliency-{number}"
        figures.append((name, saliency_of(one, x, scene.pixels)))
    if scene.last is not None:
        figures.append(("receptive-field", field_figure(scene, scene.last)[3]))
    files = [written(folder, name, each) for name, each in figures]
    return TaskLook(
        image=str(image),
        task=run.config.task,
        said=said,
        asked=tuple(one.words for one in asked),
        files=(*files, *window_file(scene, folder)),
    )


def boxes_asked(
    net: nn.Module, task: Detect, x: Tensor, pixels: Tensor, detection: int | None
) -> tuple[str, Figure, list[Asked]]:
    """What a detector says, the picture with its boxes, and the detections to be asked about.

    Args:
        x: the picture as the network reads it, (1, C, H, W).
        pixels: the same as uint8 (C, H, W).
        detection: which one; None takes the three surest of 0.25 and more, or the surest; none
            of a detector whose parts are not known.
    """
    rows = detections(net, task, x, pixels)[0].cpu()
    sure = rows[(rows[:, 5] >= 0) & (rows[:, 4] >= SCORE)]
    boxes, labels = sure[:, :4].numpy(), sure[:, 5].long().numpy()
    figure = draw_boxes(pixels.numpy(), boxes, labels, task.class_names, scores=sure[:, 4].numpy())
    count = len(sure)
    said = f"{count} detection{'s' * (count != 1)} of {SCORE} and more"
    if detection is not None:
        wanted = [detection]
    elif not isinstance(net, EXPLAINED):
        wanted = []
    else:
        wanted = list(range(min(MOST_BOXES, max(1, count)))) if rows[0, 5] >= 0 else []
    asked = []
    for number in wanted:
        row, origin = detected(net, task, x, pixels, number)
        x0, y0, x1, y1 = row[:4].tolist()
        name = origin.place.map_layer
        asked.append(
            Asked(
                net=origin.net,
                words=f"detection {number}: {task.class_names[int(row[5])]} {float(row[4]):.2f}",
                layers=() if name is None else (name,),
                box=(x0, y0, x1, y1),
            )
        )
    return said, figure, asked


def masks_asked(
    net: nn.Module, task: Segment, x: Tensor, pixels: Tensor, class_name: str | None
) -> tuple[str, Figure, list[Asked]]:
    """What the network says of the pixels, drawn, and the class of pixels to be asked about.

    The number asked about is by how much the class's logit exceeds the mean logit of all classes,
    averaged over the pixels that the network gives to the class, or over all pixels where it
    gives it none.

    Source: Vinogradova et al. (2020), Towards interpretable semantic segmentation via
        gradient-weighted class activation mapping, arXiv:2002.11434, equation 2.
    Args:
        x, pixels: as of `boxes_asked`.
        class_name: which class; None takes the one of most pixels after the first of all.
    Deviates: the paper takes the logit itself. A number added to all logits changes no probability,
        so that what speaks for a class may stand in the logits of the others alone.
    """
    names = task.class_names
    with torch.inference_mode():
        mask = task.predicted(net(x.clone()), x)[0].cpu()
    counts = torch.bincount(mask.flatten().long(), minlength=len(names))
    order = counts.argsort(descending=True, stable=True).tolist()
    present = [k for k in order if counts[k]]
    # The class of most pixels is mostly the background; the next one says more.
    label = present[min(1, len(present) - 1)] if class_name is None else class_of(class_name, names)
    chosen = mask == label if counts[label] else torch.ones_like(mask, dtype=torch.bool)
    where = chosen.to(x.device)

    def logit(pictures: Tensor) -> Tensor:
        outputs = net.forward(pictures)
        logits = outputs if isinstance(outputs, Tensor) else _first(outputs)
        if logits.shape[2:] != where.shape:
            logits = nn.functional.interpolate(logits, size=where.shape, mode="bilinear")
        above = logits[:, label] - logits.mean(dim=1)
        return above[:, where].mean(dim=1, keepdim=True)

    colours = class_colours(names, task.colours)
    drawn = overlaid(pixels.numpy(), mask.numpy(), colours)
    shares = ", ".join(f"{names[k]} {int(counts[k]) / mask.numel():.1%}" for k in present[:6])
    figure = Figure(name="mask", caption=f"The class of every pixel: {shares}.", pixels=drawn)
    asked = asking(net, logit)
    words = f"the pixels of {names[label]}"
    if not counts[label]:
        words = f"{names[label]}, of which the network sees no pixel: all pixels"
    return (
        shares,
        figure,
        [Asked(net=asked, words=words, layers=_coarse_and_last(asked, x, len(names)))],
    )


def class_of(word: str, names: Sequence[str]) -> int:
    """The class of a name, or of a number where no class has that name.

    Raises:
        ConfigError: when there is none.
    """
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    raise ConfigError(f"the Run has no class {word!r}", near_matches(word, names))


def saliency_of(asked: Asked, x: Tensor, pixels: Pixels) -> Figure:
    """What in the picture speaks for one number.

    Args:
        x: the picture as the network reads it, (1, C, H, W).
        pixels: as a person sees it, (C, H, W).
    """

    def plain(values: Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = values[0].float().cpu().numpy()
        return array

    height, width = x.shape[2:]
    slope, guided = gradient(asked.net, x, 0), guided_backprop(asked.net, x, 0)
    maps = [
        SaliencyMap(title="gradient", values=plain(slope), kind="size"),
        SaliencyMap(
            title="guided backprop",
            values=plain(guided),
            kind="size",
            note="no ReLU to guide it" if torch.equal(slope, guided) else "",
        ),
    ]
    for layer in asked.layers:
        values = plain(grad_cam(asked.net, x, 0, layer=layer).resized(height, width))
        note = layer if values.any() else "0 everywhere"
        maps.append(SaliencyMap(title="Grad-CAM", values=values, kind="overlay", note=note))
    shown = pixels if asked.box is None else outlined(pixels, asked.box)
    return saliency_figure(shown, maps, asked.words)


def _coarse_and_last(net: nn.Module, x: Tensor, num_classes: int) -> tuple[str, ...]:
    """The last layer of the coarsest maps, and the last layer of maps, scores of classes left out.

    Grad-CAM of the coarsest maps says what the network has understood, that of the last ones where
    it draws the border.
    """
    layers = layers_of(net, x)
    rows = [row for row in layers.spatial if row.operations]
    features = [row for row in rows if row.output[0] != num_classes] or rows
    if not features:
        return ()
    least = min(row.output[1] * row.output[2] for row in features)
    coarse = [row.name for row in features if row.output[1] * row.output[2] == least]
    return tuple(dict.fromkeys((coarse[-1], features[-1].name)))


def _first(outputs: object) -> Tensor:
    """The network's own logits of several outputs."""
    return next(iter(tensors_in(outputs)))
