"""`predict` without a Run, against torchvision's own way from a picture to an answer."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from convolens.cli import main
from convolens.errors import ConfigError, UnavailableError
from convolens.workbench.predict import Prediction
from convolens.workbench.predict_boxes import BoxPrediction
from convolens.workbench.predict_masks import MaskPrediction
from convolens.workbench.predict_pretrained import pretrained

models = pytest.importorskip("torchvision.models")
DETECTOR = "fasterrcnn_mobilenet_v3_large_320_fpn"
CLASSES = ("cat", "dog", "hen")


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {} if name == "resnet18" else {"weights_backbone": None}
    if name == DETECTOR:
        options["num_classes"] = 1 + len(CLASSES)
    net: torch.nn.Module = models.get_model(name, **options)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # norms that have seen pictures, so that scores differ
        body = net if name == "resnet18" else net.get_submodule("backbone")
        body(torch.randn(2, 3, 320, 512))
        for path, parameter in net.named_parameters():
            if "cls_" in path:
                parameter.mul_(10)
    return net.eval()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 32, 3)).astype(np.uint8)
    file = tmp_path_factory.mktemp("picture") / "a.png"
    Image.fromarray(pixels).resize((512, 320), Image.Resampling.BICUBIC).save(file)
    return file


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        file = tmp_path / f"{name}.safetensors"
        save_file({n: v.contiguous() for n, v in built(name).state_dict().items()}, file)
        return file

    return write


def as_torchvision_reads(picture: Path) -> Tensor:
    pixels = np.array(Image.open(picture))
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def test_boxes_are_those_of_torchvision(picture: Path, weights: Callable[[str], Path]) -> None:
    net = pretrained(
        f"torchvision:{DETECTOR}", weights=weights(DETECTOR), classes=CLASSES, device="cpu"
    )
    (found,) = net.predict(picture, score=0.0)
    assert isinstance(found, BoxPrediction)
    with torch.inference_mode():
        (expected,) = built(DETECTOR)([as_torchvision_reads(picture)])
    # torchvision leaves out what scores less than 0.05.
    own = [one for one in found.detections if one.score > 0.05]
    assert len(own) == len(expected["scores"]) > 5
    labels = [CLASSES[label - 1] for label in expected["labels"].tolist()]
    assert [one.label for one in own] == labels
    for one, box in zip(own, expected["boxes"].tolist(), strict=True):
        assert one.box == pytest.approx(box, abs=0.5)


def test_labels_are_those_of_torchvision_for_its_network_and_ours(
    picture: Path, weights: Callable[[str], Path]
) -> None:
    file = weights("resnet18")
    preset = models.get_model_weights("resnet18").DEFAULT.transforms()
    with torch.inference_mode():
        logits = built("resnet18")(preset(Image.open(picture))[None])
    best = logits.softmax(1).topk(3)
    categories = models.get_model_weights("resnet18").DEFAULT.meta["categories"]
    for word in ("torchvision:resnet18", "resnet18"):
        (found,) = pretrained(word, weights=file, device="cpu").predict(picture, top=3)
        assert isinstance(found, Prediction)
        assert found.label == categories[int(best.indices[0, 0])]
        assert found.probability == pytest.approx(float(best.values[0, 0]), rel=0.05)


def test_masks_have_the_pictures_size(picture: Path, weights: Callable[[str], Path]) -> None:
    name = "lraspp_mobilenet_v3_large"
    net = pretrained(f"torchvision:{name}", weights=weights(name), device="cpu")
    assert net.size_of((320, 512)) == (520, 832)
    (found,) = net.predict(picture)
    assert isinstance(found, MaskPrediction)
    assert found.mask.shape == (320, 512)
    assert found.class_names[0] == "background"
    preset = models.get_model_weights(name).DEFAULT.transforms()
    with torch.inference_mode():
        logits = built(name)(preset(Image.open(picture))[None])["out"]
    expected = torch.nn.functional.interpolate(logits, size=(320, 512), mode="bilinear")[0]
    agreement = (expected.argmax(0) == found.mask).double().mean()
    assert float(agreement) > 0.95


def test_own_classes_and_the_command_line(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.manual_seed(0)
    net = models.get_model(DETECTOR, weights_backbone=None, num_classes=3)
    torch.save(net.state_dict(), tmp_path / "two.pth")
    words = [
        "predict",
        "--model",
        f"torchvision:{DETECTOR}",
        "--weights",
        str(tmp_path / "two.pth"),
    ]
    words += ["--score", "0", "--classes", "cat, dog", str(picture)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json", "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree.keys() == {"model", "weights", "predictions"}
    (found,) = tree["predictions"]
    assert found["size"] == [320, 512]
    assert {one["label"] for one in found["objects"]} <= {"cat", "dog"}
    assert found["files"] == [str(tmp_path / "out" / "a_boxes.png")]
    assert Path(found["files"][0]).is_file()
    with pytest.raises(SystemExit):
        main(words)
    assert str(picture) in capsys.readouterr().out


def test_without_a_network_two_lines_and_status_1(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    entry = models.get_model_weights(DETECTOR).DEFAULT
    url = (tmp_path / "absent-12345678.pth").as_uri()
    monkeypatch.setattr(entry.value, "url", url)
    with pytest.raises(SystemExit) as ended:
        main(
            ["predict", "--model", f"torchvision:{DETECTOR}", "--weights", "default", str(picture)]
        )
    assert ended.value.code == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "Downloading" not in line]
    assert len(told) == 2
    assert told[0].startswith(f"convolens: the weights of {DETECTOR} could not be fetched from ")
    with pytest.raises(UnavailableError):
        pretrained(f"torchvision:{DETECTOR}")


def test_default_weights_are_fetched(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = models.get_model_weights("resnet18").DEFAULT

    def fetched(member: Any, **_: Any) -> Mapping[str, Tensor]:
        assert member is entry
        return built("resnet18").state_dict()

    monkeypatch.setattr(type(entry), "get_state_dict", fetched)
    found = [pretrained("resnet18", weights=w).predict(picture) for w in ("default", "imagenet")]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "yolo"], "yolo cannot predict without a Run"),
        (["--model", "unheard"], "there is no network called 'unheard'"),
        (["--model", "torchvision:resnet19"], "torchvision has no weights of 'resnet19'"),
        (["--model", "torchvision:maskrcnn_resnet50_fpn"], "does more or less than classify"),
        (["--model", "torchvision:fcn_resnet50", "--weights", "imagenet"], "its body alone"),
        (["--model", "resnet18", "--weights", "absent.safetensors"], "absent.safetensors"),
        (["--weights", "default"], "--weights goes with --model"),
        (["--classes", "a,b"], "--classes goes with --model"),
        ([], "Missing argument 'IMAGE...'"),
    ],
)
def test_wrong_words(
    words: list[str], message: str, picture: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", *words, str(picture)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) <= 2


def test_a_body_cannot_predict() -> None:
    with pytest.raises(ConfigError, match="body alone, which cannot detect"):
        pretrained(f"torchvision:{DETECTOR}", weights="imagenet")
