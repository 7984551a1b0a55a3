import pytest
import torch
from torch import Tensor
from torch.utils import _pytree

from convolens.errors import ConfigError
from convolens.models.faster_rcnn import FasterRCNN, faster_rcnn, pyramid_level
from convolens.nn.objects import Objects, pad_objects

SIZE = (70, 100)
OPTIONS = {"pyramid": {"pyramid": True}, "one map": {}}


def small(**options: object) -> FasterRCNN:
    torch.manual_seed(0)
    return faster_rcnn(3, 3, 100, width=8, stem="full", num_proposals=20, **options)  # type: ignore[arg-type]


def picture(count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def objects(kind: str) -> Objects:
    """Of two pictures, the second always without any."""
    crowd = torch.rand(300, 2, generator=torch.Generator().manual_seed(2)).mul(50).repeat(1, 2)
    boxes = {
        "usual": torch.tensor([[5.0, 5, 40, 50], [60, 20, 90, 60]]),
        "none": torch.zeros(0, 4),
        "crowd": crowd + torch.tensor([0.0, 0, 9, 9]),
        "bad": torch.tensor([[5.0, 5, 5, 9], [9, 9, 2, 2], [900, 0, 950, 9], [-9, -9, 400, 400]]),
    }[kind]
    return pad_objects([boxes, boxes[:0]], [torch.arange(len(boxes)) % 3, torch.zeros(0)])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["usual", "none", "crowd", "bad"])
def test_losses_and_gradients_are_finite(kind: str, options: dict[str, bool]) -> None:
    net = small(**options)
    losses = net(picture()).losses(objects(kind))
    assert list(losses) == ["rpn_object", "rpn_box", "class", "box"]
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_evaluation_gives_losses_and_detections_of_odd_sizes(options: dict[str, bool]) -> None:
    net = small(**options).eval()
    for size in ((70, 100), (33, 47), (64, 64)):
        with torch.no_grad():
            outputs = net(torch.randn(2, 3, *size))
        assert all(loss.isfinite() for loss in outputs.losses(objects("usual")).values())
        found = outputs.detections(score=0.0, most=7)
        assert found.shape == (2, 7, 6)
        assert found.dtype == torch.float32
        assert (found[..., 4].diff(dim=1) <= 0).all()
        boxes = found[found[..., 5] >= 0][:, :4]
        assert len(boxes) > 0
        assert (boxes >= 0).all()
        assert (boxes[:, 0::2] <= size[1]).all()
        assert (boxes[:, 1::2] <= size[0]).all()


def test_what_is_found_is_the_same_in_training_outputs() -> None:
    net = small(pyramid=True).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    with torch.no_grad():
        evaluated = net(picture()).detections()
        trained = net.train()(picture()).detections()
    torch.testing.assert_close(evaluated, trained)


def test_the_same_seed_twice_is_the_same() -> None:
    found = []
    for _ in range(2):
        net = small(pyramid=True)
        losses = net(picture()).losses(objects("usual"))
        found.append(torch.stack(list(losses.values())))
    assert torch.equal(*found)


def test_outputs_are_a_tree_of_tensors() -> None:
    net = small(pyramid=True)
    outputs = net(picture())
    half = _pytree.tree_map_only(Tensor, lambda t: t.to(torch.bfloat16), outputs)
    assert half.objectness.dtype == torch.bfloat16
    assert all(loss.dtype == torch.float32 for loss in half.losses(objects("usual")).values())


@pytest.mark.parametrize("options", [*OPTIONS.values(), {"body": "vgg16", "hidden": 16}])
def test_without_values_its_shapes_are_known(options: dict[str, object]) -> None:
    with torch.device("meta"):
        net = small(**options).eval()
        outputs = net(torch.zeros(2, 3, *SIZE))
    assert [tuple(t.shape) for t in outputs.found.logits] == [(20, 4), (20, 4)]


def test_a_pyramid_has_four_levels_of_halved_size() -> None:
    net = small(pyramid=True)
    maps = net(picture()).maps
    assert [tuple(m.shape[-2:]) for m in maps] == [(9, 13), (5, 7), (3, 4), (2, 2)]
    assert net.strides == (8, 16, 32, 64)
    anchors, levels = net.anchors_of(maps)
    assert levels == [9 * 13 * 6, 5 * 7 * 6, 3 * 4 * 6, 2 * 2 * 6]
    assert len(anchors) == sum(levels)


def test_levels_are_those_of_torchvision() -> None:
    from torchvision.ops.poolers import LevelMapper

    sides = torch.tensor([1.0, 20, 111.9, 112, 150, 223, 225, 600])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=1)
    assert torch.equal(pyramid_level(boxes, 4, 4), LevelMapper(2, 5)([boxes]))


def test_vgg16_has_the_papers_layers() -> None:
    with torch.device("meta"):
        net = faster_rcnn(20, body="vgg16")
    assert net.strides == (16,)
    assert net.head.fc6.weight.shape == (4096, 512 * 7 * 7)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in net.body.modules()) == 13
    assert net.head.dropout.p == 0.5


def test_sizes_that_cannot_be_dealt_out_are_named() -> None:
    with pytest.raises(ConfigError, match="dealt out to 4 levels; received 3 sizes"):
        faster_rcnn(3, pyramid=True, anchor_sizes=(16, 32, 64))
    with pytest.raises(ConfigError, match=r"body must be one of resnet18, .* received 'resnet19'"):
        faster_rcnn(3, body="resnet19")  # type: ignore[arg-type]
