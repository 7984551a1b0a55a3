"""`convolens check`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convolens.cli.words import Json

if TYPE_CHECKING:  # PyTorch takes seconds to import, and `--help` needs none of it
    from convolens.data.check import Checked

_KINDS = {
    "voc": "VOC set",
    "coco": "COCO set",
    "yolo": "YOLO set",
    "masks": "pictures with masks",
    "classes": "a folder for each class",
}


def check(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A VOC or YOLO folder, a COCO file or folder, masks or classes."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Count what is in a dataset, and name each bad box, class and missing picture.

    Exits with 0 where all is well, and with 1 where something is not.
    """
    from convolens.workbench.check import check as work

    checked = work(path)
    print(json.dumps(checked.to_json()) if as_json else _text(checked))
    if checked.problems:
        raise typer.Exit(1)


def _text(checked: "Checked") -> str:
    lines = [f"{checked.where}: {_KINDS[checked.kind]}", ""]
    if checked.pictures:
        lines += [*_table(checked), ""]
    if checked.sizes is not None:
        sizes = checked.sizes
        lines += [
            f"objects: {sizes.small:,} small (below 32×32 px), {sizes.medium:,} medium, "
            f"{sizes.large:,} large (96×96 px or more)",
            _spread("side, √(w·h), in px", [f"{side:.0f}" for side in sizes.side_px]),
            _spread("share of the picture's side", [f"{share:.1%}" for share in sizes.share]),
            "",
        ]
    lines += [f"note: {note}" for note in checked.notes]
    count = len(checked.problems)
    lines.append(f"{count:,} problem{'s' if count != 1 else ''}" if count else "no problems")
    lines += [f"  {problem.where}: {problem.why}" for problem in checked.problems]
    return "\n".join(lines)


def _table(checked: "Checked") -> list[str]:
    """Counts of each class in each split, in columns."""
    parts = list(checked.pictures)
    rows = [["", *parts], ["pictures", *(f"{checked.pictures[part]:,}" for part in parts)]]
    if any(checked.empty.values()):
        rows.append(["  without objects", *(f"{checked.empty[part]:,}" for part in parts)])
    rows.append([checked.unit, *(f"{sum(checked.counts[part].values()):,}" for part in parts)])
    rows += [
        [f"  {name}", *(f"{checked.counts[part][name]:,}" for part in parts)]
        for name in checked.class_names
    ]
    first, *others = ([len(cell) for cell in column] for column in zip(*rows, strict=True))
    widths = [max(column) for column in others]
    return [
        "  ".join([row[0].ljust(max(first)), *map(str.rjust, row[1:], widths)]).rstrip()
        for row in rows
    ]


def _spread(title: str, values: list[str]) -> str:
    least, tenth, half, most, greatest = values
    return f"{title}: {least} to {greatest}, median {half}, eight tenths within {tenth} to {most}"
