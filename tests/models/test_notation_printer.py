"""A network's text, and the network that the text builds."""

import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.models.lenet import lenet5, lenet5_1998
from convolens.models.notation import build, parse, to_notation
from convolens.models.registry import MODELS
from convolens.nn.dense import DenseBlock
from convolens.nn.pooling import GlobalAveragePool

NAMES = ["lenet5", "simple_convnet", "small_convnet", "alexnet", "zfnet", "nin", "vgg16"]
NAMES += ["vgg11_bn", "googlenet", "resnet18", "resnet50", "resnet20", "plain18", "densenet_cifar"]


def shapes(net: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in net.parameters()]


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_ours_comes_back_from_its_text(name: str) -> None:
    with torch.device("meta"):
        net = MODELS[name].builder().eval()
        text = to_notation(net, input_size=MODELS[name].input_size)
        again = build(text).eval()
        x = torch.empty(1, *MODELS[name].input_size)
        assert shapes(again) == shapes(net)
        with torch.no_grad():
            assert again(x).shape == net(x).shape
    assert parse(text).input == MODELS[name].input_size
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "1x28x28 | conv 30 5x5 | relu | maxpool 2x2 /2 | fc 100 | relu | dropout | fc 10",
        "3x227x227 | conv 96 11x11 /4 | relu | lrn | maxpool 3x3 /2 ceil | fc 10 nobias",
        "3x224x224 | [conv 8 3x3 p1 | bn]*2 | [dwconv 3x3 /2 p1 | conv 4 1x1]*3 | gap | fc 5",
        "3x224x224 | conv 8 3x5 /2x1 p1x2 d2 nobias | deconv 8 4x4 /2 p1 | gmp | softmax",
        "3x224x224 | conv 4 3x3 | avgpool 3x3 /1 p1 | adaptiveavgpool 2x3 | prelu 4 | elu 0.5",
        "3x224x224 | conv 6 3x3 | maxout 2 | lrn 3 0.1 0.5 1.0 | gn 3 | leakyrelu 0.2 | upsample 2",
        "8x224x224 | dense 3 k4 | transition | dense 2 k2 nobottleneck | transition 0.4 | bn | gap",
        "8x224x224 | inception 4 2-3 2-5 6 | inception 4 3 5 naive bn | conv 3 4x4 same |"
        " bilinear 2",
        "8x224x224 | residual 8 plain | residual 16 /2 identity | bottleneck 4-16 /2 | residual 16",
        "8x224x224 | residual(conv 8 3x3 p1 | [relu]*2) | concat(conv 3 1x1 ; maxpool 3x3 /1 p1)",
        "8x224x224 | conv 4 1x1 | add(conv 3 1x1 ; [conv 3 3x3 p1 | relu]*2) | identity | tanh",
        "1x224 | conv 16 9 /2 | bn | relu | maxpool 4 /4 | gap | fc 3",
        "1x64 | conv 4 3 | maxpool 2 /2 | fc 3",
        "1x8x8x8 | conv 4 3x3x3 | sigmoid | fc 3",
        "784 | fc 30 | gelu | silu | fc 10",
    ],
)
def test_the_text_of_what_a_text_builds(text: str) -> None:
    with torch.device("meta"):
        net = build(text)
        assert to_notation(net, input_size=parse(text).input) == text


def test_the_input_is_the_smallest_that_the_affine_layer_fits() -> None:
    with torch.device("meta"):
        assert to_notation(lenet5()).startswith("1x32x32 | conv 6 5x5 |")
        net = nn.Sequential(nn.Conv1d(2, 4, 5, stride=3), nn.Flatten(), nn.Linear(4 * 7, 3))
        assert to_notation(net) == "2x23 | conv 4 5 /3 | fc 3"
        assert to_notation(net, input_size=(2, 25)) == "2x25 | conv 4 5 /3 | fc 3"


class Plain(nn.Module):
    """Layers one after the other, with functions between them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d((1, 1)))
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(torch.flatten(self.body(x), 1)))


class Twice(Plain):
    """Its sum is not one layer after the other."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).flatten(1)
        return self.fc(y + y)


class Choosy(Plain):
    """Values decide what it does."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if x.sum() > 0 else x


def test_a_module_whose_forward_is_plain() -> None:
    net = Plain()
    net.body.eval()
    assert to_notation(net) == "3x224x224 | conv 4 3x3 | gap | relu | fc 2"
    assert (net.training, net.body.training, net.fc.training) == (True, False, True)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Hardswish())),
            "1.0 is a Hardswish, for",
        ),
        (nn.Hardswish(), "Hardswish"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding_mode="reflect")), "padding_mode='reflect'"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), "affine=False"),
        (nn.Sequential(nn.Upsample(scale_factor=1.5)), "0 is a Upsample with scale_factor=1.5"),
        (nn.Sequential(GlobalAveragePool(flatten=False)), "flatten=False"),
        (nn.Sequential(DenseBlock(2, 4, 3, bottleneck=2)), "bottleneck=2"),
        (nn.Sequential(), "the network has no layer to write"),
        (nn.Sequential(nn.ReLU()), "no layer tells the channels of the input\nGive input_size."),
        (Twice(), "Twice is not one layer after the other: the notation has no word for add"),
        (Choosy(), "the order of the layers of Choosy cannot be found: symbolically traced"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2)), "the same parameters"),
        (lenet5_1998(), "act1 is a ScaledTanh, for which the notation has no word"),
    ],
)
def test_what_has_no_word_is_named(net: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        to_notation(net)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
