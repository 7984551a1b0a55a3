"""What the test of a detector said, class by class, and how large its objects are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convolens.report.numbers import number_in, percent
from convolens.report.parts import Bar, Heading, Part, Table, Text, rows

DRAWN = {
    "precision_recall": (
        "Precision against recall",
        "How many detections are right when so many of the objects are found, for each class, at "
        "an IoU of 0.5.",
        "a curve that ends early (objects that are never found, whatever the score) and one that "
        "falls early (sure detections that are wrong: often objects without a label).",
    ),
    "misses": (
        "The worst misses",
        "The test pictures with most missed objects and false detections: truth left, detections "
        "right; what agrees is pale.",
        "objects that people did not label, small or crowded objects that are missed, two boxes "
        "on one object, and boxes that are a little off.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Level:
    """What the units of a layer that finds objects see, beside the objects.

    Args:
        layer: the layer.
        field: height and width that its middle unit sees [px].
        larger: the share of the objects whose height or width is more than that.
    """

    layer: str
    field: tuple[int, int]
    larger: float


def ap_parts(metrics: Mapping[str, Any], class_names: Sequence[str]) -> list[Part]:
    """A table of the classes' average precision, the least first.

    Args:
        metrics: of the test, with "ap_NAME" and "ap50_NAME" for each class that has objects.
    """
    found = []
    for name in class_names:
        mean, half = (number_in(metrics, f"{word}_{name}") for word in ("ap", "ap50"))
        if mean is not None and half is not None:
            found.append((mean, half, name))
    lines = [
        (name, Bar(text=percent(mean), share=mean), percent(half))
        for mean, half, name in sorted(found)
    ]
    known = {name for _, _, name in found}
    missing = [name for name in class_names if name not in known]
    parts: list[Part] = [
        Heading(text="Class by class"),
        Text(
            text="AP is the area below the curve of precision against recall, as COCO measures "
            "it: the mean over IoUs from 0.5 to 0.95, and at 0.5 alone. The least stands first.",
            tone="soft",
        ),
        Table(
            about="Average precision of each class",
            columns=(("class", "left"), ("AP@[.5:.95]", "right"), ("AP@.5", "right")),
            rows=rows(lines),
        ),
    ]
    if missing:
        parts.append(Text(text=f"No objects in the test: {', '.join(missing)}.", tone="soft"))
    return parts


def size_parts(
    levels: Sequence[Level], median: tuple[float, float], num_objects: int
) -> list[Part]:
    """How large the objects are beside what the units see that are to find them.

    Args:
        median: of the objects' heights and widths [px].
        num_objects: how many there are.
    """
    lines = [
        (
            level.layer,
            f"{level.field[0]}×{level.field[1]}",
            Bar(text=percent(level.larger, 1), share=level.larger),
        )
        for level in levels
    ]
    return [
        Text(
            text=f"The {num_objects:,} objects of the test are {median[0]:.0f} px high and "
            f"{median[1]:.0f} px wide in the middle. An object that is larger than the field of "
            "the unit that is to find it can be found by its parts only. Fields are cut off at "
            "the border of the picture, and mostly their middle counts alone.",
            tone="soft",
        ),
        Table(
            about="Objects beside the receptive fields of the layers that find them",
            columns=(
                ("layer", "left"),
                ("field of its middle unit [px]", "right"),
                ("objects larger than that", "right"),
            ),
            rows=rows(lines),
        ),
    ]
