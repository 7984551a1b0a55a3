"""Units of every layer of our networks, against the network itself, and by a loop of our own."""

import json
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convolens.analysis.explanation import as_json, explain_unit, explain_units
from convolens.analysis.summarize import summarize
from convolens.models.registry import MODELS

NETWORKS: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "lenet5_1998": {},
    "simple_convnet": {},
    "resnet20": {},
    "alexnet": {"num_classes": 10, "image_size": 67},
    "googlenet": {"num_classes": 10, "image_size": 64},
    "resnet18": {"num_classes": 10, "image_size": 32},
    "vgg11": {"num_classes": 10, "image_size": 32, "head": "small"},
    "densenet_cifar": {"depth": 40},
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network with statistics as after some training, and a picture."""
    torch.manual_seed(0)
    entry, options = MODELS[name], NETWORKS[name]
    net = entry.builder(**options).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    channels, *size = entry.input_size
    size = [options.get("image_size", side) for side in size]
    return net, torch.randn(1, channels, *size)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_random_unit_of_every_layer_is_what_the_network_computed(name: str) -> None:
    net, x = network(name)
    chooser = random.Random(1)
    rows = [row for row in summarize(net, inputs=x.clone()).rows if row.value >= 0]
    asked = [(row.name, [chooser.randrange(n) for n in row.output]) for row in rows]
    for found, row in zip(explain_units(net, x, asked), rows, strict=True):
        assert found.explained, (row.name, found.formula)
        assert found.difference <= 1e-5 * max(1.0, abs(found.network)), row.name
        assert found.agrees, row.name
        for step in (*found.steps, *found.following):
            assert step.network is None or abs(step.result - step.network) <= 1e-5 * max(
                1.0, abs(step.network)
            ), (row.name, step)


def seen_by(net: nn.Module, path: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a module was given, and what it gave."""
    seen: list[Tensor] = []
    module = net.get_submodule(path)
    handle = module.register_forward_hook(
        lambda _, given, result: seen.extend((given[0].clone(), result.clone()))
    )
    with torch.no_grad():
        net(x)
    handle.remove()
    return seen[0][0].double(), seen[1][0]


@pytest.mark.parametrize(
    ("name", "layer", "unit"),
    [
        ("lenet5", "conv2", (3, 0, 9)),
        ("alexnet", "conv2", (200, 0, 0)),
        ("resnet18", "layer2.0.conv1", (7, 0, 3)),
    ],
)
def test_json_of_a_convolution_by_a_loop(name: str, layer: str, unit: tuple[int, ...]) -> None:
    net, x = network(name)
    tree = json.loads(json.dumps(as_json(explain_unit(net, x, layer, unit))))
    module = net.get_submodule(layer)
    assert isinstance(module, nn.Conv2d)
    read, given = seen_by(net, layer, x)
    kernel = module.weight.detach()
    o, y, x_ = unit
    per_group = module.in_channels // module.groups
    first = o // (module.out_channels // module.groups) * per_group
    total, number = 0.0, 0
    for c in range(per_group):
        for i in range(module.kernel_size[0]):
            for j in range(module.kernel_size[1]):
                row = y * module.stride[0] - int(module.padding[0]) + i
                col = x_ * module.stride[1] - int(module.padding[1]) + j
                inside = 0 <= row < read.shape[1] and 0 <= col < read.shape[2]
                value = float(read[first + c, row, col]) if inside else 0.0
                weight = float(kernel[o, c, i, j])
                term = tree["terms"][number]
                assert term["place"] == [first + c, row, col]
                assert (term["value"], term["weight"]) == (value, weight)
                assert term["padded"] is not inside
                total += weight * value
                number += 1
    assert number == len(tree["terms"])
    bias = 0.0 if module.bias is None else float(module.bias.detach()[o])
    assert (tree["bias"] or 0.0) == bias
    assert tree["computed"] == pytest.approx(total + bias, abs=1e-12)
    assert tree["network"] == float(given[unit])
    assert abs(tree["computed"] - tree["network"]) <= 1e-5


def test_json_of_response_norm_by_a_loop() -> None:
    net, x = network("alexnet")
    tree = json.loads(json.dumps(as_json(explain_unit(net, x, "norm1", (1, 2, 3)))))
    module = net.get_submodule("norm1")
    read, given = seen_by(net, "norm1", x)
    scale = float(module.k)  # type: ignore[arg-type]
    for channel in range(4):  # two on either side of 1, of which one is missing
        scale += float(module.alpha) * float(read[channel, 2, 3]) ** 2  # type: ignore[arg-type]
    assert [term["place"] for term in tree["terms"]] == [[c, 2, 3] for c in range(4)]
    assert tree["total"] + tree["bias"] == pytest.approx(scale, abs=1e-12)
    expected = float(read[1, 2, 3]) / scale ** float(module.beta)  # type: ignore[arg-type]
    assert tree["computed"] == pytest.approx(expected, abs=1e-12)
    assert abs(tree["computed"] - float(given[1, 2, 3])) <= 1e-5
