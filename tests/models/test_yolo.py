"""`yolo`: coordinates, losses and detections, and the pictures that others stumble over."""

import pytest
import torch
from torch import Tensor

from convolens.errors import ConfigError, ShapeError
from convolens.models.yolo import PRIOR, STRIDES, YoloOutputs, boxes_at, grid, yolo
from convolens.nn.assignment import assign_points
from convolens.nn.objects import Objects, pad_objects

KINDS = 3


def cells(height: int, width: int) -> list[tuple[int, int]]:
    return [(-(-height // s), -(-width // s)) for s in STRIDES]


def random_outputs(
    pictures: int = 2, size: tuple[int, int] = (48, 64), seed: int = 0
) -> YoloOutputs:
    torch.manual_seed(seed)
    points, strides = grid(cells(*size))
    numbers = torch.randn(pictures, len(points), 4) * 0.3
    logits = torch.randn(pictures, len(points), KINDS)
    return YoloOutputs(logits, boxes_at(points, strides, numbers), points, size)


def some_objects() -> Objects:
    boxes = [
        torch.tensor([[3.0, 5, 30, 40], [20, 10, 60, 30], [41, 40, 44, 43]]),
        torch.zeros(0, 4),
    ]
    return pad_objects(boxes, [torch.tensor([2, 0, 1]), torch.zeros(0)])


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([*losses.values()]).sum()


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (37, 101), (3, 3), (1, 33)])
def test_cell_i_covers_the_pixels_from_s_times_i(size: tuple[int, int]) -> None:
    outputs = yolo(KINDS, width=0.25).eval()(torch.zeros(1, 3, *size))
    expected = [
        (s * (x + 0.5), s * (y + 0.5))
        for s, (rows, cols) in zip(STRIDES, cells(*size), strict=True)
        for y in range(rows)
        for x in range(cols)
    ]
    assert outputs.points.tolist() == [list(point) for point in expected]
    assert outputs.logits.shape == (1, len(expected), KINDS)
    assert outputs.size == size


def test_boxes_begin_four_strides_wide_and_scores_at_the_prior() -> None:
    torch.manual_seed(0)
    outputs = yolo(KINDS).eval()(torch.randn(2, 3, 64, 64))
    _, strides = grid(cells(64, 64))
    sides = outputs.boxes[..., 2:] - outputs.boxes[..., :2]
    assert (sides / (4 * strides) - 1).abs().max() < 0.3
    assert outputs.logits.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.2)


def test_perfect_outputs_are_detected_as_the_truth() -> None:
    size = (75, 121)
    points, strides = grid(cells(*size))
    truth = pad_objects(
        [torch.tensor([[2.0, 3, 20, 33], [60, 1, 121, 75], [50, 50, 53, 52]])], [[1, 0, 2]]
    )
    numbers = torch.zeros(1, len(points), 4)
    logits = torch.full((1, len(points), KINDS), -20.0)
    for box, label in zip(truth.boxes[0], truth.labels[0], strict=True):
        middle, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        near = (points - middle).square().sum(1).argmin()
        numbers[0, near, :2] = (middle - points[near]) / strides[near]
        numbers[0, near, 2:] = (sides / (4 * strides[near])).log()
        logits[0, near, label] = 20
    outputs = YoloOutputs(logits, boxes_at(points, strides, numbers), points, size)
    found = outputs.detections(score=0.5, most=5)[0]
    assert (found[:, 5] >= 0).sum() == 3
    for box, label in zip(truth.boxes[0], truth.labels[0], strict=True):
        row = found[found[:, 5] == label][0]
        torch.testing.assert_close(row[:4], box, atol=1e-4, rtol=0)
        assert row[4] > 0.999
    assert total(outputs.losses(truth)) < 1e-4


def test_the_losses_are_the_mean_over_the_pictures() -> None:
    outputs, targets = random_outputs(), some_objects()
    together = outputs.losses(targets)
    each = [
        YoloOutputs(outputs.logits[row], outputs.boxes[row], outputs.points, outputs.size).losses(
            targets[row]
        )
        for row in (slice(0, 1), slice(1, 2))
    ]
    for name, value in together.items():
        torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2)
        assert value >= 0
    assert each[1]["box"] == 0


