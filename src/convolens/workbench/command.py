"""The command that repeats a Run's training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import Any

from convolens.data.registry import dataset_names
from convolens.data.root import cache_folder
from convolens.errors import ConvolensError
from convolens.recipes.registry import RECIPES
from convolens.train.config import Config
from convolens.train.settings import OPTIONS_PREFIX, to_json
from convolens.workbench.train import configure

# These are drawn or bundled, and need no folder to be found in.
_ROOTLESS = ("digits", "shapes")
_OWN_OPTIONS = {
    "epochs": "--epochs",
    "batch_size": "--batch",
    "seed": "--seed",
    "device": "--device",
    "weights": "--weights",
}
# What other fields take their defaults from is set before them.
_FIRST = ("optimizer.name", "schedule.name", "plan.choose")


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to type.

    Args:
        text: one line for a shell.
        is_exact: whether it gives the same configuration to the last field.
    """

    text: str
    is_exact: bool


@dataclass(frozen=True, kw_only=True)
class _Words:
    """The words of `convolens train`, as `configure` takes them."""

    recipe: str | None
    values: Mapping[str, Any]
    settings: tuple[str, ...] = ()


def command_of(config: Config) -> Command:
    """The shortest `convolens train` that gives a configuration, of all recipes to begin with.

    Args:
        config: complete, as a Run has it.
    Returns: the command; it is checked by the configuration that it gives.
    """
    own = _from_recipe(config, None)
    if own is not None and own.is_exact and "--set" not in own.text:
        return own  # the usual case, and what a person would type
    found = [own, *(_from_recipe(config, recipe) for recipe in RECIPES)]
    return min(
        (each for each in found if each is not None),
        key=lambda each: (not each.is_exact, len(each.text)),
    )


def _from_recipe(config: Config, recipe: str | None) -> Command | None:
    words = _Words(recipe=recipe, values=_values(config))
    try:
        for keys in (_FIRST, None):
            words = _Words(
                recipe=recipe,
                values=words.values,
                settings=(*words.settings, *_settings(config, _given(config, words), keys)),
            )
        given = _given(config, words)
        words, given = _shortened(config, words, given)
    except ConvolensError:  # this recipe does not go with the data or the settings
        return None if recipe else Command(text=_text(config, words), is_exact=False)
    return Command(text=_text(config, words), is_exact=_same(given, config))


def _values(config: Config) -> dict[str, Any]:
    """What is given by options of its own name; `model` always, because a reader looks for it."""
    tree = to_json(config)
    return {"model": config.model.name, **{key: tree[key] for key in _OWN_OPTIONS}}


def _given(config: Config, words: _Words) -> Config:
    values = words.values
    return configure(
        config.data.name,
        model=values["model"],
        recipe=words.recipe,
        epochs=values.get("epochs"),
        batch=values.get("batch_size"),
        device=values.get("device"),
        seed=values.get("seed"),
        data_root=config.data.root,
        strict=config.data.strict or None,
        weights=values.get("weights"),
        settings=words.settings,
    )


def _shortened(config: Config, words: _Words, given: Config) -> tuple[_Words, Config]:
    """Without the options that the recipe itself says."""
    for key in _OWN_OPTIONS:
        rest = {k: v for k, v in words.values.items() if k != key}
        fewer = _Words(recipe=words.recipe, values=rest, settings=words.settings)
        result = _given(config, fewer)
        if result == given:
            words = fewer
    return words, given


def _settings(config: Config, given: Config, keys: tuple[str, ...] | None) -> list[str]:
    """A setting for each field that differs, of these keys only where they are said."""
    wanted, there = _flat(to_json(config)), _flat(to_json(given))
    changes = []
    for key, value in wanted.items():
        if key in _OWN_OPTIONS or key in ("data.name", "data.root", "model.name", "data.strict"):
            continue
        if (keys is None or key in keys) and (key not in there or there[key] != value):
            changes.append(f"{key}={_word(value)}")
    return changes


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every field under its dotted key; a builder's options are fields of `model`."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if prefix == OPTIONS_PREFIX and name == "options":
            flat |= {f"{OPTIONS_PREFIX}{key}": option for key, option in value.items()}
        elif isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _same(given: Config, config: Config) -> bool:
    # As `config.json` holds them: there a tuple is a list.
    return bool(json.dumps(to_json(given)) == json.dumps(to_json(config)))


def _text(config: Config, words: _Words) -> str:
    data = config.data
    parts = ["convolens", "train", data.name]
    parts += ["--recipe", words.recipe] if words.recipe else []
    parts += ["--model", words.values["model"]]
    for key, option in _OWN_OPTIONS.items():
        if words.values.get(key) is not None:
            parts += [option, str(words.values[key])]
    is_named = data.name in dataset_names() and data.name not in _ROOTLESS
    if is_named and data.root is not None and Path(data.root) != cache_folder():
        parts += ["--data-root", data.root]
    parts += ["--strict"] if data.strict else []
    for setting in words.settings:
        parts += ["--set", setting]
    return join(parts)
