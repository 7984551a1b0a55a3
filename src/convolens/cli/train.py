"""`convolens train`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from convolens.cli.words import DataRoot, Device, Json

Text = str | None


def train(
    data: Annotated[
        Text,
        typer.Argument(help="A dataset's name or a folder of pictures.", show_default="digits"),
    ] = None,
    model: Annotated[
        Text,
        typer.Option(
            "--model", help="A name of `convolens models`, torchvision:NAME, FILE.py:NAME."
        ),
    ] = None,
    recipe: Annotated[Text, typer.Option("--recipe", help="A name of `convolens recipes`.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the data.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Pictures in one step.")] = None,
    device: Device = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Decides everything that is random.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where Runs are kept.")] = Path("runs"),
    name: Annotated[
        Text, typer.Option("--name", help="The Run's name.", show_default="DATASET-MODEL-N")
    ] = None,
    data_root: DataRoot = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any field of the recipe."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with a stopped Run.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first picture that cannot be read.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network and leave a Run; with no argument, lenet5 on digits."""
    from convolens.cli.progress import Display
    from convolens.workbench.train import train as work

    with Display() as display:
        run = work(
            data,
            model=model,
            recipe=recipe,
            epochs=epochs,
            batch=batch,
            device=device,
            seed=seed,
            out=out,
            name=name,
            data_root=data_root,
            strict=strict or None,
            settings=settings or (),
            resume=resume,
            notify=display,
        )
    summary = run.summary()
    if as_json:
        print(json.dumps(summary))
    else:
        display.show(_closing(summary))


def _closing(summary: dict[str, Any]) -> str:
    metrics = summary["metrics"]
    values = ", ".join(
        f"{name.removeprefix('test_').replace('_', ' ')} "
        + (f"{value:.2%}" if "accuracy" in name else f"{value:.4f}")
        for name, value in metrics.items()
    )
    run = summary["run"]
    return (
        f"Test: {values} after {summary['seconds']:.1f} s.\n"
        f"The Run is {run}; its pictures are in {run}/figures.\n"
        f"Try: convolens predict {run} PICTURE"
    )
