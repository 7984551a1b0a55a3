import copy
import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convolens.nn.kernels.rewrite import apply_kernels
from convolens.nn.residual import BasicBlock, Bottleneck

LAST = torch.channels_last


def torchvision_blocks() -> nn.Module:
    from torchvision.models.resnet import BasicBlock as Basic
    from torchvision.models.resnet import Bottleneck as Neck

    projection = nn.Sequential(nn.Conv2d(16, 32, 1, stride=2, bias=False), nn.BatchNorm2d(32))
    return nn.Sequential(Basic(16, 16), Basic(16, 32, 2, projection), Neck(32, 8))


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "basic": lambda: nn.Sequential(BasicBlock(16, 16), BasicBlock(16, 20, stride=2)),
    "zeros": lambda: nn.Sequential(BasicBlock(16, 32, stride=2, shortcut="identity")),
    "bottleneck": lambda: nn.Sequential(Bottleneck(16, 8, 32, stride=2), Bottleneck(32, 8, 32)),
    "torchvision": torchvision_blocks,
}


def network(name: str) -> nn.Module:
    """Blocks whose batch norms are not at their beginning, in channels-last layout."""
    torch.manual_seed(0)
    net = BLOCKS[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return net.to(memory_format=LAST)  # type: ignore[call-overload]


def volume() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(4, 16, 10, 10).contiguous(memory_format=LAST)


def gradients(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients of input and parameters, and buffers after one training step."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    out = net(x)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
    found = {"out": out.detach(), "x": x.grad}
    found |= {name: p.grad for name, p in net.named_parameters()}
    return found | {name: b.clone() for name, b in net.named_buffers()}


def operations(out: Tensor) -> list[str]:
    found, left, seen = [], [out.grad_fn], set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.append(type(node).__name__)
            left += [before for before, _ in node.next_functions]
    return found


@pytest.mark.parametrize("name", BLOCKS)
def test_equals_the_plain_block_in_float64(library: ctypes.CDLL, name: str) -> None:
    net = network(name)
    exact = copy.deepcopy(net).double()
    apply_kernels(net, library)
    expected = gradients(exact, volume().double())
    for key, value in gradients(net, volume()).items():
        bound = 2e-4 * max(1.0, float(expected[key].abs().max()))  # Winograd costs a digit
        assert (value - expected[key]).abs().max() <= bound, key
    assert list(net.state_dict()) == list(exact.state_dict())


@pytest.mark.parametrize("name", BLOCKS)
def test_nothing_is_left_to_add_and_undo_brings_it_back(library: ctypes.CDLL, name: str) -> None:
    net = network(name)
    before = [(path, set(vars(m))) for path, m in net.named_modules()]
    stock = gradients(copy.deepcopy(net), volume())
    plain = operations(net(volume()))
    assert "AddBackward0" in plain
    assert "ReluBackward0" in plain
    rewrite = apply_kernels(net, library)
    assert not {"AddBackward0", "ReluBackward0"} & {*operations(net(volume()))}
    for block in net.children():
        assert "join" in vars(block)
    rewrite.undo()
    assert [(path, set(vars(m))) for path, m in net.named_modules()] == before
    assert sorted(operations(net(volume()))) == sorted(plain)
    fresh = network(name)
    apply_kernels(fresh, library).undo()
    for key, value in gradients(fresh, volume()).items():
        assert torch.equal(value, stock[key]), key


def test_the_chains_are_named_once(library: ctypes.CDLL) -> None:
    found = apply_kernels(network("basic"), library).chains
    assert [chain for chain in found if "bn2" in chain] == ["0.bn2 + 0.relu", "1.bn2 + 1.relu"]
    assert apply_kernels(network("torchvision"), library).chains[-1] == "2.bn3 + 2.relu"
    assert apply_kernels(BasicBlock(8, 8), library).chains[-1] == "bn2 + relu"


def test_a_plain_twin_has_no_addition_and_keeps_its_chain(library: ctypes.CDLL) -> None:
    net = BasicBlock(16, 16, shortcut="none").to(memory_format=LAST)  # type: ignore[call-overload]
    stock = copy.deepcopy(net)
    assert "bn2 + relu" in apply_kernels(net, library).chains
    torch.testing.assert_close(net(volume()), stock(volume()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("part", ["bn2", "relu"])
def test_a_hook_sees_what_it_saw_before(library: ctypes.CDLL, part: str) -> None:
    net = network("basic")
    stock = copy.deepcopy(net)
    apply_kernels(net, library)
    seen: list[list[Tensor]] = [[], []]
    for model, kept in zip((net, stock), seen, strict=True):
        model[1].get_submodule(part).register_forward_hook(
            lambda _m, _i, out, kept=kept: kept.append(out.detach().clone())
        )
        model(volume())
    assert len(seen[0]) == len(seen[1]) > 0
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", BLOCKS)
def test_elsewhere_it_computes_as_before(library: ctypes.CDLL, name: str) -> None:
    net = network(name)
    stock = copy.deepcopy(net)
    apply_kernels(net, library)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(volume()), stock(volume()))
    default = volume()[:1].contiguous()  # PyTorch's own layout, too few tiles for Winograd
    assert torch.equal(net.eval()(default), stock.eval()(default))
    assert torch.equal(net.double()(default.double()), stock.double()(default.double()))


def test_a_copy_computes_with_its_own_weights(library: ctypes.CDLL) -> None:
    net = network("torchvision")
    apply_kernels(net, library)
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(other[0](volume()), volume().relu())
    assert not torch.equal(net[0](volume()), volume().relu())


def test_applying_twice_changes_nothing_more(library: ctypes.CDLL) -> None:
    net = network("bottleneck")
    first = apply_kernels(net, library)
    assert apply_kernels(net, library).chains == ()
    first.undo()
    assert not any({"forward", "join"} & vars(m).keys() for m in net.modules())
