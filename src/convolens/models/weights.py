"""Weights learnt from ImageNet, as torchvision publishes them."""

import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, UnavailableError, near_matches

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
    weights = _find(name, version)
    try:
        # torch.hub announces its downloads on standard output, which is for results.
        with redirect_stdout(sys.stderr):
            tensors: Mapping[str, Any] = weights.get_state_dict(
                progress=False, check_hash=True, weights_only=True, map_location="cpu"
            )
    except Exception as error:  # no network, no room, a wrong hash, a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnavailableError(
            f"the ImageNet weights of {name} could not be fetched from {weights.url}: {reason}",
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
