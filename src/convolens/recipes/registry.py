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
from convolens.recipes.detect import bccd, objects
from convolens.recipes.segment import camvid, masks
from convolens.train.config import Config

Recipe = Callable[[str], Config]

RECIPES: Mapping[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (
        *(digits, mnist, grey28, colour32, cifar10_fast, cifar10_resnet18, photos),
        *(camvid, masks, objects, bccd),
    )
}
DEFAULTS: Mapping[str, Recipe] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": grey28,
    "kmnist": grey28,
    "cifar10": colour32,
    "cifar100": colour32,
    "camvid": camvid,
    "bccd": bccd,
}
BY_TASK: Mapping[str, Recipe] = {"classify": photos, "segment": masks, "detect": objects}


def find_recipe(name: str | None, data: str, task: str = "classify") -> Config:
    """The configuration of a recipe for a dataset; without a name, the dataset's default.

    Args:
        task: what the recipe is for, where it has no name.

    Raises:
        ConfigError: when there is no recipe of that name; near matches are named.
    """
    if name is None:
        config = DEFAULTS.get(data, BY_TASK[task])(data)
        return config if config.task == task else BY_TASK[task](data)
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe called {name!r}", near_matches(name, RECIPES))
    return RECIPES[name](data)
