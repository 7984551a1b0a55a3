"""One detection explained, of every detector, against the network itself."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import convolens
import convolens.workbench.explain_detection
from convolens.data.picture import PictureFormat
from convolens.data.placement import placement_of
from convolens.errors import ConfigError
from convolens.models import fast_rcnn, faster_rcnn, rcnn, yolo, yolo_v1
from convolens.tasks.detect import Detect
from convolens.workbench.detection_words import detection_as_json, detection_text, drawing_of
from convolens.workbench.explain import draw_explanation
from convolens.workbench.explain_detection import (
    DetectionExplanation,
    detected,
    detections,
    explain_detection,
)
from convolens.workbench.region_origin import aligned_cells, pooled_cells
from convolens.workbench.run import Run
from convolens.workbench.train import train

TASK = Detect(
    class_names=("a", "b", "c"), mean=(0.5,) * 3, std=(0.25,) * 3, fill=(0.0,) * 3, score=0.0
)
SIZE = (72, 96)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "yolo": lambda: yolo(3, image_size=96, width=0.25),
    "yolo_v1": lambda: yolo_v1(3, image_size=96, variant="tiny", batch_norm=True),
    "faster_rcnn": lambda: faster_rcnn(3, image_size=96, width=8, num_proposals=40),
    "pyramid": lambda: faster_rcnn(3, image_size=96, width=8, num_proposals=40, pyramid=True),
    "fast_rcnn": lambda: fast_rcnn(3, image_size=96, width=8),
    "rcnn": lambda: rcnn(3, image_size=96),
}


def scene() -> Tensor:
    """A picture with a bright square on noise."""
    pixels = torch.randint(0, 120, (3, *SIZE), generator=torch.Generator().manual_seed(0))
    pixels[:, 20:50, 30:70] += 120
    return pixels.to(torch.uint8)


@pytest.fixture(autouse=True)
def _few_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Selective search takes seconds, and is tested elsewhere."""
    corners = torch.rand(40, 2, 2, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    boxes = (corners * torch.tensor([SIZE[1] - 12.0, SIZE[0] - 12.0])).flatten(1)
    boxes[:, 2:] += 10
    monkeypatch.setattr(convolens.workbench.explain_detection, "proposals_of", lambda _: [boxes])


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    """With random weights that are large enough for detections to differ."""
    found = {}
    for name, build in NETWORKS.items():
        torch.manual_seed(1)
        net = build().eval()
        wide = 0.01 if name == "yolo_v1" else 0.08
        for weight in net.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=wide)
        if name == "yolo_v1":  # nothing is found by random numbers about 0
            nn.init.constant_(net.head.output.bias, 0.4)
        found[name] = net
    return found


def explained(net: nn.Module, detection: int) -> DetectionExplanation:
    place = placement_of((144, 192), PictureFormat(channels=3, size=SIZE))
    return explain_detection(net, TASK, scene(), detection, "x.png", place)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_arithmetic_is_that_of_the_network(name: str, networks: dict[str, nn.Module]) -> None:
    net = networks[name]
    x = TASK.inputs(scene()[None])
    rows, _ = detections(net, TASK, x, scene())
    for detection in (0, 3):
        found = explained(net, detection)
        assert found.difference <= 1e-5
        assert found.score == float(rows[detection, 4])
        assert found.label == TASK.class_names[int(rows[detection, 5])]
        height, width = SIZE
        clipped = np.clip(found.arithmetic.corners, 0, [width, height, width, height])
        assert np.abs(clipped - rows[detection, :4].numpy()).max() < 1e-3
        assert np.abs(np.array(found.box) - 2 * np.array(found.box_seen)).max() < 1e-3
        for number in found.numbers.values():
            assert number.explained
            assert number.agrees


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "yolo_v1"])
def test_nothing_outside_of_the_field_changes_the_logit(
    name: str, networks: dict[str, nn.Module]
) -> None:
    net = networks[name]
    x = TASK.inputs(scene()[None])
    found = explained(net, 0)
    _, origin = detected(net, TASK, x, scene(), 0)
    asked = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(origin.net(asked).sum(), asked)
    (top, bottom), (left, right) = found.rows, found.cols
    assert slope[..., top : bottom + 1, left : right + 1].any()
    slope[..., top : bottom + 1, left : right + 1] = 0
    assert not slope.any()


def test_the_cell_of_yolo_is_the_one_whose_numbers_they_are(
    networks: dict[str, nn.Module],
) -> None:
    net = networks["yolo"]
    found = explained(net, 0)
    place = found.place
    assert place.stride is not None
    assert place.cell_box is not None
    with torch.inference_mode():
        outputs = net(TASK.inputs(scene()[None]))
    middle = torch.tensor([place.cell_box[i] + place.stride / 2 for i in (0, 1)])
    at = (outputs.points == middle).all(dim=1)
    level = {8: slice(0, 108), 16: slice(108, 138), 32: slice(138, 147)}[int(place.stride)]
    point = next(i for i in range(147)[level] if at[i])
    label = TASK.class_names.index(found.label)
    assert found.numbers["logit"].network == float(outputs.logits[0, point, label])


