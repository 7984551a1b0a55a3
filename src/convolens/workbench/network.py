"""Finding and building the network that a MODEL word names."""

import importlib.util
import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, ConvolensError, ShapeError, near_matches
from convolens.models.entry import Builder
from convolens.models.notation import build as build_notation
from convolens.models.notation import is_notation
from convolens.models.registry import check_options, find_model
from convolens.models.torchvision_detector import TorchvisionDetector

TORCHVISION = "torchvision:"
TIMM = "timm:"
IMAGENET = "imagenet"  # the word for torchvision's weights; a file of that name is "./imagenet"


def build_network(
    word: str,
    options: Mapping[str, Any],
    *,
    num_classes: int,
    input_size: tuple[int, int, int],
    task: str = "classify",
) -> nn.Module:
    """Builds the network that a MODEL word names, for these classes and pictures.

    Args:
        word: a name of ours, "torchvision:NAME", "timm:NAME", "FILE.py:NAME" (a factory, which
            may take num_classes, in_channels and image_size, or an instance), or a network in
            notation.
        options: further arguments of the builder.
        num_classes: units of the last layer.
        input_size: (C, H, W) of the pictures.
        task: what it is for: "classify", "segment" or "detect".
    Raises:
        ConfigError: when the word or an option is unknown, the network is for another task, or
            the builder raises.
        ShapeError: when the network cannot read pictures of that size, or gives something
            other than num_classes numbers for each picture or each of its pixels.
    """
    net = unchecked_network(
        word, options, num_classes=num_classes, input_size=input_size, task=task
    )
    _check_output(net, word, num_classes, input_size, task)
    return net


def unchecked_network(
    word: str,
    options: Mapping[str, Any],
    *,
    num_classes: int,
    input_size: tuple[int, int, int],
    task: str,
) -> nn.Module:
    """Does what `build_network` does, without a forward pass to see whether it fits.

    Raises:
        ConfigError: when the word or an option is unknown, the network is for another task, or
            the builder raises.
    """
    builder = find_builder(word)
    if isinstance(builder, nn.Module):
        if options:
            raise ConfigError(f"{word} is a finished network and takes no options")
        return builder
    is_torchvisions = word.startswith(TORCHVISION)
    if is_torchvisions:
        _check_task_of(word.removeprefix(TORCHVISION), task)
    check_options(builder, options, word)
    with_background = is_torchvisions and task == "detect"
    facts = {"num_classes": num_classes + with_background, **facts_of(word, input_size)}
    net = call_builder(builder, word, options, facts)
    if with_background:
        return TorchvisionDetector(net)
    if is_torchvisions and task == "segment":
        net.register_forward_hook(_without_names)
    return net


def task_of(word: str) -> str | None:
    """The task that the network of a MODEL word is for, where the word alone tells.

    Raises:
        ConfigError: when there is no network of that name.
    """
    if word.startswith(TORCHVISION):
        name = word.removeprefix(TORCHVISION)
        return next((task for task in _TORCHVISION_ROOMS if name in _names_in(task)), None)
    is_ours = not is_notation(word) and not word.startswith(TIMM) and ".py:" not in word
    return find_model(word).task if is_ours else None


def _without_names(
    net: nn.Module, _: tuple[Tensor], found: Mapping[str, Tensor]
) -> Tensor | tuple[Tensor, Tensor]:
    """The logits of a segmentation network of torchvision, which gives them by name."""
    out = found["out"]
    return (out, found["aux"]) if net.training and "aux" in found else out


def find_builder(word: str) -> Builder | nn.Module:
    """What builds the network of a MODEL word, or the network where a file has it.

    Raises:
        ConfigError: when there is none of that name.
    """
    if is_notation(word):
        return partial(build_notation, word)
    if word.startswith(TORCHVISION):
        return _from_torchvision(word.removeprefix(TORCHVISION))
    if word.startswith(TIMM):
        return _from_timm(word.removeprefix(TIMM))
    file, colon, name = word.rpartition(":")
    if colon and file.endswith(".py"):
        return _from_file(Path(file), name)
    return find_model(word).builder


def facts_of(word: str, input_size: Sequence[int]) -> dict[str, Any]:
    """What a builder may ask about inputs of (C, H, W), or of (C, L) and (C, D, H, W)."""
    facts: dict[str, Any] = {"in_channels": input_size[0]}
    sides = tuple(input_size[1:])
    if sides:
        facts["image_size"] = sides if is_notation(word) else sides[0]
    return facts


