"""`--weights imagenet`: which part of which network gets them."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from convolens.errors import ConfigError
from convolens.workbench.network import build_network
from convolens.workbench.pretrained import load_from_imagenet

models = pytest.importorskip("torchvision.models")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of every download, tensors drawn for the classification network."""

    def draw(entry: Any, **_: Any) -> Mapping[str, Tensor]:
        name = type(entry).__name__.removesuffix("_Weights").lower()
        torch.manual_seed(0)
        tensors = models.get_model(name).state_dict()
        return {n: v.uniform_(0.1, 1) if v.is_floating_point() else v for n, v in tensors.items()}

    monkeypatch.setattr(models.ResNet50_Weights.__mro__[1], "get_state_dict", draw)


@pytest.mark.parametrize(
    ("word", "options", "task", "conv"),
    [
        ("fcn8s_resnet18", {}, "segment", "body.layer4.1.conv2.weight"),
        ("faster_rcnn", {"width": 64}, "detect", "body.layer3.1.conv2.weight"),
        ("fast_rcnn", {"width": 64}, "detect", "body.layer3.1.conv2.weight"),
        (
            "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
            {},
            "detect",
            "backbone.body.16.0.weight",
        ),
        ("torchvision:lraspp_mobilenet_v3_large", {}, "segment", "backbone.16.0.weight"),
        ("resnet18", {}, "classify", "layer4.1.conv2.weight"),
    ],
)
def test_the_body_is_loaded_and_the_rest_stays(
    drawn: None, word: str, options: dict[str, Any], task: str, conv: str
) -> None:
    net = build_network(word, options, num_classes=3, input_size=(3, 64, 64), task=task)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    left = load_from_imagenet(net, word, options)
    after = net.state_dict()
    assert conv not in left
    assert float(after[conv].min()) >= 0.1  # as drawn, and as no network begins
    assert left
    assert all(torch.equal(after[name], before[name]) for name in left)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert len(changed) > 40
    assert not changed & {*left}


@pytest.mark.parametrize(
    ("word", "options", "message"),
    [
        ("yolo", {}, "there are none for yolo"),
        ("unet", {}, "there are none for unet"),
        ("faster_rcnn", {"width": 8}, "no tensor of torchvision's resnet18 fits the body"),
    ],
)
def test_what_has_no_such_body_says_so(
    drawn: None, word: str, options: dict[str, Any], message: str
) -> None:
    task = "segment" if word == "unet" else "detect"
    net = build_network(word, options, num_classes=3, input_size=(3, 64, 64), task=task)
    with pytest.raises(ConfigError, match=message) as caught:
        load_from_imagenet(net, word, options)
    assert len(str(caught.value).splitlines()) == 2


def test_rcnn_is_told_which_bodies_have_them() -> None:
    net = torch.nn.Identity()
    with pytest.raises(ConfigError, match="there are none for rcnn with body=small") as caught:
        load_from_imagenet(net, "rcnn", {})
    assert caught.value.hint == "Set model.body to one of resnet18, resnet34, resnet50, vgg16."
