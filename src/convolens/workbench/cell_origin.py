"""How the one-pass detectors came to a detection: by a cell of a grid."""

from functools import partial
from math import exp

import torch
from torch import Tensor

from convolens.models.yolo import FIRST_SIDE, LARGEST_LOG, STRIDES, Yolo
from convolens.models.yolo_v1 import YoloV1
from convolens.workbench.asking import asking
from convolens.workbench.detection_origin import (
    Arithmetic,
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


def yolo_origin(net: Yolo, x: Tensor, row: Tensor) -> Origin:
    """The level and cell of `yolo` whose point found a detection.

    Args:
        row: x0, y0, x1, y1, score, label, as `detections` gave it.
    Shape: x (1, C, H, W), row (6,)
    """
    height, width = one_picture(x)
    label = int(row[5])
    with torch.inference_mode():
        outputs = net(x)
        limit = outputs.boxes.new_tensor([width, height] * 2)
        boxes = torch.minimum(outputs.boxes[0].clamp(min=0), limit)
        point = source_of(row, boxes, outputs.logits[0, :, label].float().sigmoid())
    level, index = 0, point
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    while index >= sizes[level][0] * sizes[level][1]:
        index -= sizes[level][0] * sizes[level][1]
        level += 1
    y, x_cell = divmod(index, sizes[level][1])
    stride = STRIDES[level]

    def logit(pictures: Tensor) -> Tensor:
        asked: Tensor = net.forward(pictures).logits[:, point, label][:, None]
        return asked

    score, box = (call_name(f"head.{name}", level) for name in ("score", "box"))
    numbers: dict[str, tuple[str, Unit]] = {"logit": (score, (label, y, x_cell))}
    numbers |= {name: (box, (i, y, x_cell)) for i, name in enumerate("abcd")}
    return Origin(
        net=asking(net, logit),
        numbers=numbers,
        main=("logit",),
        arithmetic=partial(_yolo_arithmetic, cell=(y, x_cell), stride=stride),
        place=Place(
            level=level,
            stride=stride,
            cell=(y, x_cell),
            cell_box=as_box([x_cell * stride, y * stride, (x_cell + 1) * stride, (y + 1) * stride]),
            map_layer=map_read_by(call_name("head.branches.score", level), net, x),
        ),
    )


def _yolo_arithmetic(numbers: Numbers, *, cell: tuple[int, int], stride: int) -> Arithmetic:
    """s = sigmoid(logit); the middle is p + s·(a, b), the sides are 4s·exp(c, d)."""
    logit = numbers["logit"]
    score = 1 / (1 + exp(-logit)) if logit >= 0 else exp(logit) / (1 + exp(logit))
    steps, values = [], []
    for name, letter, at in (("centre x", "a", cell[1]), ("centre y", "b", cell[0])):
        middle = (at + 0.5) * stride
        values.append(middle + stride * numbers[letter])
        formula = f"{middle:g} + {stride} × {letter} = {middle:g} + {stride} × "
        steps.append(step(name, f"{formula}{_signed(numbers[letter])}", values[-1]))
    for name, letter in (("width", "c"), ("height", "d")):
        inside = min(max(numbers[letter], -LARGEST_LOG), LARGEST_LOG)
        side = FIRST_SIDE * stride
        values.append(side * exp(inside))
        formula = f"{side:g} × exp({letter}) = {side:g} × exp({inside:.6g})"
        steps.append(step(name, formula, values[-1]))
    return Arithmetic(
        score=(step("sigmoid", f"1 / (1 + exp({_signed(-logit)}))", score),),
        box=tuple(steps),
        corners=corners_of(*values),
    )


def yolo_v1_origin(net: YoloV1, x: Tensor, row: Tensor) -> Origin:
    """The cell of `yolo_v1`, and the box of that cell, that found a detection.

    Args:
        row: x0, y0, x1, y1, score, label, as `detections` gave it.
    Shape: x (1, C, H, W), row (6,)
    """
    height, width = one_picture(x)
    label, cells, count = int(row[5]), net.num_cells, net.num_boxes
    with torch.inference_mode():
        outputs = net(x)
        limit = outputs.boxes.new_tensor([width, height] * 2)
        boxes = torch.minimum(outputs.pixels(outputs.boxes)[0].clamp(min=0), limit)
        chance = outputs.classes[0, ..., label, None].clamp(0, 1)
        scores = chance * outputs.boxes[0, ..., 4].clamp(0, 1)
        place = source_of(row, boxes.flatten(0, 2), scores.flatten())
    cell, which = divmod(place, count)
    y, x_cell = divmod(cell, cells)
    first = cell * (5 * count + outputs.classes.shape[3])

    def confident(pictures: Tensor) -> Tensor:
        given = net.forward(pictures)
        asked: Tensor = given.classes[:, y, x_cell, label] * given.boxes[:, y, x_cell, which, 4]
        return asked[:, None]

    places = {"class": first + 5 * count + label}
    places |= {
        name: first + 5 * which + i
        for i, name in enumerate(("x", "y", "√width", "√height", "confidence"))
    }
    side = net.side / cells
    return Origin(
        net=asking(net, confident),
        numbers={name: ("head.output", (at,)) for name, at in places.items()},
        main=("class", "confidence"),
        arithmetic=partial(_yolo_v1_arithmetic, cell=(y, x_cell), cell_px=side, side=net.side),
        place=Place(
            level=0,
            stride=side,
            cell=(y, x_cell),
            cell_box=as_box([x_cell * side, y * side, (x_cell + 1) * side, (y + 1) * side]),
            map_layer=map_read_by("head.flatten", net, x),
        ),
    )


def _yolo_v1_arithmetic(
    numbers: Numbers, *, cell: tuple[int, int], cell_px: float, side: int
) -> Arithmetic:
    """Pr(class | object) · confidence; the middle is in cells, the sides are squares of parts."""
    chance, sure = (min(max(numbers[name], 0.0), 1.0) for name in ("class", "confidence"))
    steps, values = [], []
    for name, key, at in (("centre x", "x", cell[1]), ("centre y", "y", cell[0])):
        values.append((at + numbers[key]) * cell_px)
        steps.append(step(name, f"({at} + {_signed(numbers[key])}) × {cell_px:g}", values[-1]))
    for name, key in (("width", "√width"), ("height", "√height")):
        values.append(numbers[key] ** 2 * side)
        steps.append(step(name, f"{_signed(numbers[key])}² × {side}", values[-1]))
    formula = f"{chance:.6g} × {sure:.6g}, each kept within 0 and 1"
    return Arithmetic(
        score=(step("class × confidence", formula, chance * sure),),
        box=tuple(steps),
        corners=corners_of(*values),
    )


def _signed(value: float) -> str:
    return f"({value:.6g})" if value < 0 else f"{value:.6g}"
