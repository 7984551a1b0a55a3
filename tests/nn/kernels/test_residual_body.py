import copy
import ctypes

import pytest
import torch
from torch import Tensor, nn

from convolens.nn.kernels import apply_kernels, half_precision
from convolens.nn.kernels.residual_body import residual_body
from convolens.nn.residual import BasicBlock

LAST = torch.channels_last
# Tiles that are cut off; chunks of several rows of tiles and pictures; filters that leave chunks no
# room, with few tiles and with many.
SHAPES = [(3, 16, 9, 11), (20, 32, 8, 8), (4, 64, 3, 50), (8, 256, 8, 8), (70, 256, 8, 8)]


def block_of(channels: int) -> BasicBlock:
    torch.manual_seed(0)
    block = BasicBlock(channels, channels)
    for norm in (block.bn1, block.bn2):
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias, 0.0, 0.3)
    return block.to(memory_format=LAST)  # type: ignore[call-overload]


def volume(shape: tuple[int, ...]) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(shape).contiguous(memory_format=LAST)


def compute(
    block: BasicBlock,
    x: Tensor,
    library: ctypes.CDLL,
    *,
    half: bool = False,
    half_forward: bool = True,
) -> Tensor:
    parts = (block.conv1, block.bn1, block.conv2, block.bn2)
    return residual_body(x, None, *parts, library, half=half, half_forward=half_forward)


def results(block: BasicBlock, out: Tensor, *inputs: Tensor) -> dict[str, Tensor]:
    """The output, its gradients for a fixed weighting, and the buffers."""
    names = [*(f"input {i}" for i, _ in enumerate(inputs)), *dict(block.named_parameters())]
    sought = [*inputs, *block.parameters()]
    weighting = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad(out, sought, weighting.to(out.dtype), allow_unused=True)
    grads = {n: g for n, g in zip(names, found, strict=True) if g is not None}
    return {"out": out.detach()} | grads | dict(block.named_buffers())


def distance(value: Tensor, exact: Tensor) -> float:
    exact = exact.double()
    return float((value.double() - exact).norm() / exact.norm().clamp(min=1e-12))


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_block_in_float64(each_library: ctypes.CDLL, shape: tuple[int, ...]) -> None:
    block = block_of(shape[1])
    exact = copy.deepcopy(block).double()
    x, x64 = volume(shape).requires_grad_(), volume(shape).double().requires_grad_()
    expected = results(exact, exact(x64), x64)
    found = results(block, compute(block, x, each_library), x)
    assert found.keys() == expected.keys()
    # One ReLU that turns with the last bit of its input moves the gradient of a small volume.
    bound = 1e-4 if x.numel() < 100_000 else 1e-2
    for name, value in found.items():
        assert distance(value, expected[name]) < bound, name


@pytest.mark.parametrize("projects", [False, True])
def test_goes_on_after_another_convolution(library: ctypes.CDLL, projects: bool) -> None:
    block = block_of(32)
    exact = copy.deepcopy(block).double()
    y, added = volume((6, 32, 10, 7)), volume((6, 32, 10, 7)).flip(1).contiguous(memory_format=LAST)
    inputs = [t.clone().requires_grad_() for t in ((y, added) if projects else (y,))]
    doubles = [t.detach().double().requires_grad_() for t in inputs]
    out = residual_body(*(inputs[0], inputs[-1], None, block.bn1, block.conv2, block.bn2, library))
    inner = exact.conv2(exact.bn1(doubles[0]).relu())
    expected = results(exact, (exact.bn2(inner) + doubles[-1]).relu(), *doubles)
    found = results(block, out, *inputs)
    assert found.keys() == expected.keys()
    assert "conv1.weight" not in found
    for name, value in found.items():
        assert distance(value, expected[name]) < 1e-4, name


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("stride", [2, 3])
def test_adds_every_pixel_between_zeros(library: ctypes.CDLL, stride: int, mode: str) -> None:
    torch.manual_seed(0)
    block = BasicBlock(16, 48, stride=stride, shortcut="identity")
    block.conv1.padding_mode = mode
    block = block.to(memory_format=LAST)  # type: ignore[call-overload]
    block.conv1._reversed_padding_repeated_twice = [1, 1, 1, 1]
    exact = copy.deepcopy(block).double()
    apply_kernels(block, library)
    x, x64 = (
        volume((20, 16, 17, 20)).to(kind).requires_grad_()
        for kind in (torch.float32, torch.float64)
    )
    expected = results(exact, exact(x64), x64)
    out = block(x)
    assert type(out.grad_fn).__name__ == "_ResidualBodyBackward"
    inside = {type(n).__name__ for n, _ in out.grad_fn.next_functions if n} == {"AccumulateGrad"}
    assert inside == (mode == "zeros")
    for name, value in results(block, out, x).items():
        assert distance(value, expected[name]) < 1e-4, name


@pytest.mark.parametrize("shape", [(20, 32, 8, 8), (8, 256, 8, 8), (2, 64, 20, 9)])
def test_products_of_half_precision_err_little(
    library: ctypes.CDLL, shape: tuple[int, ...]
) -> None:
    if half_precision(library) is None:
        pytest.skip("this processor multiplies nothing faster than float32")
    block = block_of(shape[1])
    exact = copy.deepcopy(block).double()
    x, x64 = volume(shape).requires_grad_(), volume(shape).double().requires_grad_()
    expected = results(exact, exact(x64), x64)
    found = results(block, compute(block, x, library, half=True), x)
    assert 1e-5 < distance(found["out"], expected["out"]) < 2e-2
    for name, value in found.items():
        assert distance(value, expected[name]) < 0.2, name


