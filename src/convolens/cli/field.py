"""`convolens field`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convolens.cli.sizes import Input, Model, place_of, sizes_of
from convolens.cli.words import DataRoot, Json
from convolens.errors import ConfigError, UnavailableError

if TYPE_CHECKING:  # PyTorch takes seconds to import, and `--help` needs none of it
    from convolens.workbench.field import UnitField


def field(
    model: Model,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="As `summary` names it.")],
    unit: Annotated[
        str | None, typer.Option("--unit", metavar="Y,X", help="A unit.", show_default="the middle")
    ] = None,
    sizes: Input = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="IMG", help="A picture to draw the field on.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="Where to write the drawing.")
    ] = None,
    effective: Annotated[
        bool,
        typer.Option("--effective", help="Also by gradient: how much each pixel counts."),
    ] = False,
    objects: Annotated[
        str | None,
        typer.Option(
            "--objects",
            metavar="DATA",
            help="A dataset with boxes: which share of its objects is larger than the field.",
        ),
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Show which pixels of the input one unit sees."""
    if (image is None) != (out is None):
        raise ConfigError("--image and --out go together: a picture, and where to draw on it")
    place, size = place_of(unit), sizes_of(sizes)
    if objects is not None:
        _compare_with_objects(model, layer, objects, size, data_root, as_json)
        return
    from convolens.workbench.field import field as work

    seen = work(model, layer, place, input_size=size, image=image, effective=effective)
    if out is not None and seen.figure is not None:
        from convolens.visual.figure import png_bytes

        try:
            out.write_bytes(png_bytes(seen.figure))
        except OSError as error:
            raise UnavailableError(f"{out} cannot be written: {error.strerror}") from error
        typer.echo(f"written: {out}", err=True)
    print(json.dumps(seen.to_json()) if as_json else _text(seen))


def _compare_with_objects(
    model: str, layer: str, data: str, size: Any, data_root: Path | None, as_json: bool
) -> None:
    from convolens.workbench.objects import objects_beside_field

    found = objects_beside_field(model, layer, data, input_size=size, data_root=data_root)
    if as_json:
        print(json.dumps(found.to_json()))
        return
    (height, width), (tall, wide) = found.field, found.median
    print(f"a unit of {layer} sees {height}×{width} pixels")
    print(f"{found.num_objects:,} objects of {data}, the median of them {tall:.0f}×{wide:.0f}:")
    names = max(map(len, (*found.larger_by_class, "all")))
    print(f"  {'all':<{names}}  {found.larger:7.2%} are larger than that")
    for name, share in found.larger_by_class.items():
        print(f"  {name:<{names}}  {share:7.2%}")


def _text(seen: "UnitField") -> str:
    place = f"({', '.join(map(str, seen.unit))})"
    unit = f"unit {place} of {seen.layer}"
    if seen.cols is None or seen.rows is None:
        lines = [f"{unit} sees nothing of the input"]
    else:
        (top, bottom), (left, right) = seen.rows, seen.cols
        lines = [
            f"{unit} sees rows {top} to {bottom} and columns {left} to {right}: "
            f"{bottom - top + 1}×{right - left + 1} pixels"
        ]
    form = seen.textbook
    if form is None:
        lines.append("textbook form: none, for the network is not regular up to there")
    else:
        size, stride, start = ("×".join(map(str, x)) for x in (form.size, form.stride, form.start))
        lines.append(f"textbook form: size {size}, stride {stride}, start {start}")
    if seen.effective_side is not None:
        side = seen.effective_side
        lines.append(f"effective field: as large as {side:.1f}×{side:.1f} pixels (two σ)")
    if seen.unknown:
        lines.append(f"taken to read everything: {', '.join(seen.unknown)}")
    return "\n".join(lines)
