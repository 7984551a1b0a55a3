"""torchvision's detectors behind our words, against torchvision itself."""

import copy

import pytest
import torch
from torch import Tensor, nn

from convolens.models.torchvision_detector import TorchvisionDetector
from convolens.nn.objects import Objects, pad_objects
from convolens.workbench.network import build_network, find_builder

SIZE = (96, 160)
NAMES = [
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fcos_resnet50_fpn",
]


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return find_builder(f"torchvision:{name}")(num_classes=4)


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def objects() -> Objects:
    boxes = [torch.tensor([[10.0, 20, 60, 80], [90, 5, 140, 60]]), torch.tensor([[0.0, 0, 50, 40]])]
    return pad_objects(boxes, [[2, 1], [0]])


def as_they_do(net: nn.Module) -> nn.Module:
    """The network, whose own transform leaves pictures of SIZE as they are but for normalising."""
    net.transform.fixed_size = None
    net.transform.min_size, net.transform.max_size = (SIZE[0],), SIZE[1]
    return net


def normalised(net: TorchvisionDetector, x: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (net.image_mean, net.image_std))
    return (x - mean) / std


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_boxes_are_torchvisions(name: str) -> None:
    theirs, targets = as_they_do(built(name)), objects()
    ours = TorchvisionDetector(copy.deepcopy(theirs))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    x = normalised(ours, pictures())
    own = [targets.of_picture(row) for row in range(2)]
    as_theirs = [{"boxes": boxes, "labels": labels + 1} for boxes, labels, _ in own]
    torch.manual_seed(2)
    expected = theirs.train()([*pictures()], as_theirs)
    torch.manual_seed(2)
    for _ in pictures():  # their transform draws a size for each picture
        torch.rand(1)
    losses = ours.train()(x).losses(targets)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    theirs.load_state_dict(ours.state_dict())
    chooser = getattr(theirs, "roi_heads", theirs)
    chooser.score_thresh, chooser.nms_thresh, chooser.detections_per_img = 0.02, 0.4, 7
    with torch.inference_mode():
        expected = theirs.eval()([*pictures()])
        found = ours.eval()(x).detections(score=0.02, iou=0.4, most=7)
    assert found.shape == (2, 7, 6)
    for rows, picture in zip(found, expected, strict=True):
        count = int((rows[:, 5] >= 0).sum())
        there = picture["labels"] > 0
        assert count == int(there.sum())
        torch.testing.assert_close(rows[:count, :4], picture["boxes"][there], rtol=0, atol=0.01)
        torch.testing.assert_close(rows[:count, 4], picture["scores"][there])
        assert torch.equal(rows[:count, 5].long(), picture["labels"][there] - 1)
        assert (rows[count:, 5] == -1).all()
        assert (rows[count:, :5] == 0).all()


@pytest.mark.parametrize("name", NAMES[:2])
def test_empty_pictures_odd_boxes_and_evaluation(name: str) -> None:
    net = TorchvisionDetector(built(name))
    boxes = torch.tensor([[9.0, 9, 9, 30], [60, 60, 20, 20], [300, 0, 400, 50], [10, 10, 50, 50]])
    odd = pad_objects([boxes, torch.zeros(0, 4)], [[0, 1, 2, 1], []], [[0, 0, 0, 1], []])
    none = pad_objects([torch.zeros(0, 4)] * 2, [[], []])
    x = normalised(net, pictures())
    for mode in (True, False):
        net.train(mode)
        sums = []
        for targets in (odd, none):  # nothing of `odd` can be learnt
            torch.manual_seed(0)
            sums.append(torch.stack([*net(x).losses(targets).values()]).sum())
        assert sums[0].isfinite()
        torch.testing.assert_close(sums[0], sums[1], rtol=1e-3, atol=1e-5)
        assert {module.training for module in net.modules()} == {mode}
    running = {n: v.clone() for n, v in net.state_dict().items() if "running" in n}
    net(x).losses(objects())
    assert all(torch.equal(v, net.state_dict()[n]) for n, v in running.items())


def test_a_copy_has_weights_of_its_own() -> None:
    net = TorchvisionDetector(built(NAMES[0])).eval()
    other = copy.deepcopy(net)
    x = normalised(net, pictures(1))
    with torch.inference_mode():
        expected = net(x).detections()
        for parameter in other.parameters():
            parameter.uniform_()
        assert torch.equal(net(x).detections(), expected)
        assert not torch.equal(other(x).detections(), expected)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("ssdlite320_mobilenet_v3_large", (200, 600), (320, 320)),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", (480, 640), (320, 426)),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", (100, 1000), (64, 640)),
    ],
)
def test_input_size_is_that_of_torchvisions_transform(
    name: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    theirs = built(name).eval()
    images, _ = theirs.transform([torch.zeros(3, *size)])
    assert TorchvisionDetector(theirs).input_size(size) == expected == tuple(images.image_sizes[0])


def test_training_words_give_one_class_more_for_the_background() -> None:
    net = build_network(
        f"torchvision:{NAMES[1]}", {}, num_classes=3, input_size=(3, *SIZE), task="detect"
    )
    assert isinstance(net, TorchvisionDetector)
    assert net.get_parameter("roi_heads.box_predictor.cls_score.weight").shape[0] == 4
