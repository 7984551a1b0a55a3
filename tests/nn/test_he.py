import pytest
import torch
from torch import nn

from convolens.nn.he import he_conv


def test_the_weights_have_the_variance_of_the_equation() -> None:
    torch.manual_seed(0)
    conv = he_conv(32, 256, 3)
    assert float(conv.weight.detach().mean()) == pytest.approx(0, abs=1e-3)
    assert float(conv.weight.detach().var()) == pytest.approx(2 / (32 * 9), rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()
    assert he_conv(3, 4, 1, bias=False).bias is None


def test_it_is_a_convolution_like_any_other() -> None:
    ours, torchs = he_conv(3, 8, 5, stride=2, padding=2), nn.Conv2d(3, 8, 5, stride=2, padding=2)
    assert type(ours) is nn.Conv2d
    assert repr(ours) == repr(torchs)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(ours(x), torchs(x))


def test_on_the_meta_device_it_has_no_values() -> None:
    with torch.device("meta"):
        assert he_conv(3, 8, 3).weight.is_meta
    assert not he_conv(3, 8, 3).weight.is_meta
