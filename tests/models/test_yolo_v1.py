"""`yolo_v1`: the paper's layers, its equation 3 cell by cell, and its coordinates."""

import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.yolo_v1 import YoloV1Outputs, yolo_v1
from convolens.nn.box_overlap import iou
from convolens.nn.objects import Objects, pad_objects

KINDS, CELLS, BOXES, SIDE = 3, 4, 2, 128
SIZE = (100, 128)


def outputs_of(boxes: Tensor, classes: Tensor) -> YoloV1Outputs:
    return YoloV1Outputs(boxes, classes, SIDE, SIZE)


def random_outputs(pictures: int = 2, dtype: torch.dtype = torch.float32) -> YoloV1Outputs:
    torch.manual_seed(0)
    boxes = torch.rand(pictures, CELLS, CELLS, BOXES, 5, dtype=dtype)
    return outputs_of(boxes, torch.rand(pictures, CELLS, CELLS, KINDS, dtype=dtype))


def some_objects() -> Objects:
    boxes = [torch.tensor([[3.0, 5, 50, 90], [70, 33, 126, 60], [72, 35, 124, 61]])]
    return pad_objects([*boxes, torch.zeros(0, 4)], [torch.tensor([2, 0, 1]), torch.zeros(0)])


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([*losses.values()]).sum()


@pytest.mark.parametrize(("variant", "convolutions"), [("paper", 24), ("tiny", 9)])
def test_the_convolutions_are_as_many_as_the_paper_says(variant: str, convolutions: int) -> None:
    with torch.device("meta"):
        net = yolo_v1(variant=variant)  # type: ignore[arg-type]
        outputs = net.eval()(torch.empty(1, 3, 448, 448))
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == convolutions
    assert outputs.boxes.shape == (1, 7, 7, 2, 5)
    assert outputs.classes.shape == (1, 7, 7, 20)


def test_the_body_for_imagenet_takes_the_published_work() -> None:
    """Redmon and Farhadi (2016), arXiv:1612.08242, section 3: 8.52 billion operations at 224 px."""
    macs = []

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        macs.append(output.numel() * module.weight[0].numel())

    with torch.device("meta"):
        body = yolo_v1().body
        for i in range(1, 21):
            body.get_submodule(f"conv{i}").register_forward_hook(count)
        body(torch.empty(1, 3, 224, 224))
    assert 2 * sum(macs) == pytest.approx(8.52e9, rel=0.02)


def test_the_losses_are_equation_three_cell_by_cell() -> None:
    outputs, targets = random_outputs(1), some_objects()[:1]
    cell = SIDE / CELLS
    owner = {(1, 0): 0, (1, 3): 1}  # the third object lies in the second one's cell
    expected = dict.fromkeys(("centre", "size", "object", "empty", "classes"), 0.0)
    for row in range(CELLS):
        for col in range(CELLS):
            boxes, place = outputs.boxes[0, row, col], owner.get((row, col))
            confidences = boxes[:, 4]
            if place is None:
                expected["empty"] += 0.5 * confidences.square().sum().item()
                continue
            x0, y0, x1, y1 = targets.boxes[0, place].tolist()
            overlaps = []
            for x, y, w, h, _ in boxes.tolist():
                cx, cy = (col + x) * cell, (row + y) * cell
                w, h = w * w * SIDE, h * h * SIDE
                found = torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                overlaps.append(iou(found, targets.boxes[0, place]).item())
            best = overlaps.index(max(overlaps))
            x, y, w, h, confidence = boxes[best].tolist()
            expected["centre"] += 5 * (x - ((x0 + x1) / 2 / cell - col)) ** 2
            expected["centre"] += 5 * (y - ((y0 + y1) / 2 / cell - row)) ** 2
            expected["size"] += 5 * (w - ((x1 - x0) / SIDE) ** 0.5) ** 2
            expected["size"] += 5 * (h - ((y1 - y0) / SIDE) ** 0.5) ** 2
            expected["object"] += (confidence - max(overlaps)) ** 2
            expected["empty"] += 0.5 * confidences[1 - best].item() ** 2
            for kind in range(KINDS):
                wanted = float(kind == int(targets.labels[0, place]))
                expected["classes"] += (outputs.classes[0, row, col, kind].item() - wanted) ** 2
    found = {name: value.item() for name, value in outputs.losses(targets).items()}
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_losses_are_the_mean_over_the_pictures() -> None:
    outputs, targets = random_outputs(), some_objects()
    together = outputs.losses(targets)
    for name, value in together.items():
        each = [
            outputs_of(outputs.boxes[row], outputs.classes[row]).losses(targets[row])[name]
            for row in (slice(0, 1), slice(1, 2))
        ]
        torch.testing.assert_close(value, torch.stack(each).mean())


