"""torchvision's weights in our networks."""

import hashlib
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, UnavailableError
from convolens.models import resnet18
from convolens.models.registry import MODELS
from convolens.models.weights import load_imagenet

torchvision_models = pytest.importorskip("torchvision.models")
PUBLISHED = sorted(name for name, entry in MODELS.items() if entry.weights)


def test_every_family_is_there() -> None:
    families = {"vgg16", "vgg16_bn", "resnet18", "resnet152", "densenet121", "densenet201"}
    assert families <= set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_of_all_tensors_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        own = MODELS[name].builder().state_dict()
        theirs = torchvision_models.get_model(name).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in theirs.items()}


def randomised(net: nn.Module) -> nn.Module:
    """Values at every place, so that a batch norm or a bias in the wrong place is seen."""
    generator = torch.Generator().manual_seed(0)
    net.to_empty(device="cpu")
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(3)
        elif tensor.dim() > 1:
            bound = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-bound, bound, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.normal_(0.2, 0.3, generator=generator)
    return net


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vgg11", 64),
        ("vgg16_bn", 33),
        ("resnet18", 64),
        ("resnet50", 65),
        ("densenet121", 64),
        ("densenet161", 64),
    ],
)
def test_gives_torchvisions_outputs(name: str, size: int) -> None:
    with torch.device("meta"):
        net = MODELS[name].builder()
        theirs = torchvision_models.get_model(name)
    randomised(theirs).eval()
    net.load_state_dict(theirs.state_dict(), assign=True)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(net.eval()(x), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 1e-2


# --- fetching ---

Publish = Callable[..., str]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Puts a file where torchvision says that the weights of a network are."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def put(name: str, tensors: Any, *, hash_of: bytes | None = None, old: bool = False) -> str:
        file = tmp_path / "file.pth"
        torch.save(tensors, file, _use_new_zipfile_serialization=not old)
        digest = hashlib.sha256(file.read_bytes() if hash_of is None else hash_of).hexdigest()
        named = file.rename(tmp_path / f"{name}-{digest[:8]}.pth")
        entry = torchvision_models.get_model_weights(name).DEFAULT
        monkeypatch.setattr(entry.value, "url", named.as_uri())
        return named.as_uri()

    return put


def state(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        net = MODELS[name].builder()
    return dict(randomised(net).state_dict())


def test_all_tensors_are_loaded(publish: Publish) -> None:
    tensors = state("resnet18")
    publish("resnet18", tensors)
    net, said = resnet18(), StringIO()
    with redirect_stdout(said):
        assert load_imagenet(net, "resnet18") == ()
    assert said.getvalue() == ""
    for name, value in net.state_dict().items():
        assert torch.equal(value, tensors[name]), name


def test_a_head_of_other_classes_stays_as_initialised(publish: Publish) -> None:
    tensors = state("resnet18")
    publish("resnet18", {k: v for k, v in tensors.items() if "num_batches" not in k}, old=True)
    net = resnet18(num_classes=5)
    head = net.fc.weight.detach().clone()
    assert load_imagenet(net, "resnet18") == ("fc.weight", "fc.bias")
    assert torch.equal(net.fc.weight, head)
    assert torch.equal(net.layer4[1].bn2.running_var, tensors["layer4.1.bn2.running_var"])


def test_the_older_names_of_densenet_are_known(publish: Publish) -> None:
    tensors = state("densenet121")
    older = {
        k.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): v
        for k, v in tensors.items()
    }
    assert older.keys() != tensors.keys()
    publish("densenet121", older)
    net = MODELS["densenet121"].builder()
    assert load_imagenet(net, "densenet121") == ()
    assert all(torch.equal(v, tensors[k]) for k, v in net.state_dict().items())


def test_without_a_network_it_says_so_in_two_lines(
    publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = torchvision_models.get_model_weights("resnet18").DEFAULT
    url = (tmp_path / "absent" / "resnet18-f37072fd.pth").as_uri()
    monkeypatch.setattr(entry.value, "url", url)
    net = resnet18(num_classes=5)
    before = net.conv1.weight.detach().clone()
    with pytest.raises(UnavailableError) as caught:
        load_imagenet(net, "resnet18")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        f"the ImageNet weights of resnet18 could not be fetched from {url}: "
    )
    assert lines[1] == "Fetch that file where there is a network, and give it with --weights FILE."
    assert caught.value.exit_status == 1
    assert torch.equal(net.conv1.weight, before)


class Evil:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('unpickled')",))


def test_what_is_not_as_published_is_refused(publish: Publish) -> None:
    publish("resnet18", state("resnet18"), hash_of=b"another file")
    with pytest.raises(UnavailableError, match="invalid hash value"):
        load_imagenet(resnet18(), "resnet18")
    publish("resnet34", {"fc.weight": Evil()})
    with pytest.raises(UnavailableError, match="resnet34 could not be fetched"):
        load_imagenet(resnet18(), "resnet34")


def test_bad_words(publish: Publish) -> None:
    with pytest.raises(ConfigError, match="torchvision has no weights of 'resnet19'") as caught:
        load_imagenet(resnet18(), "resnet19")
    assert caught.value.hint is not None
    assert "resnet18" in caught.value.hint
    with pytest.raises(ConfigError, match="no weights 'IMAGENET1K_V9' of resnet18"):
        load_imagenet(resnet18(), "resnet18", version="IMAGENET1K_V9")
    publish("vgg11", {"other": torch.zeros(3)})
    with pytest.raises(ConfigError, match=r"no tensor of torchvision's vgg11 fits Sequential"):
        load_imagenet(resnet18(), "vgg11")
