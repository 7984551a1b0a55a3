import pytest
import torch

from convolens.models import simple_convnet


def test_the_books_network() -> None:
    net = simple_convnet()
    # 30 filters of 5×5 leave 24×24, pooled to 12×12.
    assert net.conv1.weight.shape == (30, 1, 5, 5)
    assert net.fc1.weight.shape == (100, 30 * 12 * 12)
    assert net.fc2.weight.shape == (10, 100)
    assert [name for name, _ in net.named_children()] == [
        "conv1",
        "relu1",
        "pool1",
        "flatten",
        "fc1",
        "relu2",
        "dropout",
        "fc2",
    ]


def test_initial_weights_have_the_books_spread() -> None:
    torch.manual_seed(0)
    net = simple_convnet()
    assert float(net.fc1.weight.detach().std()) == pytest.approx(0.01, rel=0.01)
    assert not net.fc1.bias.any()
    assert not net.conv1.bias.any()


def test_torchs_own_initialisation_on_request() -> None:
    torch.manual_seed(0)
    assert simple_convnet(weight_std=None).fc1.bias.any()
