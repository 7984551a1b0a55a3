"""`convolens scratch`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from convolens.cli.train import closing
from convolens.cli.words import DataRoot, Json

scratch = typer.Typer(
    help="The NumPy floor: layers written out by hand.", no_args_is_help=True, add_completion=False
)


@scratch.callback()
def verbs() -> None:
    """The NumPy floor: layers written out by hand."""


@scratch.command("train")
def train(
    data: Annotated[
        str | None,
        typer.Argument(help="digits, mnist, or another dataset.", show_default="digits"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Passes over the data.", show_default="15 digits, 10 mnist"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", help="Pictures in one step.", show_default="50 digits, 100 mnist"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides everything that is random.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Where Runs are kept.")] = Path("runs"),
    name: Annotated[
        str | None,
        typer.Option("--name", help="The Run's name.", show_default="DATASET-simple_convnet-N"),
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Train SimpleConvNet by hand-written layers, and leave a Run."""
    from convolens.cli.progress import Display
    from convolens.workbench.scratch import train_scratch

    with Display() as display:
        run = train_scratch(
            data,
            epochs=epochs,
            batch=batch,
            seed=seed,
            out=out,
            name=name,
            data_root=data_root,
            notify=display,
        )
    summary = run.summary()
    if as_json:
        print(json.dumps(summary))
    else:
        display.show(closing(summary))
