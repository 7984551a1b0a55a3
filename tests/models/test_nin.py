import pytest
import torch
from torch import nn

from convolens.errors import ShapeError
from convolens.models.nin import nin, nin_cifar


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def by_hand(layers: list[tuple[int, int, int]]) -> int:
    return sum(filters * (kernel**2 * channels + 1) for kernel, channels, filters in layers)


def test_parameters_of_the_imagenet_form_by_hand() -> None:
    layers = [(11, 3, 96), (1, 96, 96), (1, 96, 96)]
    layers += [(5, 96, 256), (1, 256, 256), (1, 256, 256)]
    layers += [(3, 256, 384), (1, 384, 384), (1, 384, 384)]
    layers += [(3, 384, 1024), (1, 1024, 1024), (1, 1024, 1000)]
    with torch.device("meta"):
        assert count(nin()) == by_hand(layers) == 7_595_176


def test_parameters_of_the_cifar_form_by_hand() -> None:
    layers = [(5, 3, 192), (1, 192, 160), (1, 160, 96)]
    layers += [(5, 96, 192), (1, 192, 192), (1, 192, 192)]
    layers += [(3, 192, 192), (1, 192, 192), (1, 192, 10)]
    assert count(nin_cifar()) == by_hand(layers) == 966_986


@pytest.mark.parametrize(
    ("builder", "side", "sides"),
    [(nin, 224, [54, 27, 27, 13, 13, 6, 6]), (nin_cifar, 32, [32, 16, 16, 8, 8])],
)
def test_sides_of_the_maps(builder, side: int, sides: list[int]) -> None:
    with torch.device("meta"):
        net, x = builder().eval(), torch.empty(1, 3, side, side)
    found = []
    for name, layer in net.named_children():
        x = layer(x)
        if name.startswith(("mlpconv", "pool")):
            found.append(x.shape[-1])
    assert found == sides


def test_an_mlpconv_layer_is_a_perceptron_at_every_position() -> None:
    torch.manual_seed(0)
    block = nin_cifar(weight_std=0.1).mlpconv1
    patch = torch.randn(1, 3, 5, 5)
    unit = block.conv.weight.flatten(1) @ patch.flatten() + block.conv.bias
    for cccp in (block.cccp1, block.cccp2):
        unit = cccp.weight[:, :, 0, 0] @ unit.relu() + cccp.bias
    torch.testing.assert_close(block(patch)[0, :, 2, 2], unit.relu(), atol=1e-5, rtol=1e-5)


def test_logits_are_averages_of_one_map_per_class() -> None:
    torch.manual_seed(0)
    net = nin_cifar(7).eval()
    x = torch.randn(2, 3, 16, 24)  # any size from the smallest on
    maps = net[: list(dict(net.named_children())).index("average")](x)
    assert maps.shape == (2, 7, 4, 6)
    torch.testing.assert_close(net(x), maps.mean(dim=(2, 3)))


def test_the_authors_last_relu_can_be_had() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    net, theirs = nin_cifar().eval(), nin_cifar(last_relu=True).eval()
    theirs.load_state_dict(net.state_dict())
    last = nn.Sequential(*list(net)[:-2])(x)
    torch.testing.assert_close(theirs(x), last.relu().mean(dim=(2, 3)))
    assert last.min() < 0


def test_initial_weights_are_those_of_the_authors_caffe_model() -> None:
    torch.manual_seed(0)
    net = nin(10)
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            small = name in ("mlpconv1.conv", "mlpconv3.conv", "mlpconv4.cccp2")
            std = 0.01 if small else 0.05
            assert layer.weight.std().item() == pytest.approx(std, rel=0.05), name
            assert layer.bias.eq(0).all()


@pytest.mark.parametrize(("builder", "smallest"), [(nin, 39), (nin_cifar, 4)])
def test_a_picture_too_small_is_explained(builder, smallest: int) -> None:
    with pytest.raises(ShapeError, match=r"does not fit: pool. reads 3 px and gets 1 px"):
        builder(image_size=smallest - 1)
    with torch.device("meta"):
        assert builder(image_size=smallest)(torch.empty(2, 3, smallest, smallest)).shape[0] == 2
