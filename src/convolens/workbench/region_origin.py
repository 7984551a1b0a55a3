"""How the detectors that look at regions came to a detection: by a proposal, and its anchor."""

from functools import partial
from math import ceil, exp, floor

import torch
from torch import Tensor

from convolens.models.fast_rcnn import POOLED_SIDE, FastRCNN
from convolens.models.faster_rcnn import FasterRCNN, pyramid_level
from convolens.models.rcnn import RCNN, REGIONS_AT_ONCE
from convolens.nn.box_coding import LARGEST_LOG_SCALE, REGION, clip_boxes, decode_boxes
from convolens.nn.region_warp import CONTEXT
from convolens.workbench.asking import asking
from convolens.workbench.detection_origin import (
    Arithmetic,
    Box,
    Numbers,
    Origin,
    Place,
    Unit,
    as_box,
    call_name,
    corners_of,
    map_read_by,
    one_picture,
    source_of,
    step,
)

OFFSETS = ("dx", "dy", "dw", "dh")


def faster_rcnn_origin(net: FasterRCNN, x: Tensor, row: Tensor) -> Origin:
    """The proposal of `faster_rcnn` that became a detection, and the anchor that it came from.

    Args:
        row: x0, y0, x1, y1, score, label, as `detections` gave it.
    Shape: x (1, C, H, W), row (6,)
    """
    size, label = one_picture(x), int(row[5])
    with torch.inference_mode():
        outputs = net(x)
        found = outputs.found or net.look(outputs)
        proposal = _proposal(found.proposals[0], found.logits[0], found.offsets[0], row, size)
        anchors, counts = net.anchors_of(outputs.maps)
        boxes = clip_boxes(decode_boxes(outputs.offsets[0], anchors), size)
        apart = (boxes - proposal).abs().amax(dim=1)
        near = apart <= apart.min() + 1e-3
        index = int(outputs.objectness[0].masked_fill(~near, -torch.inf).argmax())
        levels = len(net.body.strides)
        pooled = int(pyramid_level(proposal[None], net.strides[0], levels)) if levels > 1 else 0
    anchor, level = as_box(anchors[index]), 0
    while index >= counts[level]:
        index, level = index - counts[level], level + 1
    cell, shape = divmod(index, len(net.shapes[level]))
    y, x_cell = divmod(cell, outputs.maps[level].shape[3])

    def logit(pictures: Tensor) -> Tensor:
        maps = net.body(pictures)
        maps = maps if net.pyramid is None else net.pyramid(maps)
        net.rpn(maps)
        logits, _ = net.look_at(maps, [proposal[None].to(pictures.device)])
        return logits[:, label][:, None]

    stride = net.strides[level]
    objectness = (call_name("rpn.objectness", level), (shape, y, x_cell))
    numbers: dict[str, tuple[str, Unit]] = {"objectness": objectness}
    offset = call_name("rpn.offset", level)
    numbers |= {
        f"anchor {name}": (offset, (4 * shape + i, y, x_cell)) for i, name in enumerate(OFFSETS)
    }
    asked = asking(net, logit)
    map_size = (outputs.maps[pooled].shape[2], outputs.maps[pooled].shape[3])
    return Origin(
        net=asked,
        numbers=numbers | _head_numbers("head.", label, net.head.num_classes),
        main=(f"logit {label}",),
        arithmetic=partial(
            _region_arithmetic,
            label=label,
            num_classes=net.head.num_classes,
            proposal=as_box(proposal),
            anchor=anchor,
        ),
        place=Place(
            level=level,
            stride=stride,
            cell=(y, x_cell),
            cell_box=as_box([x_cell * stride, y * stride, (x_cell + 1) * stride, (y + 1) * stride]),
            anchor=anchor,
            proposal=as_box(proposal),
            region=aligned_cells(as_box(proposal), net.strides[pooled], map_size),
            map_layer=map_read_by(call_name("rpn.conv", pooled), asked, x),
        ),
    )


def given_origin(net: FastRCNN | RCNN, x: Tensor, row: Tensor, proposals: Tensor) -> Origin:
    """The proposal of selective search that `fast_rcnn` or `rcnn` made a detection of.

    Args:
        row: x0, y0, x1, y1, score, label, as `detections` gave it.
    Shape: x (1, C, H, W), row (6,), proposals (P, 4)
    """
    size, label = one_picture(x), int(row[5])
    pooled = isinstance(net, FastRCNN)
    with torch.inference_mode():
        maps = net.body(x)[0] if isinstance(net, FastRCNN) else x
        parts = [net.look_at(maps, [some]) for some in torch.split(proposals, REGIONS_AT_ONCE)]
        logits, offsets = (torch.cat(part) for part in zip(*parts, strict=True))
        proposal = _proposal(proposals, logits, offsets, row, size)

    def logit(pictures: Tensor) -> Tensor:
        features = net.body(pictures)[0] if isinstance(net, FastRCNN) else pictures
        given, _ = net.look_at(features, [proposal[None].to(pictures.device)])
        return given[:, label][:, None]

    asked = asking(net, logit)
    num_classes = net.head.num_classes if isinstance(net, FastRCNN) else net.num_classes
    if isinstance(net, RCNN):
        x0, y0, x1, y1 = as_box(proposal)
        reach = CONTEXT / (1 - 2 * CONTEXT)  # what surrounds the region is warped with it
        across, down = reach * (x1 - x0), reach * (y1 - y0)
        grown = (x0 - across, y0 - down, x1 + across, y1 + down)
        place = Place(
            proposal=as_box(proposal),
            region=aligned_cells(grown, 1.0, size, bins=net.region_size, points=None),
        )
    if isinstance(net, FastRCNN):
        stride, map_size = net.body.strides[0], (maps.shape[2], maps.shape[3])
        place = Place(
            level=0,
            stride=stride,
            proposal=as_box(proposal),
            region=pooled_cells(as_box(proposal), stride, map_size),
            map_layer=map_read_by("roi_pool", asked, x),
        )
    return Origin(
        net=asked,
        numbers=_head_numbers("head." if pooled else "", label, num_classes),
        main=(f"logit {label}",),
        arithmetic=partial(
            _region_arithmetic,
            label=label,
            num_classes=num_classes,
            proposal=as_box(proposal),
            anchor=None,
        ),
        place=place,
    )


