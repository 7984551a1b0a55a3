"""The explanation of a detection as JSON, as text, and as what is drawn of it."""

from collections.abc import Iterator
from typing import Any

from convolens.analysis.explanation import Explanation, Step, as_json, text_of
from convolens.visual.detection import Mark, Sum
from convolens.visual.style import BLUE, GREEN, PURPLE, SOFT, VERMILLION
from convolens.workbench.detection_origin import Box
from convolens.workbench.explain_detection import DetectionExplanation


def detection_as_json(found: DetectionExplanation) -> dict[str, Any]:
    """The explanation in plain lists, numbers and words; terms of the main numbers only."""
    place = found.place
    region = None
    if place.region is not None:
        region = {"rows": list(place.region[0]), "cols": list(place.region[1])}
    return {
        "image": found.image,
        "detection": found.detection,
        "label": found.label,
        "score": found.score,
        "computed": found.computed,
        "difference": found.difference,
        "box": list(found.box),
        "size": list(found.size),
        "seen": {
            "size": list(found.size_seen),
            "box": list(found.box_seen),
            "level": place.level,
            "stride": place.stride,
            "cell": _listed(place.cell),
            "cell_box": _listed(place.cell_box),
            "anchor": _listed(place.anchor),
            "proposal": _listed(place.proposal),
            "map": place.map_layer,
            "region": region,
            "field": {"rows": list(found.rows), "cols": list(found.cols)},
        },
        "numbers": {name: _number(found) for name, found in found.numbers.items()},
        "score_steps": [_step(one) for one in found.arithmetic.score],
        "box_steps": [_step(one) for one in found.arithmetic.box],
        "explanations": {name: as_json(found.numbers[name]) for name in found.main},
    }


def detection_text(found: DetectionExplanation) -> str:
    """The explanation for a terminal."""
    return "\n".join(_lines(found))


def drawing_of(
    found: DetectionExplanation,
) -> tuple[list[Mark], list[Sum], list[str], str]:
    """What `detection_figure` draws: rectangles, sums, lines and the title."""
    place, (rows, cols) = found.place, (found.rows, found.cols)
    field: Box = (cols[0], rows[0], cols[1] + 1, rows[1] + 1)
    size = f"{rows[1] - rows[0] + 1}×{cols[1] - cols[0] + 1} px"
    marks = [Mark(name=f"what the class's logits depend on, {size}", box=field, colour=BLUE)]
    if place.cell is not None and place.cell_box is not None:
        name = f"cell ({place.cell[0]}, {place.cell[1]}), stride {place.stride:g} px"
        marks.append(Mark(name=name, box=place.cell_box, colour=GREEN))
    if place.anchor is not None:
        marks.append(Mark(name="its anchor", box=place.anchor, colour=PURPLE))
    if place.proposal is not None:
        marks.append(Mark(name="the proposal", box=place.proposal, colour=SOFT))
    marks.append(Mark(name="the detection", box=found.box_seen, colour=VERMILLION))
    sums = [Sum(name=name, explanation=found.numbers[name]) for name in found.main]
    lines = [
        *(f"{one.name}: {one.formula} = {one.result:.6g}" for one in found.arithmetic.score),
        f"the network's score: {found.score:.9g}, which differs by {found.difference:.2g}",
        *(f"{one.name}: {one.formula} = {one.result:.6g}" for one in found.arithmetic.box),
    ]
    title = f"detection {found.detection}: {found.label} {found.score:.3f}"
    return marks, sums, lines, title


def _lines(found: DetectionExplanation) -> Iterator[str]:
    place = found.place
    yield (
        f"{found.image}, detection {found.detection}: {found.label} {found.score:.6g}, box "
        f"{_box(found.box)}"
    )
    height, width = found.size_seen
    yield f"  the network reads {height}×{width} px; there the box is {_box(found.box_seen)}"
    if place.cell is not None:
        what = "anchor of the cell" if place.anchor is not None else "cell"
        yield (
            f"  {what} in row {place.cell[0]}, column {place.cell[1]} of level {place.level} "
            f"(stride {place.stride:g}): pixels {_box(place.cell_box)}"
        )
    if place.anchor is not None:
        yield f"  anchor {_box(place.anchor)}"
    if place.proposal is not None:
        yield f"  proposal {_box(place.proposal)}"
    if place.region is not None and place.map_layer is not None:
        (top, bottom), (left, right) = place.region
        yield (
            f"  pooled from rows {top} to {bottom} and columns {left} to {right} of "
            f"{place.map_layer}"
        )
    yield (
        f"  depends on rows {found.rows[0]} to {found.rows[1]} and columns {found.cols[0]} to "
        f"{found.cols[1]} of what the network reads"
    )
    for name in found.main:
        yield ""
        yield f"{name}:"
        yield from ("  " + line for line in text_of(found.numbers[name]).splitlines())
    yield ""
    yield from (_line(one) for one in found.arithmetic.score)
    yield f"{'network':<18} {found.score:.9g}, which differs by {found.difference:.2g}"
    yield ""
    yield "the box:"
    for name, number in found.numbers.items():
        if name not in found.main and not name.startswith("logit"):
            yield f"  {name:<14} {number.computed:.6g}   {number.layer} {list(number.unit)}"
    yield from (_line(one) for one in found.arithmetic.box)


def _line(one: Step) -> str:
    return f"{one.name:<18} {one.formula} = {one.result:.9g}"


def _box(box: Box | None) -> str:
    return "none" if box is None else "(" + ", ".join(f"{value:.1f}" for value in box) + ")"


def _listed(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else list(values)


def _step(one: Step) -> dict[str, Any]:
    return {"name": one.name, "formula": one.formula, "result": one.result}


def _number(found: Explanation) -> dict[str, Any]:
    return {
        "layer": found.layer,
        "unit": list(found.unit),
        "total": found.total,
        "bias": found.bias,
        "computed": found.computed,
        "network": found.network,
    }
