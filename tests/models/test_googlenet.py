import pytest
import torch
from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.googlenet import MODULES, GoogLeNet, googlenet
from convolens.nn.lrn import LocalResponseNorm
from convolens.tasks.classify import Classify


def on_meta(**options: object) -> GoogLeNet:
    with torch.device("meta"):
        return googlenet(**options)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def weights(module: nn.Module) -> int:
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))


def macs(net: nn.Module, size: int = 224) -> int:
    """Multiply-accumulates of convolutions and the affine layer, from their output sizes."""
    total = 0

    def add(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * output[0, 0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    net.eval()(torch.zeros(1, 3, size, size, device="meta"))
    return total


def test_parameters_with_and_without_the_auxiliary_classifiers() -> None:
    assert count(on_meta()) == 6_998_552
    head_4a = (512 + 1) * 128 + (128 * 4 * 4 + 1) * 1024 + (1024 + 1) * 1000
    head_4d = (528 + 1) * 128 + (128 * 4 * 4 + 1) * 1024 + (1024 + 1) * 1000
    assert count(on_meta(auxiliary=True)) == 6_998_552 + head_4a + head_4d == 13_378_280


def test_the_reductions_save_nine_tenths() -> None:
    naive = on_meta(naive=True)
    assert count(naive) == 97_526_008
    assert macs(on_meta()) == 1_582_671_872
    assert macs(naive) == 12_568_061_056


@pytest.mark.parametrize(
    ("layer", "right", "area", "printed"),
    [
        ("conv1", 9_408, 112**2, 2.7),
        ("inception4c", 509_440, 14**2, 463),
        ("inception4d", 604_672, 14**2, 580),
        ("inception5a", 1_042_432, 7**2, 1072),
        ("inception5b", 1_442_816, 7**2, 1388),
    ],
)
def test_rows_of_table_1_that_do_not_follow_from_its_filters(
    layer: str, right: int, area: int, printed: float
) -> None:
    assert weights(on_meta().get_submodule(f"features.{layer}")) == right
    assert abs(right / 1024 - printed) > 0.01 * printed
    by_hand = {"conv1": 7 * 7 * 3 * 64}
    if layer in MODULES:
        c1, r3, c3, r5, c5, pool = MODULES[layer]
        before = {"4c": 512, "4d": 512, "5a": 832, "5b": 832}[layer[-2:]]
        by_hand[layer] = before * (c1 + r3 + r5 + pool) + 9 * r3 * c3 + 25 * r5 * c5
    assert right == by_hand[layer]
    table_says = {"conv1": 118.0, "inception4c": 100, "inception4d": 119, "inception5b": 71}
    if layer in table_says:  # the operations of all rows but the first and 5a are right
        assert right * area / 1e6 == pytest.approx(table_says[layer], abs=0.5)


def test_the_printed_first_row_is_a_pair_of_one_dimensional_filters() -> None:
    assert round((7 + 7) * 3 * 64 / 1000, 1) == 2.7
    assert round((7 + 7) * 3 * 64 * 112**2 / 1e6) == 34


def test_it_has_5x5_filters_and_lrn_where_figure_3_has_them() -> None:
    net = on_meta()
    names = [name for name, _ in net.features.named_children()]
    assert names[:6] == ["conv1", "pool1", "norm1", "conv2", "norm2", "pool2"]
    assert isinstance(net.features.norm1, LocalResponseNorm)
    fives = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (5, 5)]
    assert len(fives) == 9


def test_norms() -> None:
    def kinds(norm: str) -> set[type]:
        return {type(m) for m in on_meta(norm=norm).modules()}

    assert nn.BatchNorm2d in kinds("batch")
    assert LocalResponseNorm not in kinds("batch")
    assert not {nn.BatchNorm2d, LocalResponseNorm} & kinds("none")
    with pytest.raises(ConfigError, match="norm must be one of lrn, batch, none, received 'bn'"):
        on_meta(norm="bn")


@pytest.mark.parametrize("size", [31, 32, 96, 224])
def test_auxiliary_logits_come_in_training_only(size: int) -> None:
    net = on_meta(num_classes=7, image_size=size, auxiliary=True)
    x = torch.zeros(2, 3, size, size, device="meta")
    assert [tuple(y.shape) for y in net.train()(x)] == [(2, 7)] * 3
    assert tuple(net.eval()(x).shape) == (2, 7)
    assert tuple(on_meta(num_classes=7, image_size=size).train()(x).shape) == (2, 7)


def test_the_loss_of_the_auxiliary_classifiers_reaches_them() -> None:
    torch.manual_seed(0)
    net = googlenet(num_classes=2, image_size=32, auxiliary=True, dropout=0.0)
    task = Classify(class_names=("a", "b"), mean=(0,) * 3, std=(1,) * 3, fill=(0,) * 3)
    task.loss(net(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 1, 0])).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_smallest_picture() -> None:
    with pytest.raises(ShapeError) as caught:
        on_meta(image_size=30)
    assert str(caught.value) == (
        "a picture of 30 px does not fit googlenet: conv1 leaves floor((30 + 2·3 − 7)/2) + 1 = "
        "15 px, and four poolings that halve them need 16\nThe smallest picture is 31 px."
    )