def aligned_cells(
    box: Box,
    stride: float,
    map_size: tuple[int, int],
    *,
    bins: int = POOLED_SIDE,
    points: int | None = 2,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row, first and last column of the cells that RoIAlign interpolates between.

    The outermost points lie 1 / (2·points) of a bin inside the region, half a cell up and left.

    Source: He et al. (2017), Mask R-CNN, arXiv:1703.06870, section 3.
    Args:
        box: the region, xyxy [px].
        bins: along each side of what comes out.
        points: along each side of a bin; None is one for each cell that the bin is long.
    """
    spans = []
    for first, last, count in ((box[1], box[3], map_size[0]), (box[0], box[2], map_size[1])):
        begin, end = first / stride - 0.5, last / stride - 0.5
        inset = (end - begin) / bins / (2 * (points or max(1, ceil((end - begin) / bins))))
        low, high = (min(max(at, 0.0), count - 1) for at in (begin + inset, end - inset))
        spans.append((floor(low), min(floor(high) + 1, count - 1) if high > low else floor(high)))
    return spans[0], spans[1]


def pooled_cells(
    box: Box, stride: float, map_size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row, first and last column of the cells that RoI pooling looks at.

    Source: Girshick (2015), Fast R-CNN, arXiv:1504.08083, section 2.1.
    """
    spans = []
    for first, last, count in ((box[1], box[3], map_size[0]), (box[0], box[2], map_size[1])):
        begin, end = floor(first / stride + 0.5), floor(last / stride + 0.5)
        spans.append((min(max(begin, 0), count - 1), min(max(end, 0), count - 1)))
    return spans[0], spans[1]


def _proposal(
    boxes: Tensor, logits: Tensor, offsets: Tensor, row: Tensor, size: tuple[int, int]
) -> Tensor:
    """The proposal (4,) of which a detection was made."""
    label = int(row[5])
    decoded = clip_boxes(decode_boxes(offsets[:, label], boxes, REGION), size)
    return boxes[source_of(row, decoded, logits.float().softmax(dim=1)[:, label])]


def _head_numbers(prefix: str, label: int, num_classes: int) -> dict[str, tuple[str, Unit]]:
    """The logit of every class and of the background, and the offsets of the class's box."""
    logits: dict[str, tuple[str, Unit]] = {
        f"logit {i}": (f"{prefix}score", (i,)) for i in range(num_classes + 1)
    }
    return logits | {name: (f"{prefix}offset", (4 * label + i,)) for i, name in enumerate(OFFSETS)}


def _region_arithmetic(
    numbers: Numbers, *, label: int, num_classes: int, proposal: Box, anchor: Box | None
) -> Arithmetic:
    """Softmax over classes and background; the box from the proposal by the class's offsets."""
    logits = [numbers[f"logit {i}"] for i in range(num_classes + 1)]
    highest = max(logits)
    total = sum(exp(value - highest) for value in logits)
    score = exp(logits[label] - highest) / total
    formula = (
        f"exp({logits[label]:.6g} - {_signed(highest)}) / {total:.6g}, "
        f"the sum of all {num_classes + 1}"
    )
    steps = [step("softmax", formula, score)]
    if anchor is not None:
        logit = numbers["objectness"]
        formula = f"of the anchor: 1 / (1 + exp({_signed(-logit)}))"
        steps.insert(0, step("objectness", formula, 1 / (1 + exp(-logit))))
    x0, y0, x1, y1 = proposal
    steps_of_box, values = [], []
    for name, offset, weight, low, high in (
        ("centre x", "dx", REGION[0], x0, x1),
        ("centre y", "dy", REGION[1], y0, y1),
    ):
        middle, side = (low + high) / 2, high - low
        values.append(middle + numbers[offset] / weight * side)
        formula = f"{middle:.6g} + {_signed(numbers[offset])} / {weight:g} × {side:.6g}"
        steps_of_box.append(step(name, formula, values[-1]))
    for name, offset, weight, low, high in (
        ("width", "dw", REGION[2], x0, x1),
        ("height", "dh", REGION[3], y0, y1),
    ):
        inside = min(numbers[offset] / weight, LARGEST_LOG_SCALE)
        values.append((high - low) * exp(inside))
        formula = f"{high - low:.6g} × exp({_signed(numbers[offset])} / {weight:g})"
        steps_of_box.append(step(name, formula, values[-1]))
    return Arithmetic(score=tuple(steps), box=tuple(steps_of_box), corners=corners_of(*values))


def _signed(value: float) -> str:
    return f"({value:.6g})" if value < 0 else f"{value:.6g}"
