import copy
import ctypes
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.nn.kernels import batch_norm, rewrite
from convolens.nn.kernels.memory import sums_of
from convolens.nn.kernels.rewrite import apply_kernels

LAST = torch.channels_last


class Block(nn.Module):
    """A residual block with one ReLU for two places, as in torchvision."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self.bn2(self.conv2(out)) + x)
        return result


class Branching(nn.Module):
    """Uses the ReLU's result twice, so it must exist; and decides by values, in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        volume = self.relu(self.conv(x))
        pooled: Tensor = self.pool(volume)
        return pooled.mean((2, 3)) + volume.mean((2, 3))


class Undecided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 4, 3), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.pool(self.conv(x)) if x.sum() > 0 else self.conv(x)
        return result


def plain() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 18, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
        *(nn.Flatten(), nn.Dropout(0.0), nn.Linear(18 * 36, 10)),
    )


def normalised() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(16)),
        *(nn.ReLU(inplace=True), Block(16), Block(16), nn.MaxPool2d(3, 2, 1)),
        *(nn.Conv2d(16, 10, 3), nn.BatchNorm2d(10), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def wide() -> nn.Sequential:
    """Channels enough for the algorithm of 3×3 convolutions, with and without pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 48, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(64, 10),
    )


def capped() -> nn.Sequential:
    """The start of a MobileNetV2, with 24 channels, which are no whole number of vectors."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True)),
        *(nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16), nn.ReLU6()),
        *(nn.Conv2d(16, 24, 1), nn.BatchNorm2d(24), nn.ReLU6()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)),
    )


def swish() -> nn.Sequential:
    """The start of an EfficientNet and of a MobileNetV3."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 3, stride=2, bias=False), nn.BatchNorm2d(20), nn.SiLU(inplace=True)),
        *(nn.Conv2d(20, 20, 3, groups=20, bias=False), nn.BatchNorm2d(20), nn.Hardswish()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10)),
    )


def step(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Output and gradients of one step."""
    model.zero_grad()
    out = model(x)
    F.cross_entropy(out, torch.arange(len(x)) % 10).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return [out.detach(), *grads, *(b.clone().float() for b in model.buffers())]


def pair_of(make: Callable[[], nn.Module], library: ctypes.CDLL) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    stock = make().to(memory_format=LAST)  # type: ignore[call-overload]
    mine = copy.deepcopy(stock)
    apply_kernels(mine, library)
    return mine, stock


def pictures() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(8, 1, 28, 28).contiguous(memory_format=LAST)


def test_finds_the_chains(library: ctypes.CDLL) -> None:
    assert apply_kernels(plain(), library).chains == ("0 + 1 + 2", "3 + 4 + 5")
    assert apply_kernels(normalised(), library).chains == (
        *("0 + 1", "2 + 3"),
        *("4.conv1", "4.bn1 + 4.relu", "4.conv2", "4.bn2"),
        *("5.conv1", "5.bn1 + 5.relu", "5.conv2", "5.bn2", "6", "7", "8"),
    )


