import torch
from torch import nn

from convolens.workbench.network import call_builder, facts_of, find_builder


def test_facts_for_each_kind_of_input() -> None:
    assert facts_of("lenet5", (3, 32, 48)) == {"in_channels": 3, "image_size": 32}
    assert facts_of("3x8x8 | fc 3", (3, 32, 48)) == {"in_channels": 3, "image_size": (32, 48)}
    assert facts_of("lenet5", (10,)) == {"in_channels": 10}


def test_a_builder_gets_the_facts_that_it_names() -> None:
    def build(num_classes: int = 2, *, width: int = 1) -> nn.Module:
        return nn.Linear(width, num_classes)

    facts = {"num_classes": 5, "in_channels": 3, "image_size": 8}
    assert call_builder(build, "x", {"width": 7}, facts)(torch.zeros(1, 7)).shape == (1, 5)
    assert call_builder(build, "x", {"num_classes": 9}, facts)(torch.zeros(1, 1)).shape == (1, 9)


def test_backbones_are_not_downloaded() -> None:
    builder = find_builder("torchvision:lraspp_mobilenet_v3_large")
    net = call_builder(builder, "x", {}, {"num_classes": 4})
    assert net.eval()(torch.zeros(1, 3, 64, 64))["out"].shape == (1, 4, 64, 64)
