"""Words that several verbs share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `train` has left.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Device = Annotated[
    str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
]
Tta = Annotated[
    Literal["none", "flip", "shifts", "crops", "scales"] | None,
    typer.Option(
        "--tta",
        help="Average over views: picture and mirror image, these moved or scaled, or ten crops.",
        show_default="the Run's",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", envvar="CONVOLENS_DATA", help="Where named datasets are."),
]
