import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models import lenet5, resnet20
from convolens.visual.saliency import eigen_cam, grad_cam, score_cam


class Target:
    """pytorch-grad-cam's way to ask for a class."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, output: Tensor) -> Tensor:
        return output[self.number]


def scaled(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """As pytorch-grad-cam scales them: from 0 to 1, enlarged, and from 0 to 1 again."""
    large = F.interpolate(unit(maps)[:, None], size, mode="bilinear", align_corners=False)
    return unit(large[:, 0]).numpy()


def unit(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (1e-7 + high - low)


def test_grad_cam_agrees_with_captum(captum, awkward, plain, pictures: Tensor) -> None:
    classes = [0, 1, 2]
    method = captum.LayerGradCam(plain, plain.relus[4])
    theirs = method.attribute(pictures, target=classes, relu_attributions=True)[:, 0].detach()
    assert theirs.any()
    torch.testing.assert_close(grad_cam(plain, pictures, classes, layer="relus.4").maps, theirs)
    found = grad_cam(awkward, pictures, classes)
    assert found.layer == "relu#4"  # two calls of the module, F.relu, torch.relu_
    torch.testing.assert_close(found.maps, theirs)


def test_a_layer_that_is_overwritten_in_place(captum, awkward, plain, pictures: Tensor) -> None:
    method = captum.LayerGradCam(plain, plain.second)
    theirs = method.attribute(pictures, target=1, relu_attributions=True)[:, 0].detach()
    torch.testing.assert_close(grad_cam(awkward, pictures, 1, layer="second").maps, theirs)
    method = captum.LayerGradCam(plain, plain.norm)  # whose result is overwritten by the ReLU
    theirs = method.attribute(pictures, target=1, relu_attributions=True)[:, 0].detach()
    torch.testing.assert_close(grad_cam(awkward, pictures, 1, layer="norm").maps, theirs)


def test_agreement_with_pytorch_grad_cam(grad_cams) -> None:
    torch.manual_seed(0)
    net, x = resnet20().eval(), torch.rand(3, 3, 32, 32)
    classes = [4, 7, 1]
    with grad_cams.GradCAM(model=net, target_layers=[net.layer3[-1]]) as method:
        theirs = method(x, [Target(k) for k in classes])
    found = grad_cam(net, x, classes)
    assert found.layer == "layer3.2.relu#2"
    np.testing.assert_allclose(scaled(found.maps, (32, 32)), theirs, atol=2e-4)
    with grad_cams.EigenCAM(model=net, target_layers=[net.layer3[-1]]) as method:
        theirs = method(x, [Target(k) for k in classes])
    mine = eigen_cam(net, x).maps
    # The sign of a singular vector is arbitrary, so theirs may be ours of the other sign.
    assert mine.amax((1, 2)).min() > 0
    for projection, their in zip(eigen_projection(net, x), theirs, strict=True):
        both = [scaled((s * projection).relu()[None], (32, 32))[0] for s in (1, -1)]
        assert min(np.abs(one - their).max() for one in both) < 2e-3


def eigen_projection(net: nn.Module, x: Tensor) -> Tensor:
    """The projection on the first principal direction, signed so that it rises with the mean."""
    kept: list[Tensor] = []
    handle = net.layer3[-1].register_forward_hook(lambda m, i, o: kept.append(o.detach()))
    net(x)
    handle.remove()
    result = []
    for maps in kept[0].double().flatten(2):
        centred = (maps - maps.mean(1, keepdim=True)).T
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        projected = centred @ vectors[:, values.argmax()]
        sign = torch.sign((projected * centred.mean(1)).sum())
        result.append((projected * sign).view(8, 8))
    return torch.stack(result).float()


def test_eigen_cam_is_the_first_principal_component() -> None:
    torch.manual_seed(0)
    net, x = resnet20().eval(), torch.rand(2, 3, 32, 32)
    expected = eigen_projection(net, x).relu()
    torch.testing.assert_close(eigen_cam(net, x).maps, expected, atol=1e-4, rtol=1e-4)


def test_score_cam_weighs_each_map_by_what_it_gives_the_class(awkward, pictures: Tensor) -> None:
    found = score_cam(awkward, pictures[:1], 2, layer="third", batch=3)
    kept: list[Tensor] = []
    handle = awkward.third.register_forward_hook(lambda m, i, o: kept.append(o.detach().clone()))
    with torch.no_grad():
        awkward(pictures[:1].clone())
        handle.remove()
        maps, scores = kept[0][0], []
        for one in maps:  # as large as the picture already
            mask = (one - one.min()) / (one.max() - one.min())
            scores.append(awkward(pictures[:1] * mask)[0, 2])
        weights = torch.stack(scores).softmax(0)
    torch.testing.assert_close(found.maps[0], (weights[:, None, None] * maps).sum(0).relu())


def test_score_cam_is_like_pytorch_grad_cams(grad_cams) -> None:
    torch.manual_seed(0)
    net, x = lenet5(activation="relu", pooling="max").eval(), torch.rand(1, 1, 32, 32)
    with grad_cams.ScoreCAM(model=net, target_layers=[net.act2]) as method:
        theirs = method(x, [Target(3)])
    mine = scaled(score_cam(net, x, 3).maps, (32, 32))
    # It enlarges maps in another way before it masks, which moves the weights a little.
    assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.99


def test_the_enlarged_map_is_as_large_as_the_picture(awkward, pictures: Tensor) -> None:
    found = grad_cam(awkward, pictures, layer="max_pool2d_with_indices")
    assert found.maps.shape == (3, 6, 5)
    assert found.resized(12, 10).shape == (3, 12, 10)


def test_layers_that_have_no_map(awkward, pictures: Tensor) -> None:
    with pytest.raises(ConfigError, match="no layer 'thirt'\nDid you mean third"):
        grad_cam(awkward, pictures, layer="thirt")
    with pytest.raises(ShapeError, match="last gives 5, and a class activation map needs"):
        grad_cam(awkward, pictures, layer="last")
    flat = nn.Sequential(nn.Flatten(), nn.Linear(360, 4))
    with pytest.raises(ConfigError, match="no layer with feature maps"):
        grad_cam(flat, pictures)
