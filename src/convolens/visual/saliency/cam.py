"""Class activation maps: which places of a layer's feature maps speak for a class."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.visual.asked import Target, ask, asked, chosen, class_scores, own_input, score_of
from convolens.visual.layers import found, layers_of, maps_of, watched


@dataclass(frozen=True, kw_only=True)
class Cam:
    """A class activation map.

    Args:
        layer: whose feature maps were weighed.
        maps: (N, h, w), as large as they are; not negative.
    """

    layer: str
    maps: Tensor

    def resized(self, height: int, width: int) -> Tensor:
        """The maps as large as the picture, interpolated bilinearly: (N, height, width)."""
        size = (height, width)
        return F.interpolate(self.maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def grad_cam(
    net: nn.Module, pictures: Tensor, target: Target = None, *, layer: str | None = None
) -> Cam:
    """The feature maps A weighed by their mean gradients: ReLU(Σ_k mean_yx(∂s_c/∂A_k) · A_k).

    The network is left exactly as it was found.

    Source: Selvaraju et al. (2016), Grad-CAM, arXiv:1610.02391, section 3.
    Args:
        net, pictures, target: as for `gradient`.
        layer: as `summarize` names it, or a module; None is the last layer with feature maps
            before they are pooled or flattened, found from the graph.
    Shape: pictures (N, C, H, W) -> maps (N, h, w)
    Raises:
        ConfigError: when there is no such layer or class.
        ShapeError: when the layer gives no feature maps.
    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
        >>> cam = grad_cam(net, torch.rand(4, 1, 5, 5))
        >>> cam.layer, cam.maps.shape
        ('1', torch.Size([4, 3, 3]))
    """
    name = _layer(net, pictures, layer)
    with asked(net):
        x = own_input(pictures)
        with watched(net, [name]) as readings:
            scores = class_scores(net(x.clone()))
        reading = found(readings, name)
        score = scores.gather(1, chosen(scores, target)[:, None]).sum()
        slope = None
        if reading.edge is not None and score.requires_grad:
            (slope,) = torch.autograd.grad(score, (reading.edge,), allow_unused=True)
    slope = torch.zeros_like(reading.value) if slope is None else slope
    weights = slope.mean((2, 3), keepdim=True)
    return Cam(layer=name, maps=(weights * reading.value).sum(1).relu())


def score_cam(
    net: nn.Module,
    pictures: Tensor,
    target: Target = None,
    *,
    layer: str | None = None,
    batch: int = 64,
) -> Cam:
    """Feature maps weighed by what each, as a mask on the picture, gives the class; no gradient.

    ReLU(Σ_k softmax_k(s_c(x ∘ M_k)) · A_k), where M_k is A_k scaled to 0…1 and as large as the
    picture. It takes a forward pass for every channel of the layer.

    Source: Wang et al. (2019), Score-CAM, arXiv:1910.01279, algorithm 1.
    Args:
        net, pictures, target, layer: as for `grad_cam`.
        batch: the most pictures that go through the network at once.
    Shape: pictures (N, C, H, W) -> maps (N, h, w)
    Deviates: the weights are the softmax over channels of the masked pictures' logits, without the
        baseline's logit, which a softmax cancels; a map without any contrast masks everything.
    """
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, received {batch}")
    name = _layer(net, pictures, layer)
    maps = maps_of(net, pictures, [name])[name]
    classes, _ = ask(net, pictures, target)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    masks = (maps - low) / (high - low).clamp(min=1e-8)
    rows = [(n, k) for n in range(len(maps)) for k in range(maps.shape[1])]
    given = []
    with asked(net), torch.no_grad():
        for first in range(0, len(rows), batch):
            n, k = torch.tensor(rows[first : first + batch], device=pictures.device).T
            mask = F.interpolate(
                masks[n, k][:, None], pictures.shape[2:], mode="bilinear", align_corners=False
            )
            given.append(score_of(net(pictures[n] * mask), classes[n]))
    weights = torch.cat(given).view(maps.shape[:2]).softmax(1)
    return Cam(layer=name, maps=(weights[:, :, None, None] * maps).sum(1).relu())


def eigen_cam(net: nn.Module, pictures: Tensor, *, layer: str | None = None) -> Cam:
    """The feature maps projected on their first principal direction; no gradient and no class.

    For each picture, of A as a matrix (places, channels) with the mean of each channel taken off,
    the first right singular vector v gives ReLU(A v).

    Source: Muhammad and Yeasin (2020), Eigen-CAM, arXiv:2008.00299, section III.
    Args:
        net, pictures, layer: as for `grad_cam`.
    Shape: pictures (N, C, H, W) -> maps (N, h, w)
    Deviates: a singular vector's sign is arbitrary; here the projection rises with the mean of
        all channels.
    """
    name = _layer(net, pictures, layer)
    maps = maps_of(net, pictures, [name])[name]
    places = maps.flatten(2).transpose(1, 2).double()  # (N, h·w, K)
    centred = places - places.mean(1, keepdim=True)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[:, 0]  # (N, K)
    projected = torch.einsum("npk,nk->np", centred, direction)
    brightness = centred.mean(2)
    sign = torch.where((projected * brightness).sum(1) < 0, -1.0, 1.0)
    projected = projected * sign[:, None]
    return Cam(layer=name, maps=projected.relu().view_as(maps[:, 0]).to(maps.dtype))


def _layer(net: nn.Module, pictures: Tensor, layer: str | None) -> str:
    """The layer's name, where it gives feature maps."""
    own_input(pictures)  # says what is wrong with them
    layers = layers_of(net, pictures)
    name = layers.last_spatial() if layer is None else layer
    shape = layers.shape(name)
    if len(shape) != 3:
        raise ShapeError(
            f"{name} gives {'×'.join(map(str, shape))}, and a class activation map needs feature "
            "maps (C, H, W)"
        )
    return name
