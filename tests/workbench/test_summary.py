from pathlib import Path

import pytest
import torch
from torch import nn

import convolens as cl
from convolens.errors import ConfigError, ConvolensError, RunError, ShapeError
from convolens.models.registry import MODELS
from convolens.workbench.design import design_of, split_options
from convolens.workbench.network import build_network
from convolens.workbench.summary import summarize

NET_FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels=3, width=4):
        super().__init__()
        scale = torch.full((1,), 2.0)
        self.width = int(scale.item()) * width  # needs a value
        self.conv = nn.Conv2d(in_channels, self.width, 3)

    def forward(self, x):
        return self.conv(x)

ready = nn.Sequential(nn.Conv2d(3, 4, 3))
number = 3
"""


@pytest.fixture
def net_file(tmp_path: Path) -> Path:
    file = tmp_path / "mynet.py"
    file.write_text(NET_FILE)
    return file


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg16", "resnet18", "densenet121", "nin"])
def test_networks_of_ours_by_name(name: str) -> None:
    """Parameters are those of the network itself; nothing is on the CPU but plain numbers."""
    design = design_of(name)
    assert all(tensor.is_meta or tensor.dim() == 0 for tensor in design.net.state_dict().values())
    graph = summarize(name)
    assert graph.inputs == ((1, *MODELS[name].input_size),)
    assert graph.totals.params == sum(p.numel() for p in design.net.parameters())
    assert (graph.model, graph.ran, graph.uncounted) == (name, "meta", ())


def test_known_numbers() -> None:
    graph = cl.summarize("vgg16")
    assert (graph.totals.params, graph.totals.macs) == (138_357_544, 15_470_264_320)
    net = cl.models.vgg16(num_classes=10)
    assert cl.summarize(net, (3, 224, 224)).totals.params == 134_301_514


def test_options_follow_the_name() -> None:
    assert split_options("a(b=1, c='x')") == ("a", {"b": 1, "c": "x"})
    assert split_options("dir(1)/x") == ("dir(1)/x", {})
    assert summarize("lenet5(num_classes=3)").totals.params == 61_111
    assert summarize("lenet5(in_channels=3, image_size=64)").inputs == ((1, 3, 64, 64),)
    assert summarize("lenet5", (3, 64, 64)).inputs == ((1, 3, 64, 64),)
    naive = summarize("googlenet(naive=True)").totals.macs
    assert naive > 2 * summarize("googlenet").totals.macs
    with pytest.raises(ConfigError, match=r"lenet5 has no option 'widht'"):
        summarize("lenet5(widht=3)")
    with pytest.raises(ConfigError, match=r"expected options as in lenet5\(num_classes=10\)"):
        summarize("lenet5(exit())")


def test_notation() -> None:
    graph = summarize("3x32x32 | conv 16 3x3 p1 | relu | maxpool | fc 10")
    assert graph.inputs == ((1, 3, 32, 32),)
    assert graph.totals.params == 448 + 16 * 16 * 16 * 10 + 10
    assert summarize("INPUT -> CONV -> RELU -> FC", (1, 28, 20)).inputs == ((1, 1, 28, 20),)
    assert summarize("2x100 | conv 4 5 | relu | gap | fc 3").inputs == ((1, 2, 100),)


def test_files(net_file: Path) -> None:
    graph = summarize(f"{net_file}:Net", (1, 8, 8))
    assert graph.totals.params == 8 * 9 + 8
    assert summarize(f"{net_file}:Net(width=1)", (1, 8, 8)).totals.params == 2 * 9 + 2
    assert summarize(f"{net_file}:ready", (3, 8, 8)).totals.macs == 27 * 4 * 36
    with pytest.raises(ConfigError) as caught:
        summarize(f"{net_file}:Net")
    assert str(caught.value) == (
        f"{net_file}:Net does not say what it reads\n"
        "Say it: --input 3x224x224, or input_size=(3, 224, 224)."
    )
    with pytest.raises(ConfigError, match=r"has no network called 'Nett'\nDid you mean Net\?"):
        summarize(f"{net_file}:Nett", (1, 8, 8))
    with pytest.raises(ConfigError, match=r"mynet\.py has no network called 'number'"):
        summarize(f"{net_file}:number", (1, 8, 8))
    with pytest.raises(ConfigError, match="there is no file"):
        summarize("nowhere.py:Net", (1, 8, 8))


def test_runs(tmp_path: Path) -> None:
    run = cl.train("digits", epochs=1, out=tmp_path)
    graph = summarize(run.path)
    assert graph.inputs == ((1, 1, 32, 32),)
    assert graph.totals.params == 61_706
    with pytest.raises(RunError, match="is not a Run"):
        summarize(tmp_path)


@pytest.mark.parametrize(
    ("name", "size", "params"),
    [
        ("resnet18", (3, 224, 224), 11_689_512),
        ("inception_v3", (3, 299, 299), 27_161_264),
        ("fcn_resnet50", (3, 520, 520), 32_957_013),
        ("regnet_y_400mf", (3, 224, 224), 4_344_144),
        ("r3d_18", (3, 16, 112, 112), 33_371_472),
    ],
)
def test_networks_of_torchvision(name: str, size: tuple[int, ...], params: int) -> None:
    graph = summarize(f"torchvision:{name}")
    assert (graph.inputs, graph.ran) == (((1, *size),), "meta")
    assert graph.totals.params == params


def test_detectors_take_a_list_and_run_for_real() -> None:
    graph = summarize("torchvision:ssdlite320_mobilenet_v3_large(num_classes=5)")
    assert (graph.inputs, graph.ran) == (((1, 3, 320, 320),), "real")
    assert graph.notes[0].startswith("values decide what torchvision:ssdlite320")
    assert "torchvision.nms" in {unknown.name for unknown in graph.uncounted}
    assert graph.totals.macs > 4e8


def test_networks_of_timm() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    graph = summarize("timm:vit_tiny_patch16_224")
    assert (graph.inputs, graph.totals.params) == (((1, 3, 224, 224),), 5_717_416)
    with pytest.raises(ConfigError, match="timm has no network called 'resnet5x'"):
        summarize("timm:resnet5x")


@pytest.mark.parametrize(
    ("word", "kind", "message"),
    [
        ("vgg166", ConfigError, "there is no network called 'vgg166'\nDid you mean vgg16"),
        ("torchvision:resnet19", ConfigError, "torchvision has no network called 'resnet19'"),
        ("3x8x8 | cnov 4 3x3", ConfigError, "cnov"),
        ("3x8x8 | conv 4 9x9", ShapeError, "9"),
    ],
)
def test_words_that_are_wrong(word: str, kind: type[ConvolensError], message: str) -> None:
    with pytest.raises(kind) as caught:
        summarize(word)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") <= 1


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="timm:x needs timm, and it is not installed\nInstall it"):
        summarize("timm:x")


def test_training_takes_notation_too() -> None:
    word = "3x8x8 | conv 4 3x3 p1 | relu | fc 7"
    net = build_network(word, {}, num_classes=5, input_size=(1, 10, 12))
    assert net(torch.zeros(2, 1, 10, 12)).shape == (2, 5)
    with pytest.raises(ConfigError, match="to classify"):
        build_network("torchvision:fcn_resnet50", {}, num_classes=5, input_size=(3, 64, 64))


def test_a_network_that_is_given_stays(net_file: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3)).train()
    weight = net[0].weight
    graph = summarize(net, (3, 8, 8), name="mine")
    assert graph.model == "mine"
    assert net[0].weight is weight
    assert net.training


def test_notation_longer_than_a_path_can_be() -> None:
    text = "3x8x8 | " + " | ".join(["conv 4 3x3 p1"] * 40)
    assert len(text) > 255
    assert sum(row.name.startswith("conv") for row in summarize(text).rows) == 40
