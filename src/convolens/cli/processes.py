"""Which of the processes that torchrun has started this one is."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from convolens.errors import ConfigError

if TYPE_CHECKING:
    from convolens.train.distributed import Processes


def is_first() -> bool:
    """Whether this process is the one that speaks, as far as its environment says."""
    return os.environ.get("RANK", "0") == "0"


def processes_of(environment: Mapping[str, str]) -> "Processes":
    """The Processes that the variables of torchrun describe; without them, a single one.

    Raises:
        ConfigError: when a variable is not a number, or the numbers do not fit.
    """
    from convolens.train.distributed import ALONE, Processes  # imports torch

    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return ALONE
    names = {
        "rank": "RANK",
        "world_size": "WORLD_SIZE",
        "local_rank": "LOCAL_RANK",
        "port": "MASTER_PORT",
        "restarts": "TORCHELASTIC_RESTART_COUNT",
    }
    numbers: dict[str, int] = {}
    for field, name in names.items():
        text = environment.get(name)
        if text is None:
            continue
        if not text.isdecimal():
            raise ConfigError(f"the variable {name} must be a whole number, received {text!r}")
        numbers[field] = int(text)
    return Processes(
        address=environment.get("MASTER_ADDR", ALONE.address),
        is_hosted=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        **numbers,
    )


@contextmanager
def taking_part(processes: "Processes") -> Iterator[None]:
    """While inside, the processes train together; of an error that ends all, one tells."""
    from convolens.train.distributed import EndedElsewhereError, joined

    try:
        with joined(processes):
            yield
    except EndedElsewhereError as error:
        raise typer.Exit(error.exit_status) from error