def test_a_block_may_take_half_precision_for_gradients_alone(library: ctypes.CDLL) -> None:
    if half_precision(library) is None:
        pytest.skip("this processor multiplies nothing faster than float32")
    block = block_of(64)
    exact = copy.deepcopy(block).double()
    x, x64 = volume((8, 64, 12, 12)).requires_grad_(), volume((8, 64, 12, 12)).double()
    expected = results(exact, exact(x64.requires_grad_()), x64)
    out = compute(block, x, library, half=True, half_forward=False)
    found = results(block, out, x)
    assert distance(found.pop("out"), expected.pop("out")) < 1e-5
    assert 1e-4 < max(distance(value, expected[name]) for name, value in found.items()) < 5e-2


def test_few_channels_are_never_multiplied_in_half_precision(library: ctypes.CDLL) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10))
    assert torch.equal(compute(block, x, library), compute(block, x, library, half=True))


def test_a_block_is_one_operation(library: ctypes.CDLL) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10)).requires_grad_()
    apply_kernels(block, library)
    node = block(x).grad_fn
    assert type(node).__name__ == "_ResidualBodyBackward"
    assert {type(n).__name__ for n, _ in node.next_functions if n} == {"AccumulateGrad"}


@pytest.mark.parametrize("part", ["conv1", "bn1", "relu", "conv2", "bn2"])
def test_a_hook_is_called(library: ctypes.CDLL, part: str) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10))
    stock = copy.deepcopy(block)
    apply_kernels(block, library)
    seen: list[Tensor] = []
    block.get_submodule(part).register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))
    torch.testing.assert_close(block(x), stock(x), rtol=1e-3, atol=1e-4)
    assert len(seen) == (2 if part == "relu" else 1)


def test_a_shortcut_of_another_shape_is_added_as_before(library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    block, x = BasicBlock(16, 32), volume((4, 16, 10, 10))
    block = block.to(memory_format=LAST)  # type: ignore[call-overload]
    stock = copy.deepcopy(block)
    for net in (block, stock):  # one number a channel, which is added to all pixels
        net.downsample = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 32, 1))
        net.downsample[1].load_state_dict(
            {"weight": torch.ones(32, 16, 1, 1), "bias": torch.ones(32)}
        )
    apply_kernels(block, library)
    torch.testing.assert_close(block(x), stock(x), rtol=1e-3, atol=1e-4)
    block.downsample = None
    with pytest.raises(RuntimeError, match="must match"):
        block(x)


@pytest.mark.parametrize("frozen", ["conv1", "conv2", "bn1", "bn2", "conv1 conv2 bn1 bn2"])
def test_what_does_not_learn_gets_no_gradient(library: ctypes.CDLL, frozen: str) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10)).requires_grad_()
    for name in frozen.split():
        block.get_submodule(name).requires_grad_(False)
    stock = copy.deepcopy(block)
    apply_kernels(block, library)
    grads = []
    for net in (block, stock):
        net(x).square().sum().backward()
        grads.append({"x": x.grad} | {name: p.grad for name, p in net.named_parameters()})
        x.grad = None
    for name, grad in grads[1].items():
        if grad is None:
            assert grads[0][name] is None, name
        else:
            torch.testing.assert_close(
                grads[0][name], grad, rtol=1e-3, atol=1e-3 * grad.abs().max()
            )


def test_a_picture_needs_no_gradient(library: ctypes.CDLL) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10))
    apply_kernels(block, library)
    block(x).sum().backward()
    assert block.conv1.weight.grad is not None
    assert x.grad is None


@pytest.mark.parametrize("norm", ["bn1", "bn2"])
def test_a_frozen_normalisation_keeps_its_statistics(library: ctypes.CDLL, norm: str) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10))
    stock = copy.deepcopy(block)
    apply_kernels(block, library)
    for net in (block, stock):
        net.get_submodule(norm).eval()
    torch.testing.assert_close(block(x), stock(x), rtol=1e-3, atol=1e-4)
    for name, buffer in block.named_buffers():
        torch.testing.assert_close(buffer, stock.get_buffer(name), rtol=1e-4, atol=1e-5)


def test_evaluation_and_other_layouts_are_as_before(library: ctypes.CDLL) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10))
    stock = copy.deepcopy(block)
    apply_kernels(block, library)
    default = x.contiguous()
    torch.testing.assert_close(block(default), stock(default), rtol=1e-3, atol=1e-4)
    block.eval(), stock.eval()
    torch.testing.assert_close(block(x), stock(x), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(block(x), stock(x), rtol=1e-3, atol=1e-4)


def test_threads_change_only_the_order_of_sums(library: ctypes.CDLL) -> None:
    runs: dict[int, dict[str, Tensor]] = {}
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        try:
            block, x = block_of(32), volume((20, 32, 9, 10)).requires_grad_()
            run = results(block, compute(block, x, library), x)
        finally:
            torch.set_num_threads(1)
        earlier = runs.setdefault(threads, run)
        assert all(torch.equal(run[name], earlier[name]) for name in run)
    for name, value in runs[1].items():
        assert distance(runs[2][name], value.double()) < 1e-4, name


def test_what_is_not_a_number_is_not_hidden(library: ctypes.CDLL) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10))
    x[0, 3, 5, 5] = torch.nan
    x.requires_grad_()
    out = compute(block, x, library)
    out.sum().backward()
    assert out.isnan().all()  # through the statistics of all channels
    assert x.grad is not None
    assert x.grad.isnan().any()


def test_a_gradient_of_a_gradient_is_refused(library: ctypes.CDLL) -> None:
    block, x = block_of(16), volume((4, 16, 10, 10)).requires_grad_()
    (grad,) = torch.autograd.grad(compute(block, x, library).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
