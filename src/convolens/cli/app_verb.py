"""`convolens app`."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from convolens.cli.words import DataRoot
from convolens.errors import RunError, UnavailableError

DEFAULT_RUNS = Path("runs")


def app(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUNS", help="Folders with Runs, or Runs.", show_default="runs"),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65535, help="On which port.", show_default="8080, or the next"
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the browser.")
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Open the local app: design networks, follow trainings, look into Runs."""
    if importlib.util.find_spec("nicegui") is None:
        raise UnavailableError(
            "the app needs NiceGUI, and it is not installed",
            "Install it with: pip install 'convolens[web]'",
        )
    for path in runs or ():
        if not path.is_dir():
            raise RunError(f"there is no folder {path}")
    from convolens.web.folders import Folders
    from convolens.web.guard import is_local
    from convolens.web.server import free_port, serve

    folders = Folders(runs=tuple(runs or (DEFAULT_RUNS,)), data_root=data_root)
    number = free_port(host, port)
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"convolens app: http://{shown}:{number}  (Ctrl-C ends it)", err=True)
    if not is_local(host):
        typer.echo(
            "Whoever reaches this address can start trainings and delete Runs here.", err=True
        )
    serve(folders, host=host, port=number, open_browser=not no_browser)
