"""`convolens models`, `convolens datasets` and `convolens recipes`: what there is."""

import json

from convolens.cli.words import Json


def models(as_json: Json = False) -> None:
    """List the networks."""
    from convolens.models.registry import MODELS

    _print({name: entry.description for name, entry in MODELS.items()}, as_json)


def datasets(as_json: Json = False) -> None:
    """List the datasets."""
    from convolens.data.registry import describe_datasets

    _print(describe_datasets(), as_json)


def recipes(as_json: Json = False) -> None:
    """List the recipes."""
    from convolens.recipes.registry import RECIPES

    described = {name: (recipe.__doc__ or "").splitlines()[0] for name, recipe in RECIPES.items()}
    _print(described, as_json)


def _print(described: dict[str, str], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"name": n, "description": text} for n, text in described.items()]))
        return
    width = max(map(len, described))
    for name, text in described.items():
        print(f"{name:<{width}}  {text}")
