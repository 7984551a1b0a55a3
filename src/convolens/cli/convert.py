"""`convolens convert`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from convolens.cli.words import Json


def convert(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A VOC, COCO or YOLO set.")],
    to: Annotated[Literal["voc", "coco", "yolo"], typer.Option("--to", help="The new format.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    link: Annotated[bool, typer.Option("--link", help="Link to the pictures, not copy.")] = False,
    as_json: Json = False,
) -> None:
    """Write a detection set in another format, with its pictures and splits."""
    from convolens.workbench.convert import convert as work

    done = work(path, to=to, out=out, link=link)
    if as_json:
        problems = [{"where": problem.where, "why": problem.why} for problem in done.problems]
        page = {
            "out": str(done.out),
            "pictures": done.pictures,
            "objects": done.objects,
            "problems": problems,
            "notes": list(done.notes),
        }
        print(json.dumps(page))
        return
    print(f"{done.out}: {done.pictures:,} pictures, {done.objects:,} objects")
    for note in done.notes:
        print(f"note: {note}")
    if done.problems:
        print(f"{len(done.problems):,} problems of the source; see convolens check {path}")
