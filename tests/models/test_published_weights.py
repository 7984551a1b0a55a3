"""torchvision's weights of whole networks, and of the bodies of detectors and segmenters."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.weights import load_backbone, load_whole, published_weights

models = pytest.importorskip("torchvision.models")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of every download, tensors drawn for the classification network."""

    def draw(entry: Any, **_: Any) -> Mapping[str, Tensor]:
        name = type(entry).__name__.removesuffix("_Weights").lower()
        torch.manual_seed(0)
        tensors = models.get_model(name).state_dict()
        return {n: v.uniform_(0.1, 1) if v.is_floating_point() else v for n, v in tensors.items()}

    base = models.ResNet50_Weights.__mro__[1]
    monkeypatch.setattr(base, "get_state_dict", draw)


MOBILENET = models.MobileNet_V3_Large_Weights.IMAGENET1K_V1
RESNET = models.ResNet50_Weights.IMAGENET1K_V1


@pytest.mark.parametrize(
    ("name", "entry", "least"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", MOBILENET, 1.0),
        # It has only half of the channels of the last blocks, unless it begins with ImageNet.
        ("ssdlite320_mobilenet_v3_large", MOBILENET, 0.6),
        ("retinanet_resnet50_fpn", RESNET, 1.0),
        ("lraspp_mobilenet_v3_large", MOBILENET, 1.0),
    ],
)
def test_a_body_gets_what_torchvision_gives_it(
    drawn: None, name: str, entry: Any, least: float
) -> None:
    ours = models.get_model(name, weights_backbone=None, num_classes=3)
    left = load_backbone(ours, name)
    expected = models.get_model(name, weights_backbone=entry, num_classes=3).state_dict()
    loaded = [n for n in ours.state_dict() if n not in left and "num_batches" not in n]
    assert all(torch.equal(ours.state_dict()[n], expected[n]) for n in loaded)
    fetched = entry.get_state_dict()
    body = [n for n in expected if n.startswith("backbone.") and expected[n].ndim == 4]
    body = [n for n in body if not any(part in n for part in (".fpn.", ".extra."))]
    assert len(fetched) > len(loaded)
    assert len([n for n in body if n in loaded]) >= least * len(body) > 20
    assert {n.partition(".")[0] for n in loaded} == {"backbone"}


def test_a_body_that_is_another_says_so(drawn: None) -> None:
    net = nn.ModuleDict({"backbone": nn.Linear(3, 3)})
    with pytest.raises(ConfigError, match=r"no tensor of .* fits the body of fcn_resnet50"):
        load_backbone(net, "fcn_resnet50")


def test_every_published_network_is_found() -> None:
    for name in ("fasterrcnn_resnet50_fpn", "deeplabv3_resnet50", "resnet18"):
        entry = published_weights(name)
        assert entry.url.startswith("https://download.pytorch.org/models/")
        assert len(entry.meta["categories"]) in (21, 91, 1000)
    with pytest.raises(ConfigError, match="torchvision has no weights of 'resnet19'"):
        published_weights("resnet19")


def test_a_whole_network_takes_all_or_says_what_is_missing() -> None:
    net = models.get_model("resnet18", num_classes=5)
    tensors = dict(models.get_model("resnet18", num_classes=5).state_dict())
    extra = {n: v for n, v in tensors.items() if "num_batches" not in n} | {"aux.w": torch.ones(1)}
    load_whole(net, extra, "a.pth")
    assert torch.equal(net.conv1.weight, tensors["conv1.weight"])
    with pytest.raises(
        ShapeError, match=r"a\.pth does not fit this network: it lacks conv1.weight"
    ):
        load_whole(net, {"fc.bias": torch.zeros(5)}, "a.pth")
    with pytest.raises(ShapeError, match=r"size mismatch for fc\.bias") as caught:
        load_whole(net, tensors | {"fc.bias": torch.zeros(7)}, "a.pth")
    assert len(str(caught.value).splitlines()) == 2


def test_the_earlier_names_of_torchvisions_pyramids_are_known() -> None:
    net = models.get_model("retinanet_resnet50_fpn", weights_backbone=None, num_classes=3)
    tensors = {n: v.clone() for n, v in net.state_dict().items()}
    renamed = {n.replace("blocks.0.0.", "blocks.0."): v for n, v in tensors.items()}
    assert renamed.keys() != tensors.keys()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    load_whole(net, renamed, "a.pth")
    assert all(torch.equal(v, tensors[n]) for n, v in net.state_dict().items())
