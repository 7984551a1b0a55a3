"""`--weights imagenet`: what torchvision's networks learnt, in the network of a MODEL word."""

import inspect
from collections.abc import Mapping
from typing import Any, get_args

from torch import nn

from convolens.errors import ConfigError
from convolens.models.fcn import FCN, load_imagenet_body
from convolens.models.region_body import BodyName, load_body
from convolens.models.registry import MODELS
from convolens.models.weights import load_backbone, load_imagenet
from convolens.workbench.network import IMAGENET, TORCHVISION, task_of


def load_from_imagenet(
    network: nn.Module, word: str, options: Mapping[str, Any]
) -> tuple[str, ...]:
    """Gives a network, or its body, the weights that torchvision's learnt from ImageNet.

    Args:
        network: that the word names, changed in place.
        word: a MODEL word.
        options: of its builder.
    Returns: the names of the tensors that stay as initialised.
    Raises:
        ConfigError: when there are no such weights, or none of them fits.
        UnavailableError: when they cannot be fetched.
    """
    if word.startswith(TORCHVISION):
        name = word.removeprefix(TORCHVISION)
        is_whole = task_of(word) == "classify"
        return load_imagenet(network, name) if is_whole else load_backbone(network, name)
    if isinstance(network, FCN):
        return load_imagenet_body(network)
    if word in MODELS and MODELS[word].weights:
        return load_imagenet(network, word)
    return load_body(network, _body_of(word, options))


def _body_of(word: str, options: Mapping[str, Any]) -> BodyName:
    """The body of a detector, as torchvision calls it.

    Raises:
        ConfigError: when torchvision does not have it.
    """
    entry = MODELS.get(word)
    named = inspect.signature(entry.builder).parameters.get("body") if entry else None
    if named is None:
        whole = ", ".join(name for name, entry in MODELS.items() if entry.weights)
        raise ConfigError(
            f"--weights {IMAGENET}: there are none for {word}",
            "Choose torchvision:NAME, a network with a body of torchvision's (fcn8s, fast_rcnn, "
            f"faster_rcnn), or one of: {whole}.",
        )
    body: Any = options.get("body", named.default)
    if body not in get_args(BodyName):
        raise ConfigError(
            f"--weights {IMAGENET}: there are none for {word} with body={body}",
            f"Set model.body to one of {', '.join(get_args(BodyName))}.",
        )
    known: BodyName = body
    return known
