"""The networks by name."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from convolens.errors import ConfigError, near_matches
from convolens.models.lenet import lenet5
from convolens.models.resnet9 import resnet9
from convolens.models.simple_convnet import simple_convnet
from convolens.models.small_convnet import small_convnet

Builder = Callable[..., nn.Module]
COMMON = ("num_classes", "in_channels", "image_size")


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A network's builder and what a list of networks says about it."""

    builder: Builder
    input_size: tuple[int, int, int]
    description: str


def table(entries: Iterable[ModelEntry]) -> Mapping[str, ModelEntry]:
    """The entries by their builder's name; a name that occurs twice is an error."""
    by_name: dict[str, ModelEntry] = {}
    for entry in entries:
        name = entry.builder.__name__
        if name in by_name:
            raise ValueError(f"two networks are called {name}")
        by_name[name] = entry
    return by_name


MODELS = table(
    (
        ModelEntry(
            builder=lenet5,
            input_size=(1, 32, 32),
            description="LeNet-5 (LeCun et al. 1998): two convolutions, three affine layers",
        ),
        ModelEntry(
            builder=simple_convnet,
            input_size=(1, 28, 28),
            description="Conv-ReLU-Pool-Affine-ReLU-Affine (Saito 2016, chapter 7)",
        ),
        ModelEntry(
            builder=resnet9,
            input_size=(3, 32, 32),
            description="a shallow, wide residual network for 32 px (Page 2018)",
        ),
        ModelEntry(
            builder=small_convnet,
            input_size=(3, 32, 32),
            description="a small batch-normalised network, the default for 28 to 32 px",
        ),
    )
)


def find_model(name: str) -> ModelEntry:
    """The entry of a network of ours.

    Raises:
        ConfigError: when there is none of that name; near matches are named.
    """
    if name not in MODELS:
        raise ConfigError(f"there is no network called {name!r}", near_matches(name, MODELS))
    return MODELS[name]


def check_options(builder: Builder, options: Mapping[str, Any], name: str) -> None:
    """Raises ConfigError when the builder has no argument of an option's name."""
    parameters = inspect.signature(builder).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    known = [key for key in parameters if key not in COMMON]
    for key in options:
        if key not in known:
            raise ConfigError(
                f"{name} has no option {key!r}",
                near_matches(key, known) if known else f"{name} has no options.",
            )
