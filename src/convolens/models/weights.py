"""Weights as torchvision publishes them: of its own networks, and in ours."""

import inspect
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from itertools import dropwhile, takewhile
from typing import Any

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError, UnavailableError, near_matches

# The files of DenseNet are older than the rule that a module's name holds no dot.
_DOTTED = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
_COUNTER = "num_batches_tracked"  # which files older than PyTorch 0.4.1 lack


def load_imagenet(net: nn.Module, name: str, *, version: str = "DEFAULT") -> tuple[str, ...]:
    """Gives a network the weights that torchvision's network of a name learnt from ImageNet.

    Every tensor is loaded that has the same name and shape there. A head for other than 1,000
    classes is not among them, nor a first layer for other than three channels. torchvision keeps
    the file in the cache of `torch.hub`.

    Source: https://docs.pytorch.org/vision/stable/models.html
    Args:
        net: the network, changed in place.
        name: as torchvision calls it, such as "resnet18".
        version: of torchvision's weights, such as "IMAGENET1K_V1"; "DEFAULT" is the best.
    Returns: the names of the tensors that stay as initialised.
    Raises:
        ConfigError: when there are no such weights, or none of them fits.
        UnavailableError: when they cannot be fetched, or are not what torchvision has published.
    Example:
        >>> load_imagenet(resnet18(num_classes=5), "resnet18")  # doctest: +SKIP
        ('fc.weight', 'fc.bias')
    """
    tensors = fetch_imagenet(name, version=version)
    own = net.state_dict()
    fitting = {n: v for n, v in tensors.items() if n in own and own[n].shape == v.shape}
    if not any(n in fitting for n, _ in net.named_parameters()):
        raise ConfigError(
            f"no tensor of torchvision's {name} fits {type(net).__name__}: it has "
            f"{_first(tensors)}, the network {_first(own)}"
        )
    with torch.no_grad():
        for key, value in fitting.items():
            own[key].copy_(value)
    return tuple(n for n in own if n not in fitting and not n.endswith(_COUNTER))


def fetch_imagenet(name: str, *, version: str = "DEFAULT") -> Mapping[str, Tensor]:
    """torchvision's weights of a network by the names that its modules have today.

    Raises:
        ConfigError: when there are no such weights.
        UnavailableError: as `load_imagenet`.
    """
    return _fetch(_find(name, version), f"the ImageNet weights of {name}")


def published_weights(name: str) -> Any:
    """torchvision's entry of the best weights of one of its networks, for whichever task.

    Returns: a member of an enumeration, which has `url`, `meta` and `transforms`.
    Raises:
        ConfigError: when torchvision has no network of that name, or no weights of it.
    """
    from torchvision import models  # two seconds to import, and most trainings need none of it

    known = models.list_models()
    if name not in known:
        raise ConfigError(f"torchvision has no weights of {name!r}", near_matches(name, known))
    members = models.get_model_weights(name).__members__
    if not members:
        raise ConfigError(f"torchvision has no weights of {name!r}")
    return members.get("DEFAULT") or next(iter(members.values()))


def fetch_published(name: str) -> Mapping[str, Tensor]:
    """The tensors of `published_weights`.

    Raises:
        ConfigError, UnavailableError: as `published_weights` and `load_imagenet`.
    """
    return _fetch(published_weights(name), f"the weights of {name}")


def load_backbone(net: nn.Module, name: str) -> tuple[str, ...]:
    """Gives the body of a detector or segmenter of torchvision the weights learnt from ImageNet.

    The body is the beginning of a classification network, whose tensors it has in their order,
    under other names.

    Args:
        net: the network, changed in place; its body is called `backbone`.
        name: as torchvision calls it, such as "fasterrcnn_resnet50_fpn".
    Returns: the names of the network's tensors that stay as they are.
    Raises:
        ConfigError: when none of them fits.
        UnavailableError: as `load_imagenet`.
    """
    from torchvision import models

    wanted = inspect.signature(models.get_model_builder(name)).parameters["weights_backbone"]
    entry = wanted.default or models.ResNet50_Weights.DEFAULT
    theirs = _fetch(entry, f"the ImageNet weights of the body of {name}")
    own = {n: v for n, v in net.state_dict().items() if not n.endswith(_COUNTER)}
    body = [n for n in own if n.startswith("backbone.")]
    first, *_ = tensors = [(n, v) for n, v in theirs.items() if not n.endswith(_COUNTER)]
    body = list(dropwhile(lambda n: not _is_like(n, own[n], *first), body))
    pairs = zip(body, tensors, strict=False)
    same = list(takewhile(lambda pair: _is_like(pair[0], own[pair[0]], *pair[1]), pairs))
    if not same:
        raise ConfigError(f"no tensor of {entry} fits the body of {name}")
    with torch.no_grad():
        for n, (_, value) in same:
            own[n].copy_(value)
    loaded = {n for n, _ in same}
    return tuple(n for n in own if n not in loaded)


def load_whole(net: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Gives a network of torchvision, or ours of that name, all of its weights.

    Args:
        net: the network, changed in place.
        tensors: by name, also by those that torchvision's modules had earlier; those of parts
            that the network does not have, such as auxiliary classifiers, are passed over.
        source: where they are from, for errors.
    Raises:
        ShapeError: when a tensor is missing or of another shape.
    """
    hint = "How many classes there are is told by --classes NAME,NAME,…"
    renamed = {_DOTTED.sub(r"\1\2", name): value for name, value in tensors.items()}
    try:
        missing, _ = net.load_state_dict(renamed, strict=False)
    except RuntimeError as error:  # another shape
        line = str(error).splitlines()[1].strip()
        raise ShapeError(f"{source} does not fit this network: {line}", hint) from error
    missing = [name for name in missing if not name.endswith(_COUNTER)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ShapeError(f"{source} does not fit this network: it lacks {missing[0]}{more}")


def _is_like(name: str, value: Tensor, other: str, other_value: Tensor) -> bool:
    kind, other_kind = name.rpartition(".")[2], other.rpartition(".")[2]
    return kind == other_kind and value.shape == other_value.shape


def _fetch(entry: Any, what: str) -> Mapping[str, Tensor]:
    """The tensors of an entry of torchvision's, from its cache or over the network."""
    try:
        # torch.hub announces its downloads on standard output, which is for results.
        with redirect_stdout(sys.stderr):
            tensors: Mapping[str, Any] = entry.get_state_dict(
                progress=False, check_hash=True, weights_only=True, map_location="cpu"
            )
    except Exception as error:  # no network, no room, a wrong hash, a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnavailableError(
            f"{what} could not be fetched from {entry.url}: {reason}",
            "Fetch that file where there is a network, and give it with --weights FILE.",
        ) from error
    return {
        _DOTTED.sub(r"\1\2", key): value
        for key, value in tensors.items()
        if isinstance(value, Tensor)
    }


def _find(name: str, version: str) -> Any:
    """torchvision's entry of the weights."""
    from torchvision import models  # two seconds to import, and most trainings need none of it

    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(f"torchvision has no weights of {name!r}", near_matches(name, known))
    versions = models.get_model_weights(name).__members__
    if version not in versions:
        raise ConfigError(
            f"torchvision has no weights {version!r} of {name}", near_matches(version, versions)
        )
    return versions[version]


def _first(tensors: Mapping[str, Tensor]) -> str:
    return next((f"{name} {tuple(value.shape)} first" for name, value in tensors.items()), "none")
