"""The contract that every network of the registry keeps."""

import inspect
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens import models
from convolens.errors import ConfigError, ShapeError
from convolens.models.entry import ModelEntry, Published
from convolens.models.registry import COMMON, MODELS, check_options, find_model, table

NAMES = sorted(MODELS)
CLASSIFIERS = sorted(name for name, entry in MODELS.items() if entry.task == "classify")
# Small enough to be computed here; of the others, shapes and gradients are followed without values.
CHEAP_PARAMS, CHEAP_SIDE = 1_000_000, 32


def on_meta(name: str, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name].builder(**arguments)


def num_params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


CHEAP = [
    name
    for name in CLASSIFIERS
    if max(MODELS[name].input_size[1:]) <= CHEAP_SIDE and num_params(on_meta(name)) < CHEAP_PARAMS
]


def logits(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """In training a network may give those of auxiliary heads too."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


@pytest.fixture(autouse=True)
def quick_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """On meta tensors PyTorch takes batch norm apart in Python, which costs ten times this."""
    stock = F.batch_norm

    def quick(x: Tensor, mean: Any, var: Any, weight: Any, bias: Any, *rest: Any) -> Tensor:
        if x.device.type != "meta":
            return stock(x, mean, var, weight, bias, *rest)
        for term in (weight, bias):
            x = x if term is None else x * term.view(-1, *(1,) * (x.dim() - 2))
        return x

    monkeypatch.setattr(F, "batch_norm", quick)


def reached(outputs: Iterable[Tensor]) -> set[int]:
    """The ids of the parameters to which gradients would flow."""
    left, seen, found = [out.grad_fn for out in outputs], set(), set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [before for before, _ in node.next_functions]
            if hasattr(node, "variable"):
                found.add(id(node.variable))
    return found


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_other_classes_channels_and_sizes_and_a_gradient_for_all(name: str) -> None:
    channels, height, _ = MODELS[name].input_size
    changed, side = 4 - channels, height + 9  # 3 for 1 and 1 for 3
    net = on_meta(name, num_classes=17, in_channels=changed, image_size=side).train()
    assert {t.device.type for t in net.state_dict().values()} == {"meta"}
    outputs = logits(net(torch.empty(2, changed, side, side, device="meta")))
    assert {tuple(out.shape) for out in outputs} == {(2, 17)}
    with_gradient = reached(outputs)
    for key, parameter in net.named_parameters():
        assert (id(parameter) in with_gradient) == parameter.requires_grad, key


@pytest.mark.parametrize("name", CHEAP)
def test_no_gradient_is_zero(name: str) -> None:
    torch.manual_seed(0)
    net = MODELS[name].builder()
    net(torch.randn(4, *MODELS[name].input_size)).square().sum().backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", CHEAP)
def test_the_seed_decides_the_weights(name: str) -> None:
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(MODELS[name].builder())
    first, same, other = ([*net.state_dict().values()] for net in nets)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("size", [3, 20])
def test_a_picture_is_read_or_named_as_too_small(name: str, size: int) -> None:
    channels, _, _ = MODELS[name].input_size
    message = None
    try:
        net = on_meta(name, image_size=size).eval()
    except ShapeError as error:
        message = error.message
    if message is None:
        assert len(net(torch.empty(2, channels, size, size, device="meta"))) == 2
    else:
        assert "does not fit" in message


@pytest.mark.parametrize("name", NAMES)
def test_a_side_below_one_is_refused(name: str) -> None:
    with pytest.raises(ShapeError):
        on_meta(name, image_size=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_names_a_source_and_the_shape(name: str) -> None:
    text = inspect.getdoc(MODELS[name].builder) or ""
    assert "Source:" in text
    assert "Shape:" in text
    parameters = inspect.signature(MODELS[name].builder).parameters
    assert tuple(parameters)[:3] == COMMON
    assert all(p.kind is p.KEYWORD_ONLY for p in [*parameters.values()][3:])
    assert getattr(models, name) is MODELS[name].builder


# --- published numbers ---


def macs_of(module: nn.Module, output: Tensor) -> int:
    """One multiply-accumulate for each weight that each output value reads."""
    if isinstance(module, nn.Conv2d):
        return output[0].numel() * prod(module.weight.shape[1:])
    if isinstance(module, nn.Linear):
        return output[0].numel() * module.in_features
    return 0


class Counts:
    """What the modules of a network give for one picture."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.net = on_meta(name, **options).eval()
        self.macs: dict[str, int] = {}
        self.volumes: dict[str, tuple[int, ...]] = {}
        for path, module in self.net.named_modules():
            module.register_forward_hook(
                lambda module, _, output, path=path: self.note(path, module, output)
            )
        self.net(torch.empty(1, *MODELS[name].input_size, device="meta"))

    def note(self, path: str, module: nn.Module, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        self.macs[path] = self.macs.get(path, 0) + macs_of(module, output)
        self.volumes[path] = tuple(output.shape[1:])

    def of(self, number: Published) -> int | tuple[int, ...]:
        layer = number.layer
        if number.quantity == "volume":
            return self.volumes[layer]
        if number.quantity == "params":
            return num_params(self.net.get_submodule(layer))
        inside = [path for path in self.macs if path == layer or path.startswith(f"{layer}.")]
        return sum(self.macs[path] for path in (inside if layer else self.macs))


def check(number: Published, found: int | tuple[int, ...]) -> None:
    told = f"{number.quantity} of {number.layer or 'the network'}: {number.source}"
    if isinstance(number.value, tuple):
        assert found == number.value, told
    else:
        assert isinstance(found, int)
        assert abs(found - number.value) <= number.within * number.value, f"{told}: {found}"


@pytest.mark.parametrize("name", NAMES)
def test_published_numbers_are_right(name: str) -> None:
    counts = {"[]": Counts(name, {})}
    classes = inspect.signature(MODELS[name].builder).parameters["num_classes"].default
    if MODELS[name].task == "classify":
        assert counts["[]"].volumes[""] == (classes,)
    for number in MODELS[name].published:
        key = repr(sorted(number.options.items()))
        if key not in counts:
            counts[key] = Counts(name, number.options)
        check(number, counts[key].of(number))


def test_a_wrong_number_is_found() -> None:
    counts = Counts("lenet5", {})
    assert counts.macs["conv2"] == 16 * 10 * 10 * 6 * 5 * 5
    params = Published(quantity="params", value=61_706, source="by hand")
    check(params, counts.of(params))
    wrong = [
        Published(quantity="params", value=61_705, source="by hand"),
        Published(quantity="macs", value=10, source="by hand", layer="conv1", within=0.01),
        Published(quantity="volume", value=(6, 14, 15), source="by hand", layer="pool1"),
    ]
    for number in wrong:
        with pytest.raises(AssertionError, match="by hand"):
            check(number, counts.of(number))


# --- the table ---


def test_a_name_that_occurs_twice_is_an_error() -> None:
    entry = ModelEntry(builder=MODELS["lenet5"].builder, input_size=(1, 32, 32), description="x")
    with pytest.raises(ValueError, match="two networks are called lenet5"):
        table([entry, entry])


def test_unknown_names_and_options() -> None:
    with pytest.raises(ConfigError) as caught:
        find_model("lenet")
    assert caught.value.hint is not None
    assert "lenet5" in caught.value.hint
    with pytest.raises(ConfigError, match="lenet5 has no option 'dropuot'") as caught:
        check_options(MODELS["lenet5"].builder, {"dropuot": 0.5}, "lenet5")
    assert caught.value.hint == "Did you mean dropout?"
