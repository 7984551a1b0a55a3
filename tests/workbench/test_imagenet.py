"""`--weights imagenet`: torchvision's weights take the road of any other weights file."""

import hashlib
from pathlib import Path

import pytest
import torch

from convolens.errors import ConfigError, UnavailableError
from convolens.models import resnet18
from convolens.train.config import Config
from convolens.train.events import Event, Noted
from convolens.workbench.material import load_initial_weights
from convolens.workbench.train import configure


def config_of(model: str, weights: str = "imagenet") -> Config:
    return configure(
        "shapes",
        model=model,
        recipe=None,
        epochs=None,
        batch=None,
        device=None,
        seed=None,
        data_root=None,
        strict=None,
        weights=weights,
        settings=(),
    )


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights in a file where torchvision looks for those of resnet18."""
    models = pytest.importorskip("torchvision.models")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    torch.manual_seed(1)
    tensors = dict(resnet18().state_dict())
    file = tmp_path / "w.pth"
    torch.save(tensors, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    url = file.rename(tmp_path / f"resnet18-{digest}.pth").as_uri()
    monkeypatch.setattr(models.get_model_weights("resnet18").DEFAULT.value, "url", url)
    return tensors


@pytest.mark.parametrize("model", ["resnet18", "torchvision:resnet18"])
def test_all_but_the_head_is_loaded_and_said(
    published: dict[str, torch.Tensor], model: str
) -> None:
    notes: list[Event] = []
    torch.manual_seed(0)
    net = resnet18(num_classes=8)
    config = config_of(model)
    assert config.weights == "imagenet"
    load_initial_weights(net, config, notes.append)
    text = "imagenet: loaded 120 of 122 tensors; new: fc.weight (8, 512), fc.bias (8,)"
    assert notes == [Noted(text=text)]
    assert torch.equal(net.layer4[0].conv1.weight, published["layer4.0.conv1.weight"])


def test_what_has_no_such_weights_is_told_what_has() -> None:
    with pytest.raises(ConfigError, match="--weights imagenet: there are none for lenet5") as error:
        load_initial_weights(resnet18(), config_of("lenet5"), lambda _: None)
    assert error.value.hint is not None
    assert "resnet18" in error.value.hint


def test_without_a_network_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("torchvision.models")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    entry = models.get_model_weights("resnet18").DEFAULT
    monkeypatch.setattr(entry.value, "url", (tmp_path / "resnet18-f37072fd.pth").as_uri())
    with pytest.raises(UnavailableError, match="weights of resnet18 could not be fetched"):
        load_initial_weights(resnet18(), config_of("resnet18"), lambda _: None)


def test_a_file_is_still_a_file() -> None:
    assert config_of("resnet18", "./imagenet").weights == str(Path("imagenet").absolute())
