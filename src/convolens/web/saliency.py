"""What in a picture speaks for a class, by one method at a time."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from convolens.errors import ConfigError, RunError
from convolens.visual.figure import Figure
from convolens.visual.saliency import (
    SaliencyMap,
    eigen_cam,
    grad_cam,
    gradient,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency_figure,
)
from convolens.web.scene import Maps, Scene

Method = Callable[[nn.Module, Tensor, int, tuple[int, int]], SaliencyMap]


def _plain(values: Tensor) -> Maps:
    array: Maps = values[0].detach().float().numpy()
    return array


def _integrated(net: nn.Module, x: Tensor, target: int, _: tuple[int, int]) -> SaliencyMap:
    found = integrated_gradients(net, x, target)
    note = f"completeness error {100 * float(found.relative_error[0]):.1g}%"
    values = _plain(found.attributions)
    return SaliencyMap(title="integrated gradients", values=values, kind="signed", note=note)


def _grad_cam(net: nn.Module, x: Tensor, target: int, size: tuple[int, int]) -> SaliencyMap:
    cam = grad_cam(net, x, target)
    values = _plain(cam.resized(*size))
    return SaliencyMap(title="Grad-CAM", values=values, kind="overlay", note=cam.layer)


def _eigen_cam(net: nn.Module, x: Tensor, _: int, size: tuple[int, int]) -> SaliencyMap:
    cam = eigen_cam(net, x)
    values = _plain(cam.resized(*size))
    return SaliencyMap(title="Eigen-CAM", values=values, kind="overlay", note=cam.layer)


METHODS: Mapping[str, Method] = {
    "gradient": lambda net, x, target, _: SaliencyMap(
        title="gradient", values=_plain(gradient(net, x, target)), kind="size"
    ),
    "guided backprop": lambda net, x, target, _: SaliencyMap(
        title="guided backprop", values=_plain(guided_backprop(net, x, target)), kind="size"
    ),
    "integrated gradients": _integrated,
    "occlusion": lambda net, x, target, _: SaliencyMap(
        title="occlusion", values=_plain(occlusion(net, x, target)), kind="signed"
    ),
    "Grad-CAM": _grad_cam,
    "Eigen-CAM": _eigen_cam,
}


def saliency_of(scene: Scene, method: str, class_name: str) -> Figure:
    """What in the picture speaks for a class.

    Raises:
        ConfigError: when there is no such method or class.
        RunError: when the Run's network gives no classes.
    """
    names = scene.opened.run.task.class_names
    if not scene.labels:
        raise RunError("this Run's network gives no number for each class to speak for")
    if method not in METHODS:
        raise ConfigError(f"there is no method called {method!r}")
    if class_name not in names:
        raise ConfigError(f"the Run has no class {class_name!r}")
    target = list(names).index(class_name)
    one = METHODS[method](scene.opened.net, scene.x, target, scene.size)
    return saliency_figure(scene.pixels, [one], class_name)