@pytest.mark.parametrize("make", [plain, normalised, wide, capped, swish])
def test_trains_as_before(library: ctypes.CDLL, make: Callable[[], nn.Module]) -> None:
    mine, stock = pair_of(make, library)
    for _ in range(2):
        for a, b in zip(step(mine, pictures()), step(stock, pictures()), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert list(mine.state_dict()) == list(stock.state_dict())
    mine.eval()
    stock.eval()
    with torch.no_grad():
        torch.testing.assert_close(mine(pictures()), stock(pictures()), rtol=1e-3, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(mine(pictures()), stock(pictures()), rtol=1e-3, atol=1e-5)


def operations(out: Tensor) -> set[str]:
    """The names of the operations that lead to a result."""
    found, left = set(), [out.grad_fn]
    while left:
        node = left.pop()
        if node is not None:
            found.add(type(node).__name__)
            left += [before for before, _ in node.next_functions]
    return found


@pytest.mark.parametrize(
    ("make", "kernels", "replaced"),
    [
        (plain, {"_ConvPoolBackward"}, {"ConvolutionBackward0", "MaxPool2DWithIndicesBackward0"}),
        (
            normalised,
            {"_ConvPoolBackward", "_BatchNormBackward", "_MaxPoolBackward", "_Conv3x3Backward"},
            {"MaxPool2DWithIndicesBackward0", "NativeBatchNormBackward0"},
        ),
        (wide, {"_Conv3x3Backward", "_MaxPoolBackward"}, {"MaxPool2DWithIndicesBackward0"}),
        (capped, {"_BatchNormBackward"}, {"NativeBatchNormBackward0", "HardtanhBackward0"}),
        (swish, {"_BatchNormBackward"}, {"SiluBackward0", "HardswishBackward0"}),
    ],
)
def test_the_kernels_are_really_used(
    library: ctypes.CDLL,
    make: Callable[[], nn.Module],
    kernels: set[str],
    replaced: set[str],
) -> None:
    mine, stock = pair_of(make, library)
    assert operations(mine(pictures())) & (kernels | replaced) == kernels
    assert operations(stock(pictures())) & kernels == set()


def test_statistics_are_taken_where_a_convolution_stores(
    library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []

    def spy(x: Tensor, *args: Any, **options: Any) -> Tensor:
        taken.append(sums_of(x) is not None)
        return batch_norm(x, *args, **options)

    monkeypatch.setattr(rewrite, "batch_norm", spy)
    mine, _ = pair_of(normalised, library)
    mine(pictures())
    assert taken == [False, True, True, True, True, False]
    with torch.inference_mode():
        mine(pictures())
    assert taken[6:] == [False] * 6


@pytest.mark.parametrize("make", [plain, normalised])
def test_undo_leaves_the_network_as_it_was(
    library: ctypes.CDLL, make: Callable[[], nn.Module]
) -> None:
    model = make().to(memory_format=LAST)  # type: ignore[call-overload]
    before = [(name, set(vars(m)), m.training) for name, m in model.named_modules()]
    start = copy.deepcopy(model)
    expected = step(start, pictures())
    rewrite = apply_kernels(model, library)
    assert [(n, set(vars(m)), m.training) for n, m in model.named_modules()] != before
    rewrite.undo()
    assert [(n, set(vars(m)), m.training) for n, m in model.named_modules()] == before
    assert all(torch.equal(a, b) for a, b in zip(step(model, pictures()), expected, strict=True))


def test_a_hook_sees_what_it_saw_before(library: ctypes.CDLL) -> None:
    mine, stock = pair_of(plain, library)
    seen: list[list[Tensor]] = [[], []]
    for model, kept in zip((mine, stock), seen, strict=True):
        for index in (1, 3):
            model[index].register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out))
        step(model, pictures())
    assert [t.shape for t in seen[0]] == [t.shape for t in seen[1]]
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b)


def test_a_copy_computes_with_its_own_weights(library: ctypes.CDLL) -> None:
    mine, _ = pair_of(plain, library)
    other = copy.deepcopy(mine)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not other(pictures()).any()
    assert mine(pictures()).any()


def test_other_precisions_compute_as_before(library: ctypes.CDLL) -> None:
    mine, stock = pair_of(plain, library)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mine(pictures()), stock(pictures()))
    assert torch.equal(mine.double()(pictures().double()), stock.double()(pictures().double()))


@pytest.mark.parametrize("size", [0, 1])
def test_the_smallest_batches(library: ctypes.CDLL, size: int) -> None:
    mine, stock = pair_of(plain, library)
    torch.testing.assert_close(mine(pictures()[:size]), stock(pictures()[:size]))


def test_values_used_twice_are_left_alone(library: ctypes.CDLL) -> None:
    mine, stock = pair_of(Branching, library)
    assert apply_kernels(Branching(), library).chains == ("conv", "pool")
    torch.testing.assert_close(mine(pictures()), stock(pictures()))


def test_of_what_cannot_be_traced_the_parts_are_taken(library: ctypes.CDLL) -> None:
    mine, stock = pair_of(Undecided, library)
    assert apply_kernels(Undecided().eval(), library).chains == ("conv", "pool")
    for x in (pictures(), pictures() - 9):
        torch.testing.assert_close(mine(x), stock(x))
        torch.testing.assert_close(step(Headed(mine), x), step(Headed(stock), x))


