"""The words for sizes and places that the verbs about networks share."""

from collections.abc import Sequence
from typing import Annotated

import typer

from convolens.errors import ConfigError

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name of `convolens models`, torchvision:NAME, timm:NAME, FILE.py:NAME, a Run, "
        "or a network in notation.",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="CxHxW",
        help="Size of the input; once for each of several.",
        show_default="what the network is made for",
    ),
]
Batch = Annotated[int, typer.Option("--batch", help="Pictures in the pass.")]
Optimizer = Annotated[
    str,
    typer.Option(
        "--optimizer", metavar="sgd|momentum|adam", help="For the memory of a training step."
    ),
]


def sizes_of(words: Sequence[str] | None) -> tuple[int, ...] | tuple[tuple[int, ...], ...] | None:
    """The sizes of "3x224x224", or of several.

    Raises:
        ConfigError: when a word is no size.
    Example:
        >>> sizes_of(["3x224x224"]), sizes_of(["3×32×32", "10"])
        ((3, 224, 224), ((3, 32, 32), (10,)))
    """
    if not words:
        return None
    sizes = tuple([_numbers(word, word.lower().replace("×", "x").split("x")) for word in words])
    return sizes[0] if len(sizes) == 1 else sizes


def place_of(word: str | None) -> tuple[int, ...] | None:
    """The numbers of a unit "Y,X".

    Raises:
        ConfigError: when the word is no place.
    Example:
        >>> place_of("6,7")
        (6, 7)
    """
    if word is None:
        return None
    try:
        return tuple([int(part) for part in word.split(",")])
    except ValueError as error:
        raise ConfigError(f"--unit must be Y,X such as 6,6, received {word!r}") from error


def _numbers(word: str, parts: Sequence[str]) -> tuple[int, ...]:
    try:
        numbers = tuple([int(part) for part in parts])
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ConfigError(f"--input must be CxHxW such as 3x224x224, received {word!r}")
    return numbers
