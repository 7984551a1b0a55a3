"""The networks by name."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from convolens.errors import ConfigError, near_matches
from convolens.models.airbench import ENTRIES as AIRBENCH
from convolens.models.alexnet import ENTRIES as ALEXNET
from convolens.models.densenet import ENTRIES as DENSENET
from convolens.models.entry import Builder, ModelEntry
from convolens.models.fast_rcnn import ENTRIES as FAST_RCNN
from convolens.models.faster_rcnn import ENTRIES as FASTER_RCNN
from convolens.models.fcn import ENTRIES as FCN
from convolens.models.googlenet import ENTRIES as GOOGLENET
from convolens.models.lenet import ENTRIES as LENET
from convolens.models.nin import ENTRIES as NIN
from convolens.models.rcnn import ENTRIES as RCNN
from convolens.models.resnet import ENTRIES as RESNET
from convolens.models.resnet9 import ENTRIES as RESNET9
from convolens.models.resnet_cifar import ENTRIES as RESNET_CIFAR
from convolens.models.simple_convnet import ENTRIES as SIMPLE_CONVNET
from convolens.models.small_convnet import ENTRIES as SMALL_CONVNET
from convolens.models.unet import ENTRIES as UNET
from convolens.models.vgg import ENTRIES as VGG
from convolens.models.yolo import ENTRIES as YOLO
from convolens.models.yolo_v1 import ENTRIES as YOLO_V1
from convolens.models.zfnet import ENTRIES as ZFNET

COMMON = ("num_classes", "in_channels", "image_size")


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
        *LENET,
        *SIMPLE_CONVNET,
        *ALEXNET,
        *ZFNET,
        *NIN,
        *VGG,
        *GOOGLENET,
        *RESNET,
        *RESNET_CIFAR,
        *DENSENET,
        *RESNET9,
        *SMALL_CONVNET,
        *AIRBENCH,
        *FCN,
        *UNET,
        *YOLO,
        *YOLO_V1,
        *RCNN,
        *FAST_RCNN,
        *FASTER_RCNN,
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
