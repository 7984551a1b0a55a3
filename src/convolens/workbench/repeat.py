"""The command that trains a Run again, whichever verb has trained it."""

from pathlib import Path
from shlex import join

from convolens.data.registry import dataset_names
from convolens.data.root import cache_folder
from convolens.workbench.command import Command, command_of
from convolens.workbench.run import Run

_BUNDLED = ("digits", "shapes")


def repeat(run: Run) -> Command:
    """The command that gives a Run's configuration again."""
    if run.facts.get("trained_by") == "convolens.scratch":
        return _scratch(run)
    return command_of(run.config)


def _scratch(run: Run) -> Command:
    """`convolens scratch train` has few words, and all else follows from them."""
    config = run.config
    parts = ["convolens", "scratch", "train", config.data.name]
    parts += ["--epochs", str(config.epochs), "--batch", str(config.batch_size)]
    parts += ["--seed", str(config.seed)] if config.seed else []
    is_named = config.data.name in dataset_names() and config.data.name not in _BUNDLED
    if is_named and config.data.root is not None and Path(config.data.root) != cache_folder():
        parts += ["--data-root", config.data.root]
    return Command(text=join(parts), is_exact=True)
