"""What the test of a network that segments said, class by class."""

from collections.abc import Mapping, Sequence
from typing import Any

from convolens.report.numbers import number_in, percent
from convolens.report.parts import Bar, Heading, Part, Table, Text, rows

DRAWN = {
    "class-iou": (
        "How well each class is found",
        "The share of pixels that a class's truth and prediction have in common, the least at the "
        "top; the line is the mean.",
        "classes of few pixels at the top (give them weight: loss.class_weights=balanced, or more "
        "pictures), and pairs of classes that are both low (they are taken for one another).",
    ),
    "segmentation": (
        "The worst pictures",
        "The test pictures of least mean IoU: picture, truth, prediction, and where the two "
        "differ.",
        "whole objects in the wrong colour (the network does not know them), borders that are "
        "wrong everywhere (its maps are too coarse), and truth that is wrong itself.",
    ),
}


def iou_parts(metrics: Mapping[str, Any], class_names: Sequence[str]) -> list[Part]:
    """A table of the classes' IoU, the least first.

    Args:
        metrics: of the test, with "iou_NAME" for each class that occurs.
    """
    known = {name: number_in(metrics, f"iou_{name}") for name in class_names}
    order = sorted((value, name) for name, value in known.items() if value is not None)
    lines = [(name, Bar(text=percent(value), share=value)) for value, name in order]
    missing = [name for name, value in known.items() if value is None]
    parts: list[Part] = [
        Heading(text="Class by class"),
        Text(
            text="The IoU of a class is right / (true + predicted − right), in pixels of the whole "
            "test; void counts for nothing. The least stands first.",
            tone="soft",
        ),
        Table(
            about="Test IoU of each class",
            columns=(("class", "left"), ("IoU", "right")),
            rows=rows(lines),
        ),
    ]
    if missing:
        parts.append(Text(text=f"Not in the test: {', '.join(missing)}.", tone="soft"))
    return parts
