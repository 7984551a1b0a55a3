import pytest
import torch
from torch import nn

from convolens.errors import ConfigError
from convolens.models import small_convnet
from convolens.train.freeze import freeze, learn


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        ("", []),
        ("fc.bias", ["fc.bias"]),
        ("stage1.*", ["stage1.conv.weight", "stage1.norm.weight", "stage1.norm.bias"]),
        ("stage1.conv.*, fc.*", ["stage1.conv.weight", "fc.weight", "fc.bias"]),
        ("stage?.conv.weight", [f"stage{i}.conv.weight" for i in (1, 2, 3)]),
    ],
)
def test_patterns(patterns: str, frozen: list[str]) -> None:
    net = small_convnet(image_size=28)
    assert freeze(net, patterns) == frozen
    assert [n for n, p in net.named_parameters() if not p.requires_grad] == frozen


def test_frozen_norms_keep_their_statistics_and_others_do_not() -> None:
    net = small_convnet(image_size=28, in_channels=1)
    freeze(net, "stage1.*,stage2.norm.weight")
    learn(net)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net(torch.randn(4, 1, 28, 28))
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert not {k for k in moved if k.startswith("stage1")}
    assert {"stage2.norm.running_mean", "stage3.norm.running_var"} <= moved
    assert net.stage1.training
    assert not net.stage1.norm.training


def test_a_norm_without_parameters_learns_its_statistics() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
    learn(net)
    assert net[1].training


@pytest.mark.parametrize(
    ("patterns", "message", "hint"),
    [
        ("stage1", "freeze: 'stage1' matches no parameter", r"stage1.*"),
        ("fc.*,stag1.conv.weight", "'stag1.conv.weight' matches no", "stage1.conv.weight"),
        ("*", "freeze: '*' leaves no parameter that could learn", None),
    ],
)
def test_wrong_patterns_are_explained(patterns: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        freeze(small_convnet(image_size=28), patterns)
    assert message in caught.value.message
    if hint is not None:
        assert hint in (caught.value.hint or "")
