"""`predict` without a Run: networks with the weights that torchvision publishes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from convolens.data.picture import PictureFormat, picture_header
from convolens.errors import ConfigError
from convolens.models.registry import find_model
from convolens.models.torchvision_detector import WITHOUT_EPS, TorchvisionDetector, without_eps
from convolens.models.weights import fetch_published, load_whole, published_weights
from convolens.tasks.classify import Classify
from convolens.tasks.detect import Detect
from convolens.tasks.segment import Segment
from convolens.train.config import Tta
from convolens.train.plan import Plan, choose_device
from convolens.train.transfer import read_weights
from convolens.workbench.network import IMAGENET, TORCHVISION, task_of, unchecked_network
from convolens.workbench.predict import Prediction, predict_pictures
from convolens.workbench.predict_boxes import SCORE, BoxPrediction, predict_boxes
from convolens.workbench.predict_masks import MaskPrediction, predict_masks
from convolens.workbench.tasks import check_views
from convolens.workbench.views import with_views

DEFAULT = "default"  # the word for torchvision's best weights; a file of that name is "./default"
SizeOf = Callable[[tuple[int, int]], tuple[int, int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pretrained:
    """A network that can predict without having been trained here.

    Args:
        model: its MODEL word.
        weights: "default", or the file.
        network: on its device, ready to predict.
        task: its classes, and how pictures are normalised.
        plan: how it runs.
        size_of: the (H, W) to which a picture of (h, w) is scaled.
    """

    model: str
    weights: str
    network: nn.Module
    task: Classify | Segment | Detect
    plan: Plan
    size_of: SizeOf

    def predict(
        self, *images: str | Path, top: int = 5, score: float = SCORE, tta: Tta = "none"
    ) -> list[Prediction] | list[MaskPrediction] | list[BoxPrediction]:
        """What the network says of pictures of any size and colour.

        Args:
            images: files.
            top: how many labels to give for each picture, of a network that classifies.
            score: the least score of a detection, of a network that detects.
            tta: views of a picture that are averaged, as of `Run.predict`.
        Returns: a Prediction for each picture, in their order; a MaskPrediction of a network that
            segments, a BoxPrediction of one that detects.
        Raises:
            DataError: when a picture cannot be read.
            ConfigError: when a number is out of its range, or the network cannot take these views.
        """
        paths = [Path(image) for image in images]
        network = with_views(self.network, check_views(self.task.name, tta))
        task, plan = self.task, self.plan
        if isinstance(task, Classify):
            format = PictureFormat(channels=3, size=self.size_of((1, 1)), fit="crop")
            return predict_pictures(network, task, plan, format, paths, top)
        formats = [self._format_of(path) for path in paths]
        pairs = list(zip(paths, formats, strict=True))
        if isinstance(task, Segment):
            return [m for p, f in pairs for m in predict_masks(network, task, plan, f, [p])]
        return [b for p, f in pairs for b in predict_boxes(network, task, plan, f, [p], score)]

    def _format_of(self, path: Path) -> PictureFormat:
        _, size = picture_header(path, str(path))
        return PictureFormat(channels=3, size=self.size_of(size), fit="stretch")


def pretrained(
    model: str,
    *,
    weights: str | Path = DEFAULT,
    classes: Sequence[str] = (),
    device: str | None = None,
) -> Pretrained:
    """A network of torchvision, or ours of the same name, that knows its classes already.

    Args:
        model: "torchvision:NAME", or a name of ours for which torchvision has weights.
        weights: "default" for the best that torchvision publishes, "imagenet" for the same of
            a network that classifies, or a file with all of the network's tensors.
        classes: their names; by default those of torchvision's weights.
        device: "auto", "cpu" or "cuda"; None is "auto".
    Returns: the network with its `predict`. Pictures are scaled and normalised as torchvision
        does, though by bicubic interpolation.
    Raises:
        ConfigError: when a word is wrong, or the network cannot predict without a Run.
        RunError, ShapeError: when the file is damaged, or of another network.
        UnavailableError: when the weights cannot be fetched.
    Example:
        >>> net = pretrained("torchvision:fasterrcnn_resnet50_fpn")  # doctest: +SKIP
        >>> net.predict("street.jpg")[0].detections  # doctest: +SKIP
    """
    name, task = _published_name(model)
    word = str(weights)
    if word == IMAGENET and task != "classify":
        raise ConfigError(
            f"--weights {IMAGENET}: those of {model} are of its body alone, which cannot {task}",
            f"To predict, take --weights {DEFAULT}.",
        )
    entry = published_weights(name)
    names = tuple(classes) or _class_names(entry, task)
    preset = entry.transforms()
    side = getattr(preset, "crop_size", [224])[0]
    options = {"image_size": side} if name.startswith("vit_") else {}  # weights for each position
    network = unchecked_network(
        model, options, num_classes=len(names), input_size=(3, side, side), task=task
    )
    is_file = word not in (DEFAULT, IMAGENET)
    tensors = read_weights(Path(word)) if is_file else fetch_published(name)
    load_whole(network, tensors, word if is_file else f"torchvision's file of {name}")
    if hasattr(network, "transform_input"):  # Inception's weights expect pictures from −1 to 1
        setattr(network, "transform_input", True)  # noqa: B010  mypy takes it for a module
    if name in WITHOUT_EPS and not is_file and isinstance(network, TorchvisionDetector):
        without_eps(network)
    plan = Plan(device=choose_device(device or "auto"), precision="float32", channels_last=True)
    whole, size_of, mean, std = _prepared(network, preset)
    given: dict[str, Any] = {"class_names": names, "mean": mean, "std": std, "fill": mean}
    if isinstance(network, TorchvisionDetector):
        given["iou"] = network.iou
    made = {"classify": Classify, "segment": Segment, "detect": Detect}[task](**given)
    return Pretrained(
        model=model,
        weights=word,
        network=plan.place(whole).eval(),
        task=made,
        plan=plan,
        size_of=size_of,
    )


def _published_name(model: str) -> tuple[str, str]:
    """What torchvision calls the network of a word, and its task."""
    if model.startswith(TORCHVISION):
        task = task_of(model)
        name = model.removeprefix(TORCHVISION)
        if task is None or name.startswith(("maskrcnn", "keypointrcnn", "raft")):
            published_weights(name)  # where there is no such network, that is what to say
            raise ConfigError(f"{model} does more or less than classify, segment or detect boxes")
        return name, task
    known = ":" not in model and find_model(model).weights
    if not known:
        raise ConfigError(
            f"{model} cannot predict without a Run, which says what its classes and pictures are",
            "Train it, or choose torchvision:NAME, or a network of ours with ImageNet weights.",
        )
    return model, "classify"


def _class_names(entry: Any, task: str) -> tuple[str, ...]:
    """The classes of torchvision's weights; a detector's without the background."""
    names = [name.strip("_") for name in entry.meta["categories"]]
    return tuple(names[1:] if task == "detect" else names)


def _prepared(
    network: nn.Module, preset: Any
) -> tuple[nn.Module, SizeOf, tuple[float, ...], tuple[float, ...]]:
    """The network, how pictures are scaled for it, and their mean and standard deviation."""
    if isinstance(network, TorchvisionDetector):
        return network, network.input_size, network.image_mean, network.image_std
    mean, std, side = tuple(preset.mean), tuple(preset.std), preset.resize_size[0]
    crop = getattr(preset, "crop_size", None)
    if crop is None:
        return network, lambda size: _with_shorter(size, side), mean, std
    from torchvision.transforms.v2 import CenterCrop  # two seconds to import

    return nn.Sequential(CenterCrop(crop[0]), network), lambda _: (side, side), mean, std


def _with_shorter(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size of the same proportions whose shorter side is given."""
    shorter = min(size)
    return side * size[0] // shorter, side * size[1] // shorter
