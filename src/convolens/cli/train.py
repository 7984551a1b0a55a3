"""`convolens train`."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from convolens.cli.find_rate import find_rate
from convolens.cli.processes import processes_of, taking_part
from convolens.cli.words import DataRoot, Device, Json
from convolens.errors import ConfigError

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
    weights: Annotated[
        Text,
        typer.Option(
            "--weights",
            metavar="FILE|RUN|imagenet",
            help="Begin with these weights, as far as they fit.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any field of the recipe."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with a stopped Run.")
    ] = None,
    find_lr: Annotated[
        bool,
        typer.Option("--find-lr", help="Only try learning rates, draw the curve, suggest one."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first picture that cannot be read.")
    ] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Do not write report.html at the end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network and leave a Run; with no argument, lenet5 on digits."""
    processes = processes_of(os.environ)
    words: dict[str, Any] = {
        "model": model,
        "recipe": recipe,
        "batch": batch,
        "device": device,
        "seed": seed,
        "out": out,
        "data_root": data_root,
        "strict": strict or None,
        "weights": weights,
        "settings": settings or (),
    }
    if find_lr and processes.world_size > 1:
        with taking_part(processes):
            raise ConfigError("--find-lr runs in one process, without torchrun")
    if find_lr:
        if resume is not None or name is not None:
            raise ConfigError("--find-lr leaves no Run: it goes with neither --resume nor --name")
        find_rate(data, as_json=as_json, **words)
        return
    from convolens.cli.progress import Display
    from convolens.workbench.train import train as work

    with taking_part(processes), Display(quiet=not processes.is_first) as display:
        run = work(
            data,
            **words,
            epochs=epochs,
            name=name,
            resume=resume,
            report=not no_report,
            notify=display,
            processes=processes,
        )
    if not processes.is_first:
        return
    summary = run.summary()
    if as_json:
        print(json.dumps(summary))
    else:
        display.show(closing(summary))


def closing(summary: dict[str, Any]) -> str:
    """What a finished training says last."""
    metrics = summary["metrics"]
    values = ", ".join(
        f"{name.removeprefix('test_').replace('_', ' ')} "
        + (f"{value:.4f}" if "loss" in name else f"{value:.2%}")
        for name, value in metrics.items()
    )
    run = summary["run"]
    return (
        f"Test: {values} after {summary['seconds']:.1f} s.\n"
        f"The Run is {run}; its pictures are in {run}/figures.\n"
        f"Try: convolens predict {run} PICTURE"
    )