def test_perfect_outputs_are_detected_as_the_truth_and_cost_nothing() -> None:
    targets = some_objects()[:1]
    targets = pad_objects([targets.boxes[0, :2]], [targets.labels[0, :2]])
    boxes, classes = torch.zeros(1, CELLS, CELLS, BOXES, 5), torch.zeros(1, CELLS, CELLS, KINDS)
    for box, label in zip(targets.boxes[0], targets.labels[0], strict=True):
        cx, cy = ((box[:2] + box[2:]) / 2 * CELLS / SIDE).tolist()
        sides = ((box[2:] - box[:2]) / SIDE).sqrt()
        place = (0, int(cy), int(cx))
        boxes[(*place, 1)] = torch.tensor([cx % 1, cy % 1, *sides.tolist(), 1])
        classes[(*place, int(label))] = 1
    outputs = outputs_of(boxes, classes)
    assert total(outputs.losses(targets)) < 1e-9
    found = outputs.detections(score=0.5, most=4)[0]
    assert found[:, 5].tolist() in ([2, 0, -1, -1], [0, 2, -1, -1])
    for box, label in zip(targets.boxes[0], targets.labels[0], strict=True):
        torch.testing.assert_close(found[found[:, 5] == label][0, :4], box, atol=1e-4, rtol=0)


def test_the_gradient_is_that_of_finite_differences() -> None:
    """But for the overlap that a confidence is to be, which counts as a given number."""
    outputs, targets = random_outputs(2, torch.float64), some_objects()

    def loss(boxes: Tensor, classes: Tensor) -> Tensor:
        losses = outputs_of(boxes, classes).losses(targets)
        return total({k: v for k, v in losses.items() if k != "object"})

    inputs = (outputs.boxes.requires_grad_(), outputs.classes.requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[9.0, 9, 9, 9]],
        [[9.0, 9, 4, 4]],
        [[-50.0, -50, -10, -10]],
        [[100.0, 90, 300, 300]],
        [[i % 20 * 6.0, i // 20 * 6.0, i % 20 * 6.0 + 4, i // 20 * 6.0 + 4] for i in range(300)],
    ],
    ids=["none", "a point", "swapped", "outside", "centre outside", "three hundred"],
)
def test_losses_and_gradients_are_finite(boxes: list[list[float]]) -> None:
    torch.manual_seed(0)
    outputs = random_outputs()
    outputs.boxes.requires_grad_()
    found = torch.tensor(boxes).reshape(-1, 4)
    targets = pad_objects([found, torch.zeros(0, 4)], [torch.zeros(len(found)), torch.zeros(0)])
    losses = outputs.losses(targets)
    assert all(value.isfinite() and value >= 0 for value in losses.values())
    total(losses).backward()
    assert outputs.boxes.grad is not None
    assert outputs.boxes.grad.isfinite().all()
    assert (losses["centre"] > 0) == (len(boxes) == 300)


def test_cells_in_an_ignored_object_learn_nothing() -> None:
    outputs = random_outputs(1)
    hidden = pad_objects([torch.tensor([[0.0, 0, 128, 128]])], [[1]], [torch.tensor([True])])
    assert total(outputs.losses(hidden)) == 0
    half = pad_objects([torch.tensor([[0.0, 0, 64, 128]])], [[1]], [torch.tensor([True])])
    expected = 0.5 * outputs.boxes[0, :, 2:, :, 4].square().sum()
    torch.testing.assert_close(total(outputs.losses(half)), expected)


def test_a_picture_that_is_smaller_or_not_square_lies_in_the_first_corner() -> None:
    torch.manual_seed(0)
    net = yolo_v1(KINDS, 3, 100, variant="tiny", num_cells=3).eval()
    assert net.side == 128
    x = torch.rand(1, 3, 70, 100)
    outputs = net(x)
    padded = net(torch.nn.functional.pad(x, (0, 28, 0, 58)))
    assert torch.equal(outputs.boxes, padded.boxes)
    assert outputs.boxes.shape == (1, 3, 3, 2, 5)
    found = outputs.detections()
    assert found.shape == (1, 100, 6)
    assert (found[..., :4] <= torch.tensor([100, 70, 100, 70])).all()
    with pytest.raises(ShapeError, match=r"128×130 px does not fit a yolo_v1 built for 128 px"):
        net(torch.rand(1, 3, 128, 130))


def test_the_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="variant must be one of paper, tiny, received 'huge'"):
        yolo_v1(variant="huge")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_cells must be at least 1, received 0"):
        yolo_v1(num_cells=0)
    with pytest.raises(ShapeError, match="a picture of 0 px does not fit"):
        yolo_v1(image_size=0)
