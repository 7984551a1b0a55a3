"""What a Run's network has learned to look for, as figures in a folder."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from convolens.data.base import Split
from convolens.errors import ConfigError, RunError
from convolens.tasks.classify import Classify
from convolens.tasks.detect import Detect
from convolens.tasks.segment import Segment
from convolens.train.files import make_folder, read_bytes, write_bytes
from convolens.visual.calibration import calibration
from convolens.visual.figure import Figure, png_bytes
from convolens.visual.patches import layers_to_cut
from convolens.visual.per_class import per_class
from convolens.workbench.gathered import Evaluated, Lacking, gather, tried
from convolens.workbench.inside import (
    Subject,
    climbed_figure,
    embedding_figures,
    first_figures,
    patch_figure,
    template_figure,
)
from convolens.workbench.own_pictures import own_test_pictures
from convolens.workbench.run import Run

_FILTERS = "The filters of the first convolution, before and after training, on one scale."
_ONLY_CLASSIFY = (
    "There are no templates, ascents of classes, embedding, calibration and accuracy of classes: "
    "they are of networks that give each picture one class."
)
# What is drawn of a layer is named for it, so that two layers do not overwrite one another.
Named = tuple[str, Figure]


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
class RunLook:
    """What was drawn about a Run as a whole.

    Args:
        layers: whose units were asked.
        files: in the order in which to look at them.
        missing: what could not be drawn, and why, a sentence each.
    """

    layers: tuple[str, ...]
    files: tuple[Shown, ...]
    missing: tuple[str, ...] = ()


def look_inside(
    run: Run,
    *,
    out: str | Path | None,
    layers: Sequence[str],
    channels: Sequence[int],
    data_root: str | Path | None,
    device: str | None,
) -> RunLook:
    """Draws what belongs to a Run and to no picture in particular; see `look`."""
    task = run.task
    if not isinstance(task, Classify | Segment | Detect):
        raise RunError(f"there is no look inside a Run that was trained to {run.config.task}")
    found = gather(run, data_root, device)
    if isinstance(found.network, Lacking):
        raise RunError(found.network.why)
    macs = 0 if isinstance(found.graph, Lacking) else found.graph.totals.macs
    net = found.network.to(memory_format=torch.contiguous_format)
    subject = Subject(net=net, task=task, format=run.format, device=found.device, macs=macs)
    wanted = list(dict.fromkeys(layers)) or layers_to_cut(subject.layers)
    for layer in wanted:
        number = subject.layers.shape(layer)[0]
        if wrong := [channel for channel in channels if not 0 <= channel < number]:
            raise ConfigError(f"{layer} has no channel {wrong[0]}: it has 0 to {number - 1}")
    # The first filters show what gradient ascent would, and more plainly.
    climbed = wanted if layers else wanted[1:]
    folder = Path(out) if out is not None else run.folder.figures / "look"
    make_folder(folder)
    files = {shown.file: shown for shown in _filters(run, subject, folder)}
    tested: Evaluated | Split | Lacking = found.tested
    missing = []
    if not isinstance(task, Classify):
        tested = tried(lambda: own_test_pictures(run, data_root))
        missing.append(_ONLY_CLASSIFY)
    if isinstance(tested, Lacking):
        missing.append(f"Without the Run's dataset there are no {_of_dataset(task)}: {tested.why}")
        makers: Makers = _of_network(subject, climbed, channels)
    elif isinstance(tested, Split):
        makers = chain(
            _of_units(subject, tested, wanted, channels),
            _of_network(subject, climbed, channels),
        )
    else:
        makers = chain(
            _of_units(subject, tested, wanted, channels),
            _of_network(subject, climbed, channels),
            _of_test(subject, tested),
        )
    for words, make in makers:
        made = tried(make)
        if isinstance(made, Lacking):
            missing.append(f"There is no {words}: {made.why}")
        else:
            shown = [written(folder, name, figure) for name, figure in made]
            files |= {each.file: each for each in shown}
    return RunLook(layers=tuple(wanted), files=tuple(files.values()), missing=tuple(missing))


def written(folder: Path, name: str, figure: Figure) -> Shown:
    """Writes a Figure to `NAME.png`."""
    path = folder / f"{name}.png"
    write_bytes(path, png_bytes(figure))
    return Shown(file=path, caption=figure.caption)


def file_name(layer: str) -> str:
    """A layer's name as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", layer) or "network"


def _filters(run: Run, subject: Subject, folder: Path) -> list[Shown]:
    """The first filters before and after training, as training has drawn them; else as they are."""
    drawn = run.folder.figures / "filters.png"
    if drawn.is_file():
        path = folder / "filters.png"
        write_bytes(path, read_bytes(drawn))
        return [Shown(file=path, caption=_FILTERS)]
    return [written(folder, each.name, each) for each in first_figures(subject.net, subject.format)]


def _of_dataset(task: Classify | Segment | Detect) -> str:
    """What needs the Run's pictures."""
    if isinstance(task, Classify):
        return "templates, patches, embedding, calibration and accuracy of classes"
    return "patches"


Makers = Iterable[tuple[str, Callable[[], list[Named]]]]


def _of_network(subject: Subject, layers: Sequence[str], channels: Sequence[int]) -> Makers:
    """Figures that need no dataset: pictures that excite units and classes."""
    for layer in layers:

        def climbed(layer: str = layer) -> list[Named]:
            return [(f"ascent-{file_name(layer)}", climbed_figure(subject, layer, channels))]

        yield f"gradient ascent of {layer}", climbed

    if not isinstance(subject.task, Classify):
        return

    def classes() -> list[Named]:
        last = [row.name for row in subject.layers.rows if row.operations][-1]
        names = subject.task.class_names
        return [("ascent-classes", climbed_figure(subject, last, (), names))]

    yield "gradient ascent of the classes", classes


def _of_units(
    subject: Subject, tested: Evaluated | Split, layers: Sequence[str], channels: Sequence[int]
) -> Makers:
    """What the units look for in the pictures, beside what a linear classifier does."""
    if not isinstance(tested, Split):
        split = tested.split
        yield "template", lambda: [("templates", template_figure(subject, split))]
    for layer in layers:

        def patches(layer: str = layer) -> list[Named]:
            figure = patch_figure(subject, tested, layer, channels)
            return [(f"patches-{file_name(layer)}", figure)]

        yield f"patch of {layer}", patches


def _of_test(subject: Subject, tested: Evaluated) -> Makers:
    """How the whole network tells the pictures apart."""
    yield "embedding", lambda: [(f.name, f) for f in embedding_figures(subject, tested)]
    meter = tested.meter
    seen = meter.predicted >= 0
    right = (meter.predicted == tested.labels)[seen].numpy()
    sure = np.clip(meter.probability[seen].numpy(), 0.0, 1.0)  # a softmax may exceed 1
    yield "calibration", lambda: [("calibration", calibration(sure, right))]
    matrix, names = meter.confusion.numpy(), subject.task.class_names
    yield "accuracy of classes", lambda: [("per-class", per_class(matrix, names))]