def _from_torchvision(name: str) -> Builder:
    from torchvision import models  # two seconds to import, and most trainings need none of it

    names = models.list_models()
    if name not in names:
        raise ConfigError(f"torchvision has no network called {name!r}", near_matches(name, names))
    builder: Builder = models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        builder = partial(builder, weights_backbone=None)  # which would otherwise be downloaded
    return builder


_TORCHVISION_ROOMS = {"classify": None, "segment": "segmentation", "detect": "detection"}


def _names_in(task: str) -> list[str]:
    from torchvision import models

    room = _TORCHVISION_ROOMS[task]
    names: list[str] = models.list_models(module=getattr(models, room) if room else models)
    return names


def _check_task_of(name: str, task: str) -> None:
    """Raises ConfigError where a network of torchvision is for another task."""
    if name.startswith(("maskrcnn", "keypointrcnn")):
        raise ConfigError(f"{TORCHVISION}{name} needs masks or keypoints of objects, not boxes")
    names = _names_in(task)
    if name not in names:
        raise ConfigError(
            f"torchvision has no network called {name!r} to {task}", near_matches(name, names)
        )


def _from_timm(name: str) -> Builder:
    if importlib.util.find_spec("timm") is None:
        raise ConfigError(
            f"{TIMM}{name} needs timm, and it is not installed",
            "Install it with: pip install timm",
        )
    import timm  # an extra of the user's, and seconds to import

    if not timm.is_model(name):
        raise ConfigError(f"timm has no network called {name!r}", _near(name, timm.list_models()))

    def builder(num_classes: int | None = None, in_channels: int = 3, **options: Any) -> nn.Module:
        net: nn.Module = timm.create_model(
            name, num_classes=num_classes, in_chans=in_channels, **options
        )
        return net

    return builder


def _near(word: str, names: list[str]) -> str:
    """Near matches among so many names that all of them fill pages."""
    close = near_matches(word, names)
    return close if len(close) < 300 else "timm.list_models() has them all."


def _from_file(file: Path, name: str) -> Builder | nn.Module:
    if not file.is_file():
        raise ConfigError(f"--model {file}:{name}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--model {file}:{name}: {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{file} raised {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not (isinstance(found, nn.Module) or callable(found)):
        public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise ConfigError(f"{file} has no network called {name!r}", near_matches(name, public))
    return found


def call_builder(
    builder: Builder, word: str, options: Mapping[str, Any], facts: Mapping[str, Any]
) -> nn.Module:
    """The network, built with the options and with those facts that the builder asks for.

    Args:
        builder: what `find_builder` gave.
        word: its MODEL word, for errors.
        options: further arguments.
        facts: "num_classes", "in_channels" and "image_size", as far as they are known.
    Raises:
        ConfigError: when the builder raises, or gives something else than a network.
        ShapeError: when its network does not fit the picture.
    """
    parameters = inspect.signature(builder).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    arguments: dict[str, Any] = {k: v for k, v in facts.items() if k in parameters}
    if open_ended and "num_classes" in facts:
        arguments["num_classes"] = facts["num_classes"]
    try:
        with warnings.catch_warnings():
            # torchvision's and timm's announcements are for those who write such calls.
            warnings.simplefilter("ignore", FutureWarning)
            net = builder(**{**arguments, **options})
    except ShapeError as error:
        side = facts.get("image_size")
        if not isinstance(side, int):
            raise
        size = f"{facts['in_channels']}×{side}×{side}"
        raise ShapeError(f"{word} on pictures of {size}: {error.message}", error.hint) from error
    except ConvolensError:
        raise
    except Exception as error:
        raise ConfigError(f"{word} could not be built: {error}") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{word} must give an nn.Module, it gave a {type(net).__name__}")
    return net


def _check_output(
    net: nn.Module, word: str, num_classes: int, input_size: tuple[int, int, int], task: str
) -> None:
    """One forward pass of a blank picture, which leaves the network as it was."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            output = net(torch.zeros(1, *input_size))
    except (RuntimeError, ValueError, IndexError) as error:
        size = "×".join(map(str, input_size))
        reason = str(error).splitlines()[0]
        raise ShapeError(
            f"{word} cannot read a picture of {size}: {reason}",
            "Try another --set data.image_size=… or data.channels=…",
        ) from error
    finally:
        net.train(was_training)
    if task == "detect":
        if not (hasattr(output, "losses") and hasattr(output, "detections")):
            raise ConfigError(
                f"{word} is no detector: it gave a {type(output).__name__}",
                "A detector's outputs have the methods losses and detections.",
            )
        return
    expected = (1, num_classes) if task == "classify" else (1, num_classes, *input_size[1:])
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if shape != expected:
        raise ShapeError(f"{word} must give {expected} for one picture, it gave {shape}")
