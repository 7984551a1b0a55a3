import pytest
import torch
from torch import nn

from convolens.errors import ShapeError
from convolens.models.alexnet import BIASES_OF_ONE, alexnet
from convolens.models.zfnet import zfnet
from convolens.nn.lrn import LocalResponseNorm


def meta(**options) -> nn.Sequential:
    with torch.device("meta"):
        return alexnet(**options)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def volumes(net: nn.Sequential, side: int) -> dict[str, tuple[int, ...]]:
    x, found = torch.empty(1, 3, side, side, device="meta"), {}
    for name, layer in net.eval().named_children():
        x = layer(x)
        found[name] = tuple(x.shape[1:])
    return found


def macs(net: nn.Sequential, side: int) -> dict[str, int]:
    shapes = volumes(net, side)
    return {
        name: layer.weight.numel() * (shapes[name][1] * shapes[name][2] if name[0] == "c" else 1)
        for name, layer in net.named_children()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def test_parameters_of_each_layer_by_hand() -> None:
    net = meta()
    by_hand = {
        "conv1": 96 * (11 * 11 * 3 + 1),
        "conv2": 256 * (5 * 5 * 48 + 1),
        "conv3": 384 * (3 * 3 * 256 + 1),
        "conv4": 384 * (3 * 3 * 192 + 1),
        "conv5": 256 * (3 * 3 * 192 + 1),
        "fc6": 4096 * (6 * 6 * 256 + 1),
        "fc7": 4096 * (4096 + 1),
        "fc8": 1000 * (4096 + 1),
    }
    assert {name: count(net.get_submodule(name)) for name in by_hand} == by_hand
    assert by_hand["conv1"] == 34_944
    assert count(net) == sum(by_hand.values()) == 60_965_224


def test_one_group_has_the_known_count() -> None:
    assert count(meta(groups=1)) == 62_378_344


def test_units_of_the_paper() -> None:
    # Section 3.5 gives 253,440-186,624-64,896-64,896-43,264-4096-4096-1000 and 150,528 inputs; the
    # first and the inputs do not belong to 227 px and 96 maps of 55x55.
    found = volumes(meta(), 227)
    names = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    units = [torch.Size(found[name]).numel() for name in names]
    assert units == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    assert sum(units) == pytest.approx(650_000, rel=0.02)  # "650,000 neurons", abstract
    assert 224 * 224 * 3 == 150_528


def test_multiply_accumulates() -> None:
    found = macs(meta(), 227)
    assert found["conv1"] == 55 * 55 * 96 * 11 * 11 * 3 == 105_415_200
    assert found["conv2"] == 27 * 27 * 256 * 5 * 5 * 48 == 223_948_800
    # Sze et al. (2017), table II: 666 M in convolutions, 58.6 M in affine layers, 724 M in all.
    convolutions = sum(n for name, n in found.items() if name.startswith("conv"))
    assert round(convolutions / 1e6) == 666
    assert round((sum(found.values()) - convolutions) / 1e5) == 586
    assert round(sum(found.values()) / 1e6) == 724


def test_the_order_of_the_paper_normalises_before_it_pools() -> None:
    names = list(dict(meta().named_children()))
    assert names[:8] == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]
    norms = [m for m in meta().modules() if isinstance(m, LocalResponseNorm)]
    assert [(m.size, m.alpha, m.beta, m.k) for m in norms] == [(5, 1e-4, 0.75, 2.0)] * 2
    assert not any(isinstance(m, LocalResponseNorm) for m in meta(lrn=False).modules())


def test_groups_keep_the_halves_apart() -> None:
    torch.manual_seed(0)
    net = alexnet(2, 1, 67, lrn=False, weight_std=0.1).eval()
    x = torch.rand(1, 96, 6, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(net.conv2(x)[:, :128].sum(), x)
    assert gradient[:, :48].abs().sum() > 0
    assert gradient[:, 48:].abs().sum() == 0


def test_initial_weights_of_the_paper() -> None:
    torch.manual_seed(0)
    net = alexnet(10, 3, 67)
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"):
        layer = net.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert layer.bias.eq(1 if name in BIASES_OF_ONE else 0).all()
    assert set(BIASES_OF_ONE) == {"conv2", "conv4", "conv5", "fc6", "fc7"}


def test_the_initial_weights_of_he_can_be_had() -> None:
    torch.manual_seed(0)
    net = alexnet(10, 3, 67, weight_std=None)
    for name, fan_in in (("conv1", 3 * 11 * 11), ("conv2", 48 * 5 * 5), ("fc7", 4096)):
        layer = net.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
        assert layer.bias.eq(0).all()


@pytest.mark.parametrize(("builder", "smallest"), [(alexnet, 67), (zfnet, 47)])
def test_a_picture_too_small_is_explained(builder, smallest: int) -> None:
    with pytest.raises(ShapeError, match=r"does not fit: pool5 reads 3 px .*\(") as caught:
        builder(image_size=smallest - 1)
    assert caught.value.hint == f"The smallest picture is {smallest} px."
    with torch.device("meta"):
        x = torch.empty(2, 3, smallest, smallest)
        assert builder(image_size=smallest)(x).shape == (2, 1000)
