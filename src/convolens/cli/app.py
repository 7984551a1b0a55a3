"""The program: its verbs, and how it ends.

A verb imports the workbench only when it runs, because PyTorch takes seconds to import and
`--help` must not wait for it.
"""

import os
import sys
import warnings
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from convolens import __version__
from convolens.cli.app_verb import app as app_verb
from convolens.cli.check import check
from convolens.cli.compare import compare
from convolens.cli.convert import convert
from convolens.cli.evaluate import evaluate
from convolens.cli.explain import explain
from convolens.cli.field import field
from convolens.cli.listing import datasets, models, recipes
from convolens.cli.look import look
from convolens.cli.predict import predict
from convolens.cli.processes import is_first
from convolens.cli.report import report
from convolens.cli.scratch import scratch
from convolens.cli.summary import summary
from convolens.cli.train import train
from convolens.errors import ConvolensError

app = typer.Typer(
    name="convolens",
    help="A workbench for convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("predict")(predict)
app.command("summary")(summary)
app.command("compare")(compare)
app.command("field")(field)
app.command("explain")(explain)
app.command("look")(look)
app.command("report")(report)
app.command("app")(app_verb)
app.command("models")(models)
app.command("datasets")(datasets)
app.command("check")(check)
app.command("convert")(convert)
app.command("recipes")(recipes)
app.add_typer(scratch, name="scratch")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"convolens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train ConvNets, test them, and ask them about pictures."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs one command and exits with its status."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    # A picture beyond Pillow's limit is an error of ours, in one line; its warning would be four.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    # A person writes --debug wherever it comes to mind; the parser knows it before the verb only.
    words = ["--debug"] * debug + [word for word in words if word != "--debug"]
    try:
        status = app(args=words, prog_name="convolens", standalone_mode=False)
    except ConvolensError as error:
        if debug:
            raise
        _exit(str(error), error.exit_status)
    except TyperException as error:
        if not is_first():
            sys.exit(2)  # every process of a training reads the same words
        if type(error).__name__ == "NoArgsIsHelpError":
            _exit(str(error.message), 2)
        _exit(f"{_one_line(error.format_message())}\n{_help_hint(error)}", 2)
    except (KeyboardInterrupt, typer.Abort):
        _exit("stopped", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _exit(
            f"{type(error).__name__}: {_one_line(str(error))}\n"
            "This is a bug in convolens; --debug shows where.",
            1,
        )
    sys.exit(status if isinstance(status, int) else 0)


def _exit(text: str, status: int) -> NoReturn:
    print(f"convolens: {text}", file=sys.stderr)
    sys.exit(status)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _help_hint(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "convolens"
    return f"See: {command} --help"
