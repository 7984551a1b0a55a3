"""Looking at pictures with networks that segment and detect."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import convolens
from convolens.cli import main
from convolens.errors import ConfigError
from convolens.models import yolo
from convolens.tasks.detect import Detect
from convolens.tasks.segment import Segment
from convolens.visual.saliency import gradient
from convolens.workbench.asking import asking
from convolens.workbench.look import RunLook, TaskLook
from convolens.workbench.look_tasks import boxes_asked, masks_asked
from convolens.workbench.report import report
from convolens.workbench.run import Run
from convolens.workbench.train import train


@pytest.fixture(scope="module")
def box_run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(
        str(squares / "boxes"),
        model="yolo",
        epochs=2,
        batch=8,
        out=tmp_path_factory.mktemp("runs"),
        settings=["model.width=0.25", "data.image_size=64", "plan=reference"],
    )


@pytest.fixture(scope="module")
def mask_run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(
        str(squares / "masks"),
        model=f"{squares}/dots.py:dots",
        epochs=6,
        batch=4,
        out=tmp_path_factory.mktemp("runs"),
        settings=["optimizer.lr=0.03", "plan=reference"],
    )


@pytest.fixture
def image(squares: Path) -> Path:
    return squares / "boxes/images/test/test0.png"


def names_of(found: TaskLook | RunLook) -> list[str]:
    for shown in found.files:
        with Image.open(shown.file) as opened:
            assert min(opened.size) > 20
        assert shown.caption
    return [shown.file.name for shown in found.files]


def test_a_box(box_run: Run, image: Path, tmp_path: Path) -> None:
    found = convolens.look(box_run, image, detection=2, out=tmp_path)
    assert isinstance(found, TaskLook)
    assert found.task == "detect"
    assert found.asked[0].startswith("detection 2: square 0.")
    names = names_of(found)
    assert {"boxes.png", "filters.png", "saliency.png", "receptive-field.png"} <= {*names}
    assert any(name.startswith("features-neck") for name in names)  # what the box was read from
    with pytest.raises(ConfigError, match="there is no detection 1000"):
        convolens.look(box_run, image, detection=1000)
    with pytest.raises(ConfigError, match="saliency is for one of its detections"):
        convolens.look(box_run, image, class_name="square")


def test_a_class_of_pixels(mask_run: Run, image: Path, tmp_path: Path) -> None:
    found = convolens.look(mask_run, image, class_name="square", out=tmp_path)
    assert isinstance(found, TaskLook)
    assert found.asked == ("the pixels of square",)
    assert "ground" in found.said
    assert {"mask.png", "saliency.png"} <= {*names_of(found)}
    with pytest.raises(ConfigError, match="no class 'circle'\nChoose one of: ground, square"):
        convolens.look(mask_run, image, class_name="circle")
    with pytest.raises(ConfigError, match="it has classes of pixels"):
        convolens.look(mask_run, image, detection=0)


def test_only_the_pixels_of_the_class_are_asked_about() -> None:
    """A network that reads each pixel by itself: what speaks for a class are its own pixels."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
    task = Segment(class_names=("dark", "bright"), mean=(0.5,), std=(1.0,), fill=(0.0,))
    pixels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    pixels[:, 2:5, 3:6] = 255
    x = task.inputs(pixels[None])
    _, _, (one,) = masks_asked(net, task, x, pixels, "bright")
    # Its logit is x and the mean of both is 0, averaged over nine pixels.
    slope = gradient(one.net, x, 0)[0, 0]
    assert torch.allclose(slope, (pixels[0] > 0).float() / 9)
    with torch.inference_mode():
        assert float(one.net(x)) == pytest.approx(0.5)


def test_of_another_detector_only_the_boxes_are_shown() -> None:
    class Other(nn.Module):
        def forward(self, x: Tensor) -> object:
            return yolo(3, image_size=64, width=0.25).eval()(x)

    task = Detect(class_names=("a", "b", "c"), mean=(0.5,) * 3, std=(1.0,) * 3, fill=(0.0,) * 3)
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    x = task.inputs(pixels[None])
    said, figure, asked = boxes_asked(Other(), task, x, pixels, None)
    assert (said, figure.name, asked) == ("0 detections of 0.25 and more", "boxes", [])
    with pytest.raises(ConfigError, match="detections of Other cannot be explained"):
        boxes_asked(Other(), task, x, pixels, 0)


def test_asking_leaves_the_network_as_it_is() -> None:
    net = nn.Sequential(nn.Linear(2, 3))
    x = torch.rand(1, 2)

    def first(given: Tensor) -> Tensor:
        return net[0](given)[:, :1]

    asked = asking(net, first)
    assert asked(x).shape == (1, 1)
    assert net(x).shape == (1, 3)
    assert asked[0] is net[0]


def test_inside(box_run: Run, mask_run: Run, tmp_path: Path) -> None:
    for run in (box_run, mask_run):
        found = convolens.look(run, out=tmp_path / run.config.task)
        assert isinstance(found, RunLook)
        names = names_of(found)
        assert names[0] == "filters.png"
        assert any(name.startswith("patches-") for name in names)
        (sentence,) = found.missing
        assert sentence.startswith("There are no templates, ascents of classes, embedding")


def test_the_words(
    box_run: Run, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(box_run.path), str(image), "--detection", "0"]
    with pytest.raises(SystemExit) as ended:
        main(["look", *words, "--out", str(tmp_path), "--json"])
    tree = json.loads(capsys.readouterr().out)
    assert (ended.value.code, tree["task"], len(tree["asked"])) == (0, "detect", 1)
    with pytest.raises(SystemExit):
        main(["explain", *words, "--json", "--out", str(tmp_path / "d.png")])
    tree = json.loads(capsys.readouterr().out)
    assert tree["difference"] <= 1e-5
    assert tree["seen"]["stride"] in (8, 16, 32)
    assert (tmp_path / "d.png").is_file()
    with pytest.raises(SystemExit) as ended:
        main(["explain", *words, "--layer", "head.box"])
    assert ended.value.code == 2
    assert "--detection stands in the place of --layer and --unit" in capsys.readouterr().err


def test_reports(box_run: Run, mask_run: Run) -> None:
    page = report(box_run).read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert "could not be made" not in page
    metrics = box_run.test["metrics"]
    for text in (
        f"mAP@.5 {metrics['map50']:.3f} on the test pictures after 2 epochs",
        f"{100 * metrics['ap_square']:.2f} %",
        "Precision against recall",
        "The worst misses",
        "Objects beside receptive fields",
        "What speaks for a box",
    ):
        assert text in page
    page = report(mask_run).read_text(encoding="utf-8")
    assert "could not be made" not in page
    metrics = mask_run.test["metrics"]
    for text in (
        f"mean IoU {metrics['miou']:.3f} on the test pictures after 6 epochs",
        f"{100 * metrics['iou_square']:.2f} %",
        "How well each class is found",
        "The worst pictures",
        "What speaks for a class",
    ):
        assert text in page
    assert "of the test pictures are right" not in page
