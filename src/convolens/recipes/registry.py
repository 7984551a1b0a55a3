"""The recipes by name, and which one a dataset takes by default."""

from collections.abc import Callable, Mapping

from convolens.errors import ConfigError, near_matches
from convolens.recipes.classify import (
    cifar10_fast,
    cifar10_resnet18,
    colour32,
    digits,
    grey28,
    mnist,
    photos,
)
from convolens.train.config import Config

Recipe = Callable[[str], Config]

RECIPES: Mapping[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (digits, mnist, grey28, colour32, cifar10_fast, cifar10_resnet18, photos)
}
DEFAULTS: Mapping[str, Recipe] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": grey28,
    "kmnist": grey28,
    "cifar10": colour32,
    "cifar100": colour32,
}


def find_recipe(name: str | None, data: str) -> Config:
    """The configuration of a recipe for a dataset; without a name, the dataset's default.

    Raises:
        ConfigError: when there is no recipe of that name; near matches are named.
    """
    if name is None:
        return DEFAULTS.get(data, photos)(data)
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe called {name!r}", near_matches(name, RECIPES))
    return RECIPES[name](data)
