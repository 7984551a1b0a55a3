"""What a report says of a Run that segments or detects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from convolens.analysis.field import fields_of
from convolens.analysis.summarize import Graph
from convolens.data.base import Split
from convolens.report.detection import DRAWN as DETECTION
from convolens.report.detection import Level, ap_parts, size_parts
from convolens.report.parts import Heading, Part, Text
from convolens.report.picture import picture, picture_of_file
from convolens.report.segmentation import DRAWN as SEGMENTATION
from convolens.report.segmentation import iou_parts
from convolens.tasks.detect import Detect
from convolens.tasks.segment import Segment
from convolens.train.files import read_bytes
from convolens.visual.patches import layers_to_cut
from convolens.workbench.gathered import Gathered, Lacking, tried
from convolens.workbench.inside import Subject, patch_figure
from convolens.workbench.look_tasks import boxes_asked, masks_asked, saliency_of
from convolens.workbench.own_pictures import own_test_pictures

Under = Callable[[str, Callable[[], list[Part]]], list[Part]]
OF_CLASSES = ("iou_", "ap_", "ap50_")  # metrics that stand in the table of classes
_DRAWN: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "segment": SEGMENTATION,
    "detect": DETECTION,
}
# The layers whose units find objects, each once for a level.
_FINDERS = ("head.score", "rpn.objectness")
_PICTURES = 3


def task_lead(task: str, metrics: Mapping[str, float | None]) -> str:
    """The metric by which a task is judged, in words that a sentence goes on from."""
    name, words = ("miou", "mean IoU") if task == "segment" else ("map50", "mAP@.5")
    value = metrics.get(name)
    return "" if value is None else f"{words} {value:.3f} on the test pictures "


def task_results(found: Gathered, data_root: str | Path | None, under: Under) -> list[Part]:
    """The metrics, class by class, and the figures that training has drawn of the test.

    Args:
        under: puts parts below a heading, or why they cannot be had.
    """
    run, names = found.run, found.run.task.class_names
    is_detector = run.config.task == "detect"
    parts: list[Part] = []
    if not isinstance(found.test, Lacking):
        metrics = found.test["metrics"]
        parts += ap_parts(metrics, names) if is_detector else iou_parts(metrics, names)
    drawn = _DRAWN.get(run.config.task, {})
    for stem, (title, caption, look_for) in drawn.items():
        file = run.folder.figures / f"{stem}.png"

        def shown(
            file: Path = file, stem: str = stem, caption: str = caption, look_for: str = look_for
        ) -> list[Part]:
            where = f"figures/{file.name}"
            return [picture_of_file(read_bytes(file), where, stem, caption, look_for)]

        if file.is_file():
            parts += under(title, shown)
    if is_detector:

        def sizes() -> list[Part]:
            split = own_test_pictures(run, data_root)
            return _sizes(found.graph, split)

        parts += under("Objects beside receptive fields", sizes)
    return parts or [Text(text="The training has left no results yet.", tone="warning")]


def task_sight(found: Gathered, data_root: str | Path | None, under: Under) -> list[Part]:
    """What its units look for, and what speaks for a class of pixels or a box."""
    network, run = found.network, found.run
    if isinstance(network, Lacking):
        return []
    split = tried(lambda: own_test_pictures(run, data_root))
    if isinstance(split, Lacking):
        why = f"This could not be made: {split.why}"
        return [Heading(text="Patches and saliency"), Text(text=why, tone="warning")]
    pictures = split
    task = run.task
    if not isinstance(task, Segment | Detect):
        return []
    subject = Subject(
        net=network.to(memory_format=torch.contiguous_format),
        task=task,
        format=run.format,
        device=found.device,
        macs=0 if isinstance(found.graph, Lacking) else found.graph.totals.macs,
        search_macs=20e9,  # a report is made at the end of every training
    )
    title = "What speaks for a box" if isinstance(task, Detect) else "What speaks for a class"
    return [
        *under("What its units look for", lambda: _patches(subject, pictures)),
        *under(title, lambda: _saliency(subject, pictures)),
        Text(text="The same of any picture: convolens look RUN PICTURE", tone="soft"),
    ]


def _sizes(graph: Graph | Lacking, split: Split) -> list[Part]:
    """The share of objects larger than what each level's units see."""
    if isinstance(graph, Lacking):
        return [Text(text=f"This could not be made: {graph.why}", tone="warning")]
    boxes = torch.cat([torch.zeros(0, 4), *split.targets["boxes"]]).double()
    if not len(boxes):
        return [Text(text="The test has no objects.", tone="soft")]
    sides = torch.stack((boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]), dim=1)
    fields, levels = fields_of(graph.trace), []
    for row in graph.rows:
        if row.name.partition("#")[0] in _FINDERS and len(row.output) == 3:
            height, width = row.output[1:]
            seen = fields.unit(row.value, height // 2, width // 2)
            if seen is not None:
                extent = (seen.size[0], seen.size[1])
                larger = (sides > torch.tensor(extent)).any(dim=1).double().mean()
                levels.append(Level(layer=row.name, field=extent, larger=float(larger)))
    if not levels:
        text = "The units that find objects in this network see all of a picture, or a region."
        return [Text(text=text, tone="soft")]
    height_px, width_px = sides.median(dim=0).values.tolist()
    return size_parts(levels, (height_px, width_px), len(boxes))


def _patches(subject: Subject, split: Split) -> list[Part]:
    return [
        picture(patch_figure(subject, split, layer, most=6, count=8))
        for layer in layers_to_cut(subject.layers)
    ]


def _saliency(subject: Subject, split: Split) -> list[Part]:
    """A few test pictures, evenly spread, with what speaks for their surest box or their class."""
    count = min(_PICTURES, len(split))
    places = torch.arange(count) * len(split) // max(1, count)
    parts: list[Part] = []
    for place, pixels in zip(places.tolist(), split.pictures.batch(places), strict=True):
        parts += _of_picture(subject, pixels, str(split.names[place]), is_first=not parts)
    return parts


def _of_picture(subject: Subject, pixels: Tensor, name: str, *, is_first: bool) -> Sequence[Part]:
    x, task = subject.prepare(pixels[None]), subject.task
    if isinstance(task, Detect):
        said, figure, asked = boxes_asked(subject.net, task, x, pixels, None)
    elif isinstance(task, Segment):
        said, figure, asked = masks_asked(subject.net, task, x, pixels, None)
    else:
        return []
    parts: list[Part] = [Text(text=f"{name}: {said}."), picture(figure)]
    for one in asked[:1]:
        shown = picture(saliency_of(one, x, pixels.numpy()))
        parts.append(shown if is_first else replace(shown, caption=f"The same, of {one.words}."))
    return parts
