"""`explain` for one detection: the cell or region that made it, and the arithmetic of its score."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from convolens.analysis.explanation import Explanation, explain_units
from convolens.analysis.field import Fields, fields_of
from convolens.data.picture import PictureFormat, fit_picture, read_picture
from convolens.data.placement import Placement, placement_of
from convolens.data.selective_search import proposals_of
from convolens.errors import ConfigError
from convolens.models.fast_rcnn import FastRCNN
from convolens.models.faster_rcnn import FasterRCNN
from convolens.models.rcnn import RCNN
from convolens.models.yolo import Yolo
from convolens.models.yolo_v1 import YoloV1
from convolens.tasks.detect import Detect
from convolens.visual.layers import layers_of
from convolens.workbench.cell_origin import yolo_origin, yolo_v1_origin
from convolens.workbench.detection_origin import Arithmetic, Box, Origin, Place, chosen_row
from convolens.workbench.region_origin import faster_rcnn_origin, given_origin

Span = tuple[int, int]
EXPLAINED = (Yolo, YoloV1, FasterRCNN, FastRCNN, RCNN)  # detectors whose parts are known


@dataclass(frozen=True, kw_only=True)
class DetectionExplanation:
    """Why a detector has found an object.

    Args:
        image: the picture's file.
        detection: its number, 0 the surest.
        label: the class.
        score: as the network gives it.
        box: x0, y0, x1, y1 in pixels of the picture itself.
        size: (h, w) of the picture [px].
        box_seen: the same box in pixels of what the network reads.
        size_seen: (H, W) of that [px].
        place: where the detector has looked, in pixels of what the network reads.
        rows, cols: first and last row and column of what the network reads on which the class's
            logits depend.
        numbers: the explanation of every number that the last layers gave, by name.
        main: which of them speak for the class.
        arithmetic: what became of them.
    """

    image: str
    detection: int
    label: str
    score: float
    box: Box
    size: tuple[int, int]
    box_seen: Box
    size_seen: tuple[int, int]
    place: Place
    rows: Span
    cols: Span
    numbers: Mapping[str, Explanation]
    main: tuple[str, ...]
    arithmetic: Arithmetic

    @property
    def computed(self) -> float:
        """The score, computed in float64 from what the last layers read."""
        return self.arithmetic.score[-1].result

    @property
    def difference(self) -> float:
        """|computed − score|."""
        return abs(self.computed - self.score)


def explain_detection(
    network: nn.Module, task: Detect, pixels: Tensor, detection: int, image: str, place: Placement
) -> DetectionExplanation:
    """The explanation of one detection.

    Args:
        network: in evaluation mode, on the CPU in float32.
        pixels: the picture as the Run's format fits it, uint8 (C, H, W).
        detection: its number, 0 the surest.
        image: the picture's name.
        place: where the picture stands in the pixels.
    Raises:
        ConfigError: when there is no such detection, or the detector is of another kind.
    """
    x = task.inputs(pixels[None])
    row, origin = detected(network, task, x, pixels, detection)
    names = list(origin.numbers)
    found = dict(
        zip(names, explain_units(origin.net, x, list(origin.numbers.values())), strict=True)
    )
    arithmetic = origin.arithmetic({name: found[name].computed for name in names})
    rows, cols = _field(origin, found, x)
    if origin.place.region is not None:
        # No rule says how fields pass a pooling of regions; but here the region is known.
        late = [name for name in names if not name.startswith(("objectness", "anchor"))]
        found |= {name: replace(found[name], rows=rows, cols=cols) for name in late}
    height, width = place.original
    limit = torch.tensor([width, height] * 2, dtype=torch.float64)
    box = torch.minimum(place.boxes_out(row[:4].double()).clamp(min=0), limit)
    return DetectionExplanation(
        image=image,
        detection=detection,
        label=task.class_names[int(row[5])],
        score=float(row[4]),
        box=tuple(box.tolist()),
        size=place.original,
        box_seen=tuple(row[:4].tolist()),
        size_seen=(x.shape[2], x.shape[3]),
        place=origin.place,
        rows=rows,
        cols=cols,
        numbers=found,
        main=origin.main,
        arithmetic=arithmetic,
    )


def detected(
    network: nn.Module, task: Detect, x: Tensor, pixels: Tensor, detection: int
) -> tuple[Tensor, Origin]:
    """A detection (6,), and how it came about.

    Args:
        x: the picture as the network reads it, (1, C, H, W).
        pixels: the same as uint8 (C, H, W), for detectors that need proposals.
    """
    rows, proposals = detections(network, task, x, pixels)
    row = chosen_row(rows, detection)
    if isinstance(network, Yolo):
        return row, yolo_origin(network, x, row)
    if isinstance(network, YoloV1):
        return row, yolo_v1_origin(network, x, row)
    if isinstance(network, FasterRCNN):
        return row, faster_rcnn_origin(network, x, row)
    if isinstance(network, FastRCNN | RCNN) and proposals is not None:
        return row, given_origin(network, x, row, proposals)
    raise ConfigError(
        f"the detections of {type(network).__name__} cannot be explained",
        "Those of yolo, yolo_v1, faster_rcnn, fast_rcnn and rcnn can.",
    )


def detections(
    network: nn.Module, task: Detect, x: Tensor, pixels: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The detections (most, 6) of one picture, and the proposals (P, 4) where they were needed."""
    proposals = None
    given = {}
    if getattr(network, "needs_proposals", False):
        proposals = proposals_of(pixels[None])[0].to(x.device)
        given["proposals"] = proposals[None]
    with torch.inference_mode():
        outputs = network(x.clone())
        rows: Tensor = outputs.detections(score=task.score, iou=task.iou, most=task.most, **given)
    return rows[0], proposals


def picture_of(image: str | Path, run_format: PictureFormat) -> tuple[Tensor, Placement]:
    """A picture as a Run's format fits it, uint8 (C, H, W), and where it stands in that."""
    picture = read_picture(image)
    place = placement_of((picture.height, picture.width), run_format)
    return fit_picture(picture, run_format), place


def _field(origin: Origin, found: Mapping[str, Explanation], x: Tensor) -> tuple[Span, Span]:
    """The rows and columns of the input on which the logits of the class depend."""
    place, (height, width) = origin.place, (x.shape[2], x.shape[3])
    if place.region is not None and place.map_layer is not None:
        layers = layers_of(origin.net, x)
        fields, value = fields_of(layers.trace), layers.value(place.map_layer)
        return _field_of_region(fields, value, place.region, (height, width))
    if place.region is not None:
        return place.region  # of the picture itself
    main = found[origin.main[0]]
    rows, cols = main.rows or (0, 0), main.cols or (0, 0)
    return (rows[0], min(rows[1], height - 1)), (cols[0], min(cols[1], width - 1))


def _field_of_region(
    fields: Fields, value: int, region: tuple[Span, Span], size: tuple[int, int]
) -> tuple[Span, Span]:
    """What the cells of a part of a map see together: what its corners see, and all between."""
    (top, bottom), (left, right) = region
    seen = [fields.unit(value, y, x) for y in (top, bottom) for x in (left, right)]
    known = [one for one in seen if one is not None]
    if not known:
        return (0, size[0] - 1), (0, size[1] - 1)
    rows, cols = [one.rows for one in known], [one.cols for one in known]
    return (min(r[0] for r in rows), max(r[1] for r in rows)), (
        min(c[0] for c in cols),
        max(c[1] for c in cols),
    )