def test_the_anchor_of_faster_rcnn_gives_the_proposal(networks: dict[str, nn.Module]) -> None:
    for name in ("faster_rcnn", "pyramid"):
        net = networks[name]
        found = explained(net, 1)
        anchor, proposal = found.place.anchor, found.place.proposal
        assert anchor is not None
        assert proposal is not None
        dx, dw = (found.numbers[f"anchor {word}"].computed for word in ("dx", "dw"))
        across = anchor[2] - anchor[0]
        centre, width = (anchor[0] + anchor[2]) / 2 + dx * across, across * np.exp(dw)
        assert max(0, centre - width / 2) == pytest.approx(proposal[0], abs=1e-3)
        assert min(SIZE[1], centre + width / 2) == pytest.approx(proposal[2], abs=1e-3)
        with torch.inference_mode():
            given = net(TASK.inputs(scene()[None])).found.proposals[0]
        assert (given - torch.tensor(proposal)).abs().amax(dim=1).min() < 1e-3


@pytest.mark.parametrize("box", [(3.2, 5.1, 40.0, 22.7), (-6.0, 0.0, 12.0, 70.0), (56, 30, 63, 33)])
def test_the_cells_of_a_region_are_those_that_its_pooling_reads(
    box: tuple[float, float, float, float],
) -> None:
    from torchvision.ops import roi_align, roi_pool

    size, rows = (10, 16), torch.tensor([[0.0, *box]])
    maps = torch.rand(1, 1, *size, dtype=torch.float64, requires_grad=True)
    pooled = roi_align(maps, rows.double(), 7, 1 / 4, sampling_ratio=2, aligned=True)
    (slope,) = torch.autograd.grad(pooled.sum(), maps)
    ys, xs = torch.nonzero(slope[0, 0]).T
    (top, bottom), (left, right) = aligned_cells(box, 4.0, size)
    assert (top, left) == (int(ys.min()), int(xs.min()))
    assert (bottom, right) == (int(ys.max()), int(xs.max()))
    # Each cell in turn is the greatest of the map: it comes out where the region has it.
    spans = pooled_cells(box, 4.0, size)
    for y in range(size[0]):
        for x in range(size[1]):
            one = torch.zeros(1, 1, *size)
            one[0, 0, y, x] = 1
            read = bool(roi_pool(one, rows, 7, 1 / 4).any())
            inside = all(a <= i <= b for (a, b), i in zip(spans, (y, x), strict=True))
            assert read == inside


def test_what_cannot_be_explained(networks: dict[str, nn.Module]) -> None:
    with pytest.raises(ConfigError, match="there is no detection 500: there are 0 to 99"):
        explained(networks["yolo"], 500)

    class Other(nn.Module):
        def forward(self, x: Tensor) -> object:
            return networks["yolo"](x)

    with pytest.raises(ConfigError, match=r"detections of Other cannot be explained\nThose of"):
        explained(Other(), 0)


def test_words_and_drawings(networks: dict[str, nn.Module]) -> None:
    for name in ("yolo", "faster_rcnn", "rcnn"):
        found = explained(networks[name], 0)
        tree = json.loads(json.dumps(detection_as_json(found)))
        assert tree["score"] == pytest.approx(tree["computed"], abs=1e-5)
        (main,) = tree["explanations"].values()
        assert sum(term["product"] for term in main["terms"]) == pytest.approx(main["total"])
        assert tree["seen"]["field"] == {"rows": [*found.rows], "cols": [*found.cols]}
        text = detection_text(found)
        assert text.startswith(f"x.png, detection 0: {found.label} ")
        assert f"depends on rows {found.rows[0]} to {found.rows[1]}" in text
        marks, sums, lines, title = drawing_of(found)
        assert marks[-1].box == found.box_seen
        assert [each.name for each in sums] == list(found.main)
        assert any(f"{found.score:.9g}" in line for line in lines)
        assert title.startswith("detection 0: ")


@pytest.fixture(scope="module")
def box_run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(
        str(squares / "boxes"),
        model="yolo",
        epochs=1,
        batch=8,
        out=tmp_path_factory.mktemp("runs"),
        settings=["model.width=0.25", "data.image_size=64", "plan=reference"],
    )


def test_a_run(box_run: Run, squares: Path, tmp_path: Path) -> None:
    image = squares / "boxes/images/test/test0.png"
    found = convolens.explain(box_run, image, detection=0)
    said = box_run.predict(image, score=0)[0].detections[0]
    assert (found.label, found.score) == (said.label, pytest.approx(said.score, abs=1e-5))
    assert found.box == pytest.approx(said.box, abs=0.01)
    draw_explanation(found, box_run, image, tmp_path / "d.png")
    draw_explanation(found, box_run, image, tmp_path / "d.svg")
    with Image.open(tmp_path / "d.png") as drawn:
        assert drawn.size[0] > 1000
    assert (tmp_path / "d.svg").read_text(encoding="utf-8").startswith("<svg")
    unit = convolens.explain(box_run, image, layer="head.score#2", unit=(0, 1, 1))
    assert unit.agrees
    with pytest.raises(ConfigError, match="a detection, or a layer and a unit, not both"):
        convolens.explain(box_run, image, layer="head.score", unit=(0, 0, 0), detection=0)
    with pytest.raises(ConfigError, match="needs a layer and a unit, or the number of a detection"):
        convolens.explain(box_run, image)
