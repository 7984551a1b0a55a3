import torch
from torch import nn

from convolens.models.zfnet import ENTRIES, zfnet
from convolens.nn.lrn import LocalResponseNorm


def meta(**options) -> nn.Sequential:
    with torch.device("meta"):
        return zfnet(**options)


def test_parameters_of_each_layer_by_hand() -> None:
    # No groups: the paper replaces AlexNet's sparse connections by dense ones.
    by_hand = {
        "conv1": 96 * (7 * 7 * 3 + 1),
        "conv2": 256 * (5 * 5 * 96 + 1),
        "conv3": 384 * (3 * 3 * 256 + 1),
        "conv4": 384 * (3 * 3 * 384 + 1),
        "conv5": 256 * (3 * 3 * 384 + 1),
        "fc6": 4096 * (6 * 6 * 256 + 1),
        "fc7": 4096 * (4096 + 1),
        "fc8": 1000 * (4096 + 1),
    }
    net = meta()
    found = {k: sum(p.numel() for p in net.get_submodule(k).parameters()) for k in by_hand}
    assert found == by_hand
    assert sum(p.numel() for p in net.parameters()) == sum(by_hand.values()) == 62_357_608


def test_sides_of_figure_3() -> None:
    x, sides = torch.empty(1, 3, 224, 224, device="meta"), {}
    for name, layer in meta().named_children():
        x = layer(x)
        sides[name] = x.shape[-1]
    names = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
    assert [sides[name] for name in names] == [110, 55, 26, 13, 13, 13, 13, 6]
    assert {p.layer for p in ENTRIES[0].published} >= set(names)


def test_the_wider_layers_of_table_3() -> None:
    convs = [m.out_channels for m in meta(wide=True).modules() if isinstance(m, nn.Conv2d)]
    assert convs == [96, 256, 512, 1024, 512]


def test_maps_are_normalised_after_pooling() -> None:
    names = list(dict(meta().named_children()))
    assert names[:8] == ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"]
    assert not any(isinstance(m, LocalResponseNorm) for m in meta(lrn=False).modules())