class Headed(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x).flatten(1)
        return result


class Collecting(nn.Module):
    """Cannot be read as a whole; calls one part as a whole, and another layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.called = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.walked = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.shared = nn.Conv2d(16, 16, 3, padding=1)
        self.again = self.shared

    def forward(self, x: Tensor) -> Tensor:
        x = self.called(x)
        seen = []
        for layer in self.walked:
            x = layer(x)
            seen.append(x.mean((2, 3)))
        if x.sum() > -1e9:
            x = self.again(self.shared(x))
        return torch.cat([x.mean((2, 3)), *seen], 1)[:, :48]


def test_what_is_called_layer_by_layer_gives_every_layer_its_own(library: ctypes.CDLL) -> None:
    mine, stock = pair_of(Collecting, library)
    assert apply_kernels(Collecting(), library).chains == (
        *("called.0 + called.1 + called.2", "walked.0 + walked.1", "walked.2", "shared"),
    )
    for a, b in zip(step(mine, pictures()), step(stock, pictures()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert {"_ConvPoolBackward", "_BatchNormBackward"} <= operations(mine(pictures()))
    stock(pictures())
    mine.eval()
    stock.eval()
    torch.testing.assert_close(mine(pictures()), stock(pictures()), rtol=1e-3, atol=1e-5)
    twin = copy.deepcopy(mine)
    torch.testing.assert_close(twin(pictures()), mine(pictures()))


class Sharing(nn.Module):
    """Cannot be read as a whole; two parts begin with one and the same convolution."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv2d(1, 16, 3)
        self.one = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2))
        self.other = nn.Sequential(first, nn.MaxPool2d(2), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.one(x), self.other(x)] if x.sum() > -1e9 else []
        return torch.cat(parts, 1).mean((2, 3))


def test_parts_may_share_a_layer(library: ctypes.CDLL) -> None:
    mine, stock = pair_of(Sharing, library)
    for a, b in zip(step(mine, pictures()), step(stock, pictures()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_forward_of_ones_own_stays(library: ctypes.CDLL) -> None:
    model = nn.ModuleDict({"part": nn.Sequential(nn.BatchNorm2d(1), nn.ReLU())})
    part = model["part"]
    part.forward = lambda x: part[0](x) * -1  # type: ignore[method-assign]
    x, expected = pictures(), part(pictures())
    rewrite = apply_kernels(model, library)
    assert rewrite.chains == ("part.0",)
    torch.testing.assert_close(part(x), expected)
    rewrite.undo()
    torch.testing.assert_close(part(x), expected)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(16, 16, 3), nn.MaxPool2d(2)),
        (nn.Conv2d(16, 16, 3, padding=1),),
        (nn.BatchNorm2d(16),),
    ],
)
def test_a_wrong_number_of_channels_is_pytorchs_error(
    library: ctypes.CDLL, layers: tuple[nn.Module, ...]
) -> None:
    model = nn.Sequential(*copy.deepcopy(layers))
    assert apply_kernels(model, library).chains
    for channels in (1, 15, 17, 32):
        with pytest.raises(RuntimeError):
            model(torch.zeros(8, channels, 48, 48).contiguous(memory_format=LAST))


def test_a_part_that_fails_is_left_as_it_was(library: ctypes.CDLL) -> None:
    mine, _ = pair_of(Collecting, library)
    with pytest.raises(RuntimeError, match="channels"):
        mine(torch.zeros(1, 3, 9, 9).contiguous(memory_format=LAST))
    assert mine.called.forward.running == 0


def test_applying_twice_changes_nothing_more(library: ctypes.CDLL) -> None:
    model = plain()
    first = apply_kernels(model, library)
    assert apply_kernels(model, library).chains == ()
    first.undo()
    assert all("forward" not in vars(m) for m in model.modules())


def test_gradients_of_gradients_are_refused(library: ctypes.CDLL) -> None:
    mine, _ = pair_of(plain, library)
    weight = mine.get_parameter("0.weight")
    (grad,) = torch.autograd.grad(mine(pictures()).sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
