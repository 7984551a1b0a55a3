from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from convolens.errors import ConfigError
from convolens.nn.dense import DenseBlock, DenseLayer, Transition


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_the_output_is_the_equation() -> None:
    block = DenseBlock(3, 5, 2).double()
    x = torch.randn(4, 5, 6, 6, dtype=torch.float64)
    first, second, third = block.children()
    x1 = first(x)
    x2 = second(torch.cat([x, x1], 1))
    x3 = third(torch.cat([x, x1, x2], 1))
    block.train()  # the statistics of the batch are used, so the order of the calls is not
    torch.testing.assert_close(block(x), torch.cat([x, x1, x2, x3], 1))
    assert block.out_channels == 5 + 3 * 2


def test_a_block_and_a_transition_are_torchvisions() -> None:
    theirs = torchvision.models.densenet._DenseBlock(
        num_layers=4, num_input_features=8, bn_size=4, growth_rate=6, drop_rate=0
    )
    ours = DenseBlock(4, 8, 6)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    their_transition = torchvision.models.densenet._Transition(32, 16)
    transition = Transition(32, 16)
    transition.load_state_dict(their_transition.state_dict())
    torch.testing.assert_close(transition(ours(x)), their_transition(theirs(x)))


def test_layers_by_hand() -> None:
    def count(layer: nn.Module) -> int:
        return sum(p.numel() for p in layer.parameters())

    assert count(DenseLayer(10, 3)) == 2 * 10 + 10 * 12 + 2 * 12 + 12 * 3 * 9
    assert count(DenseLayer(10, 3, bottleneck=0)) == 2 * 10 + 10 * 3 * 9
    names = [name for name, _ in DenseLayer(10, 3, bottleneck=0).named_children()]
    assert names == ["norm1", "relu1", "conv1"]


def test_dropout_follows_every_convolution() -> None:
    block = nn.Sequential(DenseBlock(2, 4, 3, dropout=0.2), Transition(10, 5, dropout=0.2))
    assert [m.p for m in block.modules() if isinstance(m, nn.Dropout)] == [0.2] * 5
    kinds = [type(m) for m in block.modules()]
    after = [kinds[i + 1] for i, kind in enumerate(kinds) if kind is nn.Conv2d]
    assert after == [nn.Dropout] * 5


def saved_bytes(block: nn.Module, x: torch.Tensor) -> int:
    """Of the distinct memory that a forward pass keeps for the way back."""
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = block(x)
    out.sum().backward()
    return sum(sizes.values())


def test_the_memory_efficient_form_computes_the_same_with_less() -> None:
    plain = DenseBlock(8, 8, 4, dropout=0.3).train()
    thrifty = DenseBlock(8, 8, 4, dropout=0.3, memory_efficient=True).train()
    thrifty.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 16, 16)
    results = []
    for block in (plain, thrifty):
        torch.manual_seed(1)
        inputs = x.clone().requires_grad_()
        out = block(inputs)
        out.square().sum().backward()
        results.append([out, inputs.grad, *(p.grad for p in block.parameters()), *block.buffers()])
    for ours, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, expected)
    assert [m.momentum for m in thrifty.modules() if isinstance(m, nn.BatchNorm2d)] == [0.1] * 16
    needed = [saved_bytes(block, x.clone().requires_grad_()) for block in (plain, thrifty)]
    assert needed[1] < 0.25 * needed[0]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 8, 4), "num_layers must be at least 1, received 0"),
        ((2, 8, -4), "growth_rate must be at least 1, received -4"),
    ],
)
def test_an_empty_block_is_refused(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DenseBlock(*sizes)


def test_a_transition_to_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="out_channels must be at least 1, received 0"):
        Transition(1, 0)


@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes(axes: int) -> None:
    """By the equation, with PyTorch's functions of as many axes."""
    convolve = {1: F.conv1d, 3: F.conv3d}[axes]
    pool = {1: F.avg_pool1d, 3: F.avg_pool3d}[axes]

    def convolved(x: torch.Tensor, norm: nn.Module, conv: nn.Module) -> torch.Tensor:
        x = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True).relu()
        return convolve(x, conv.weight, padding=conv.weight.shape[2] // 2)

    block = DenseBlock(2, 5, 3, num_dimensions=axes).double().train()
    transition = Transition(11, 4, num_dimensions=axes).double().train()
    for parameter in (*block.parameters(), *transition.parameters()):
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, *[6] * axes, dtype=torch.float64)
    volumes = [x]
    for layer in block.children():
        inner = convolved(torch.cat(volumes, 1), layer.norm1, layer.conv1)
        volumes.append(convolved(inner, layer.norm2, layer.conv2))
    expected = torch.cat(volumes, 1)
    torch.testing.assert_close(block(x), expected)
    expected = pool(convolved(expected, transition.norm, transition.conv), 2)
    torch.testing.assert_close(transition(block(x)), expected)
    assert transition(block(x)).shape == (2, 4, *[3] * axes)
    layer = DenseLayer(10, 3, num_dimensions=axes)
    assert sum(p.numel() for p in layer.parameters()) == 20 + 10 * 12 + 24 + 12 * 3 * 3**axes
    thrifty = DenseBlock(2, 5, 3, memory_efficient=True, num_dimensions=axes).double().train()
    thrifty.load_state_dict(block.state_dict())
    torch.testing.assert_close(thrifty(x), block(x))
    thrifty(x).sum().backward()
    plain = DenseBlock(2, 5, 3, num_dimensions=axes)
    assert int(thrifty.denselayer1.norm1.num_batches_tracked) == 5
    assert plain.out_channels == 11
