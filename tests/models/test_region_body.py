from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from convolens.errors import ConfigError
from convolens.models import region_body as module
from convolens.models.fast_rcnn import fast_rcnn
from convolens.models.faster_rcnn import faster_rcnn
from convolens.models.region_body import BodyName, load_body, region_body
from convolens.models.resnet import resnet18
from convolens.models.vgg import vgg16


def random_values(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        key: torch.randn(t.shape) if t.is_floating_point() else torch.ones(t.shape, dtype=t.dtype)
        for key, t in tensors.items()
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "vgg16"])
@pytest.mark.parametrize("num_maps", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (33, 97), (5, 130)])
def test_maps_cover_the_picture_at_their_stride(
    name: BodyName, num_maps: int, size: tuple[int, int]
) -> None:
    with torch.device("meta"):
        body = region_body(name, 3, width=8, num_maps=num_maps).eval()
        maps = body(torch.zeros(1, 3, *size))
    assert len(maps) == num_maps
    for found, channels, stride in zip(maps, body.channels, body.strides, strict=True):
        least = tuple(-(-side // stride) for side in size)
        assert found.shape[1] == channels
        assert all(0 <= a - b <= 3 for a, b in zip(found.shape[-2:], least, strict=True))


def test_a_small_stem_divides_the_strides_by_four() -> None:
    with torch.device("meta"):
        assert region_body("resnet18", 3, stem="small", num_maps=3).strides == (2, 4, 8)
        assert faster_rcnn(image_size=64).strides == (4,)
        assert faster_rcnn(image_size=320).strides == (16,)


def test_torchvisions_weights_go_to_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        published = resnet18().state_dict()
    weights = random_values(published)
    monkeypatch.setattr(module, "fetch_imagenet", lambda name, version: weights)
    net = fast_rcnn(3, width=64, hidden=8)
    left = load_body(net, "resnet18")
    assert torch.equal(net.body.state_dict()["conv1.weight"], weights["conv1.weight"])
    assert all(name.startswith("head.") for name in left)
    with pytest.raises(ConfigError, match="no tensor of torchvision's resnet18 fits"):
        load_body(fast_rcnn(3, width=12, hidden=8), "resnet18")


def test_vgg16s_affine_layers_go_to_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        published = {k: v for k, v in vgg16().state_dict().items() if k != "classifier.3.weight"}
        net = fast_rcnn(3, body="vgg16")
    # Without values, for a hundred million of them: what is left tells where they would go.
    monkeypatch.setattr(module, "fetch_imagenet", lambda name, version: published)
    left = load_body(net, "vgg16")
    assert set(left) == {
        "head.fc7.weight",
        *(f"head.{layer}.{kind}" for layer in ("score", "offset") for kind in ("weight", "bias")),
    }
