"""A network before it has weights, as a MODEL word names it."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from convolens.analysis.blueprint import Blueprint
from convolens.analysis.summarize import takes_lists
from convolens.errors import ConfigError
from convolens.models.notation import is_notation, parse
from convolens.models.registry import COMMON, MODELS, check_options
from convolens.workbench.network import (
    TORCHVISION,
    call_builder,
    facts_of,
    find_builder,
)

CIFAR = (3, 32, 32)
Sizes = Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A network that a person names or has.

    Args:
        name: what they call it.
        net: the network, on the meta device where it could be built there.
        input_size: shape of its input without the batch, or one for each of several; None where
            nobody says.
        rebuild: builds the network with weights; None for a network that is built already.
    """

    name: str
    net: nn.Module
    input_size: Sizes | None
    rebuild: Callable[[], nn.Module] | None


def design_of(model: str | Path | nn.Module, input_size: Sizes | None = None) -> Design:
    """The network of a MODEL word, built without weights where that is possible.

    Args:
        model: a name of ours, "torchvision:NAME", "timm:NAME", "FILE.py:NAME", a Run's folder, a
            network in notation, or a network. Options of a builder may follow it as in a call:
            "googlenet(naive=True)".
        input_size: (C, H, W), or several; by default what the network is made for.
    Raises:
        ConfigError: when the word or an option is unknown, or the builder raises.
    """
    if isinstance(model, nn.Module):
        return Design(
            name=type(model).__name__,
            net=model,
            input_size=input_size or _own_size(model),
            rebuild=None,
        )
    word = str(model)
    if _is_folder(word):
        return _of_run(word, input_size)
    name, options = (word, {}) if is_notation(word) else split_options(word)
    builder = find_builder(name)
    if isinstance(builder, nn.Module):
        if options:
            raise ConfigError(f"{name} is a finished network and takes no options")
        size = input_size or _own_size(builder)
        return Design(name=name, net=builder, input_size=size, rebuild=None)
    check_options(builder, {k: v for k, v in options.items() if k not in COMMON}, name)
    size = input_size or _with_options(_size_by_name(name), options)
    facts = facts_of(name, _first(size)) if size else {}
    rebuild = partial(call_builder, builder, name, options, facts)
    net = _without_weights(rebuild)
    return Design(name=word, net=net, input_size=size or _own_size(net), rebuild=rebuild)


def _is_folder(word: str) -> bool:
    try:
        return Path(word).is_dir()
    except OSError:  # notation may be longer than a path can be
        return False


def split_options(word: str) -> tuple[str, Mapping[str, Any]]:
    """A MODEL word and the options that follow it as in a call.

    Raises:
        ConfigError: when what is in the brackets is no list of options.
    Example:
        >>> split_options("googlenet(naive=True, num_classes=10)")
        ('googlenet', {'naive': True, 'num_classes': 10})
    """
    name, bracket, rest = word.partition("(")
    if not bracket or not rest.endswith(")") or not name:
        return word, {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError("not a list of options")
        return name, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f"{word}: expected options as in {name}(num_classes=10), received ({rest}"
        ) from error


def _without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """The network on the meta device; with weights where its builder needs values."""
    try:
        with Blueprint():
            return build()
    except Exception:  # whatever a builder does with tensors that have no values
        return build()


def _of_run(folder: str, input_size: Sizes | None) -> Design:
    from convolens.workbench.run import Run  # all of training, which no other word needs

    run = Run.open(folder)
    own = (run.format.channels, *run.format.size)
    model = run.config.model
    facts = {"num_classes": len(run.task.class_names), **facts_of(model.name, own)}
    builder = find_builder(model.name)
    if isinstance(builder, nn.Module):
        return Design(name=folder, net=builder, input_size=input_size or own, rebuild=None)
    build = partial(call_builder, builder, model.name, model.options, facts)
    net = _without_weights(build)
    trained = partial(run.network, "cpu")
    return Design(name=folder, net=net, input_size=input_size or own, rebuild=trained)


def _first(size: Sizes) -> tuple[int, ...]:
    first = size[0]
    return tuple(size) if isinstance(first, int) else tuple(first)  # type: ignore[arg-type]


def _size_by_name(name: str) -> tuple[int, ...] | None:
    """The input that is known before the network is built."""
    if is_notation(name):
        return parse(name).input or CIFAR
    if name in MODELS:
        return MODELS[name].input_size
    if name.startswith(TORCHVISION):
        return _torchvision_size(name.removeprefix(TORCHVISION))
    return None


def _with_options(
    size: tuple[int, ...] | None, options: Mapping[str, Any]
) -> tuple[int, ...] | None:
    """The input of a network that is built for other pictures than it is by default."""
    if size is None or len(size) != 3:
        return size
    side = options.get("image_size")
    sides = (side, side) if isinstance(side, int) else size[1:]
    return (options.get("in_channels", size[0]), *sides)


def _torchvision_size(name: str) -> tuple[int, ...] | None:
    """What torchvision's own weights of the network were trained on."""
    from torchvision import models

    weights = list(models.get_model_weights(name))
    transforms = weights[0].transforms if weights else None
    given = getattr(transforms, "keywords", {})
    side = given.get("crop_size", given.get("resize_size"))
    if isinstance(side, int):
        return (3, side, side)
    if isinstance(side, tuple | list):  # a film
        return (3, max(16, weights[0].meta.get("min_temporal_size", 16)), *side)
    return None


def _own_size(net: nn.Module) -> tuple[int, ...] | None:
    """The input that a network itself knows of, as timm's and torchvision's detectors do."""
    if takes_lists(net):
        transform: Any = net.transform
        sides = transform.fixed_size or (transform.min_size[-1],) * 2
        return (3, sides[1], sides[0])
    known = getattr(net, "pretrained_cfg", None) or getattr(net, "default_cfg", None)
    size = known.get("input_size") if isinstance(known, Mapping) else None
    return tuple(size) if size else None
