"""VGG against the paper's tables and the notes of CS231n."""

from collections.abc import Iterator
from math import prod

import pytest
import torch
from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.models import vgg16
from convolens.models.registry import MODELS

# CS231n, "Convolutional neural networks", case study VGGNet: numbers kept, and weights without
# biases, of every layer in its order.
CS231N = (
    *((3_211_264, 1_728), (3_211_264, 36_864), (802_816, 0)),
    *((1_605_632, 73_728), (1_605_632, 147_456), (401_408, 0)),
    *((802_816, 294_912), (802_816, 589_824), (802_816, 589_824), (200_704, 0)),
    *((401_408, 1_179_648), (401_408, 2_359_296), (401_408, 2_359_296), (100_352, 0)),
    *((100_352, 2_359_296), (100_352, 2_359_296), (100_352, 2_359_296), (25_088, 0)),
    *((4_096, 102_760_448), (4_096, 16_777_216), (1_000, 4_096_000)),
)


def on_meta(name: str, **options: object) -> nn.Sequential:
    with torch.device("meta"):
        return MODELS[name].builder(**options)


def layers(net: nn.Sequential, side: int) -> Iterator[tuple[nn.Module, torch.Size]]:
    """Convolutions, poolings and affine layers with their outputs for one picture."""
    x = torch.empty(1, 3, side, side, device="meta")
    for module in [*net.features, net.avgpool, net.flatten, *net.classifier]:
        x = module(x)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.Linear):
            yield module, x.shape[1:]


def test_the_table_of_cs231n() -> None:
    found = [
        (prod(shape), module.weight.numel() if hasattr(module, "weight") else 0)
        for module, shape in layers(on_meta("vgg16").eval(), 224)
    ]
    assert tuple(found) == CS231N
    # With the picture this makes 15.2 million numbers; the table's own total says 24 million.
    assert 3 * 224 * 224 + sum(memory for memory, _ in found) == 15_237_608
    assert round(sum(weights for _, weights in found) / 1e6) == 138


@pytest.mark.parametrize(
    ("name", "convs"), [("vgg11", 8), ("vgg13", 10), ("vgg16", 13), ("vgg19", 16)]
)
def test_the_number_of_layers_is_in_the_name(name: str, convs: int) -> None:
    for suffix in ("", "_bn"):
        modules = [*on_meta(name + suffix).modules()]
        assert sum(isinstance(m, nn.Conv2d) for m in modules) == convs
        assert sum(isinstance(m, nn.Linear) for m in modules) == 3
        assert sum(isinstance(m, nn.BatchNorm2d) for m in modules) == (convs if suffix else 0)


def test_a_small_head_has_no_map_of_seven() -> None:
    net = on_meta("vgg16", num_classes=10, image_size=32, head="small").eval()
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)
    assert sum(p.numel() for p in net.features.parameters()) == 14_714_688
    assert sum(p.numel() for p in net.classifier.parameters()) == 513 * 512 + 513 * 10


def test_weights_begin_as_he_draws_them() -> None:
    torch.manual_seed(0)
    net = MODELS["vgg11"].builder(num_classes=10, head="small")
    conv, linear = net.features[8], net.classifier[0]
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not conv.bias.any()
    assert not linear.bias.any()


def test_dropout_and_words() -> None:
    assert [m.p for m in on_meta("vgg16").modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert [m.p for m in on_meta("vgg16", dropout=0.1).modules() if isinstance(m, nn.Dropout)] == [
        *(0.1, 0.1)
    ]
    with pytest.raises(ConfigError, match="head must be one of full, small, received 'tiny'"):
        vgg16(head="tiny")
    with pytest.raises(ShapeError) as caught:
        vgg16(image_size=31)
    assert caught.value.message == (
        "a picture of 31 px does not fit VGG, which halves its side five times: 31 / 2⁵ < 1, "
        "expected at least 32 px"
    )
