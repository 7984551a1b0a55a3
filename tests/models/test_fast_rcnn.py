from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.fast_rcnn import fast_rcnn
from convolens.models.rcnn import rcnn
from convolens.nn.objects import Objects, pad_objects

SIZE = (50, 70)
NAN = float("nan")
BUILDERS = {
    "rcnn": lambda: rcnn(3, region_size=24, num_regions=8),
    "fast_rcnn": lambda: fast_rcnn(3, width=8, num_regions=8),
}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return BUILDERS[name]()


def picture(count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def random_boxes(count: int) -> Tensor:
    source = torch.Generator().manual_seed(count)
    first = torch.rand(count, 2, generator=source) * 30
    return torch.cat((first, first + 5 + 15 * torch.rand(count, 2, generator=source)), dim=1)


def targets(num_objects: tuple[int, int], num_proposals: tuple[int, int]) -> Objects:
    return pad_objects(
        [random_boxes(n) for n in num_objects],
        [torch.arange(n) % 3 for n in num_objects],
        proposals=[random_boxes(n) for n in num_proposals],
    )


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("counts", [((2, 0), (9, 5)), ((0, 0), (9, 5)), ((300, 1), (4, 0))])
def test_losses_and_gradients_are_finite(
    name: str, counts: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    net = built(name)
    losses = net(picture()).losses(targets(*counts))
    assert list(losses) == ["class", "box"]
    sum(losses.values()).backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", BUILDERS)
def test_nothing_at_all_loses_nothing(name: str) -> None:
    losses = built(name)(picture()).losses(targets((0, 0), (0, 0)))
    assert [loss.item() for loss in losses.values()] == [0, 0]


@pytest.mark.parametrize("name", BUILDERS)
def test_detections_are_of_each_pictures_own_proposals(name: str) -> None:
    net = built(name).eval()
    proposals = torch.full((2, 6, 4), NAN)
    proposals[0, :5], proposals[1, :1] = random_boxes(5), random_boxes(1)
    with torch.no_grad():
        outputs = net(picture())
        found = outputs.detections(proposals=proposals, score=0.0, most=9)
        alone = net(picture()[1:]).detections(proposals=proposals[1:, :1], score=0.0, most=9)
        none = outputs.detections(proposals=torch.full((2, 0, 4), NAN), most=3)
    assert found.shape == (2, 9, 6)
    assert (found[0, :, 5] >= 0).sum() > (found[1, :, 5] >= 0).sum() > 0
    torch.testing.assert_close(found[1:], alone, atol=1e-4, rtol=1e-4)
    assert none[..., 5].eq(-1).all()


@pytest.mark.parametrize("name", BUILDERS)
def test_the_whole_picture_is_one_region_in_evaluation(name: str) -> None:
    net = built(name).eval()
    with torch.no_grad():
        outputs = net(picture())
        box = torch.tensor([[[0.0, 0, SIZE[1], SIZE[0]]]]).expand(2, 1, 4)
        found = outputs.detections(proposals=box, score=0.0, iou=1.0, most=3)
    scores = outputs.whole.softmax(dim=1)[:, :3]
    assert outputs.whole.shape == (2, 4)
    torch.testing.assert_close(found[..., 4], scores.sort(descending=True).values)
    assert net.train()(picture()).whole is None


@pytest.mark.parametrize("name", BUILDERS)
def test_proposals_that_are_missing_are_asked_for(name: str) -> None:
    outputs = built(name)(picture())
    with pytest.raises(ConfigError, match="looks at proposals and received none"):
        outputs.detections()
    with pytest.raises(ConfigError, match="such as those of selective search"):
        outputs.losses(pad_objects([torch.zeros(0, 4)] * 2, [torch.zeros(0)] * 2))


@pytest.mark.parametrize("name", BUILDERS)
def test_without_values_the_shapes_are_known(name: str) -> None:
    with torch.device("meta"):
        net = built(name).eval()
        assert net(torch.zeros(2, 3, *SIZE)).whole.shape == (2, 4)


@pytest.mark.parametrize("body", ["small", "resnet18", "alexnet"])
def test_bodies_of_rcnn(body: str) -> None:
    with torch.device("meta"):
        net = rcnn(5, body=body).eval()  # type: ignore[arg-type]
        assert net(torch.zeros(1, 3, 90, 80)).whole.shape == (1, 6)


def test_regions_in_chunks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net = built("rcnn").eval()
    proposals = random_boxes(7)[None]
    with torch.no_grad():
        outputs = net(picture(1))
        whole = outputs.detections(proposals=proposals)
        monkeypatch.setattr(import_module("convolens.models.rcnn"), "REGIONS_AT_ONCE", 3)
        chunks = outputs.detections(proposals=proposals)
    torch.testing.assert_close(whole, chunks, atol=1e-4, rtol=1e-4)


def test_an_unknown_body_of_rcnn() -> None:
    with pytest.raises(ConfigError, match="body must be one of small, resnet18, alexnet"):
        rcnn(3, body="vgg")  # type: ignore[arg-type]
