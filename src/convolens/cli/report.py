"""`convolens report`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from convolens.cli.words import DataRoot, Device, Json, RunPath


def report(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file; by default report.html in the Run."),
    ] = None,
    data_root: DataRoot = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Write all that a Run has to say into one HTML file that can be mailed."""
    from convolens.workbench.report import report as work

    file = work(run, out=out, data_root=data_root, device=device)
    if as_json:
        print(json.dumps({"run": str(run), "report": str(file), "bytes": file.stat().st_size}))
    else:
        print(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