def test_the_gradient_is_that_of_finite_differences() -> None:
    outputs, targets = random_outputs(size=(16, 16)), some_objects()
    points, strides = grid(cells(16, 16))
    found = assign_points(outputs.logits.sigmoid(), outputs.boxes, points, targets, (16, 16))
    assert found.quality.count_nonzero() > 0

    def loss(logits: Tensor, numbers: Tensor) -> Tensor:
        boxes = boxes_at(points.double(), strides.double(), numbers)
        return total(YoloOutputs(logits, boxes, points, (16, 16)).losses_of(found, targets))

    numbers = torch.randn(2, len(points), 4, dtype=torch.float64) * 0.3
    inputs = (outputs.logits.double().requires_grad_(), numbers.requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[9.0, 9, 9, 9]],
        [[9.0, 9, 4, 4]],
        [[-50.0, -50, -10, -10]],
        [[-5.0, -5, 200, 200]],
        [[i % 20 * 3.0, i // 20 * 3.0, i % 20 * 3.0 + 4, i // 20 * 3.0 + 4] for i in range(300)],
    ],
    ids=["none", "a point", "swapped", "outside", "larger than the picture", "three hundred"],
)
@pytest.mark.parametrize("training", [True, False])
def test_losses_and_gradients_are_finite(boxes: list[list[float]], training: bool) -> None:
    torch.manual_seed(0)
    net = yolo(KINDS, width=0.25).train(training)
    found = torch.tensor(boxes).reshape(-1, 4)
    targets = pad_objects([found, torch.zeros(0, 4)], [torch.zeros(len(found)), torch.zeros(0)])
    losses = net(torch.randn(2, 3, 45, 61)).losses(targets)
    total(losses).backward()
    assert all(value.isfinite() and value >= 0 for value in losses.values())
    grads = [p.grad for p in net.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)


def test_what_is_ignored_changes_no_loss() -> None:
    """Outputs that see an object where one is ignored lose as little as those that do not."""
    quiet, loud = (torch.full((1, 84, KINDS), -4.0) for _ in range(2))
    points, strides = grid(cells(64, 64))
    inside = (points < 30).all(dim=1)
    loud[:, inside, 1] = 4
    boxes = boxes_at(points, strides, torch.zeros(1, 84, 4))
    hidden = pad_objects([torch.tensor([[0.0, 0, 30, 30]])], [[1]], [torch.tensor([True])])
    shown = pad_objects([torch.zeros(0, 4)], [[]])

    def loss(logits: Tensor, targets: Objects) -> float:
        return total(YoloOutputs(logits, boxes, points, (64, 64)).losses(targets)).item()

    assert loss(loud, hidden) == pytest.approx(loss(quiet, hidden), abs=0.01)
    assert loss(loud, shown) > loss(quiet, shown) + 1


def test_bfloat16_gives_boxes_and_losses_in_float32() -> None:
    net = yolo(KINDS, width=0.25)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net(torch.randn(2, 3, 64, 64))
    assert outputs.boxes.dtype == torch.float32
    assert {v.dtype for v in outputs.losses(some_objects()).values()} == {torch.float32}
    assert outputs.detections(most=7).shape == (2, 7, 6)


def test_the_same_seed_twice_gives_the_same() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        net = yolo(KINDS, width=0.25)
        loss = total(net(torch.randn(2, 3, 48, 64)).losses(some_objects()))
        loss.backward()
        runs.append((loss, net.body.stage1.conv.weight.grad))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


def test_the_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="width must be more than 0, received 0"):
        yolo(width=0)
    with pytest.raises(ConfigError, match="depth must be at least 1, received 0"):
        yolo(depth=0)
    with pytest.raises(ShapeError, match="a picture of 0 px does not fit"):
        yolo(image_size=0)
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in yolo(KINDS, width=w).parameters()) for w in (0.5, 1, 2)]
        deep = sum(p.numel() for p in yolo(KINDS, depth=2).parameters())
    assert sizes[0] < sizes[1] < deep < sizes[2]
    assert 1e6 < sizes[1] < 2e6
