"""A network is left exactly as it was found."""

import gc
import random
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as everyone
from torch.nn.utils import parametrizations

from convolens.analysis.summarize import summarize
from convolens.errors import ConvolensError


class Habits(nn.Module):
    """Does in forward what a network should rather not do."""

    def __init__(self, fails: BaseException | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.counter = torch.zeros(2)
        self.cache: dict[str, Tensor] = {}
        self.seen: list[Tensor] = []
        self.last: deque[int] = deque([1, 2], maxlen=2)
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.counter.add_(1)
        self.cache["x"] = x
        self.seen.append(x)
        self.last.append(3)
        self.note = x
        self.conv.weight.data.clamp_(-1e-3, 1e-3)
        self.extra = nn.Linear(2, 2)
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        x = self.drop(self.norm(self.conv(x)))
        if self.fails is not None:
            raise self.fails
        return x


class Deciding(Habits):
    """Values decide what it does, so that it runs for real."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


def state_of(net: nn.Module) -> dict[str, object]:
    """All that can be seen of a network, by identity and by value."""
    tensors = [*net.named_parameters(), *net.named_buffers()]
    return {
        "tensors": [(name, id(t), t._version) for name, t in tensors],
        "values": [t.detach().clone() for _, t in tensors],
        "requires_grad": [t.requires_grad for _, t in tensors],
        "grads": [None if t.grad is None else id(t.grad) for _, t in tensors],
        "modes": [module.training for module in net.modules()],
        "modules": [(name, id(module)) for name, module in net.named_modules()],
        "attributes": [sorted(vars(module)) for module in net.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()],
        "everyone": (len(everyone._global_forward_hooks), len(everyone._global_forward_pre_hooks)),
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()),  # noqa: NPY002
        "containers": [
            (dict(m.cache), list(m.seen), list(m.last), m.counter.clone(), id(m.counter))
            for m in net.modules()
            if isinstance(m, Habits)
        ],
        "switches": (
            gc.isenabled(),
            torch.is_grad_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
        ),
    }


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor | np.ndarray):
        return bool((torch.as_tensor(a) == torch.as_tensor(b)).all())
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def check_left_as_found(net: nn.Module, run: Callable[[], object]) -> None:
    before = state_of(net)
    run()
    after = state_of(net)
    for key, value in before.items():
        assert same(value, after[key]), key


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", [Habits, Deciding])
def test_whatever_forward_does(kind: type[Habits], training: bool) -> None:
    net = nn.Sequential(nn.Identity(), kind())
    net.train(training)
    net[1].norm.eval()
    net[1].conv.weight.requires_grad_(False)
    net[1].conv.bias.grad = torch.ones(4)
    net[1].register_forward_hook(lambda *_: None)
    check_left_as_found(net, lambda: summarize(net, (3, 8, 8)))
    assert summarize(net, (3, 8, 8)).ran == ("real" if kind is Deciding else "meta")


@pytest.mark.parametrize("kind", [Habits, Deciding])
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_also_when_it_raises_or_is_interrupted(kind: type[Habits], error: BaseException) -> None:
    net = kind(error)
    expected = ConvolensError if isinstance(error, Exception) else type(error)

    def run() -> None:
        with pytest.raises(expected):
            summarize(net, (3, 8, 8))

    check_left_as_found(net, run)
    assert len(torch.utils._python_dispatch._get_current_dispatch_mode_stack()) == 0


def test_inputs_that_are_given_are_not_written_to() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(x.max().item() + 2)

    x = torch.ones(2, 3)
    assert summarize(InPlace(), inputs=x).ran == "real"
    assert (x == 1).all()


def weight_normed() -> nn.Module:
    with pytest.warns(FutureWarning):
        return torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
        lambda: torch.nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)),
        weight_normed,
        lambda: nn.DataParallel(nn.Conv2d(3, 4, 3)),
    ],
    ids=["weight_norm", "spectral_norm", "old spectral_norm", "old weight_norm", "DataParallel"],
)
def test_weights_that_are_computed(make: Callable[[], nn.Module]) -> None:
    net = make()
    net.train()
    check_left_as_found(net, lambda: summarize(net, (3, 8, 8)))
    graph = summarize(net, (3, 8, 8))
    assert graph.ran == "meta"
    assert graph.totals.macs >= 27 * 4 * 36
    assert graph.totals.params == sum(p.numel() for p in net.parameters())
    with torch.no_grad():
        assert graph.trace.shape(graph.trace.outputs[0]) == net(torch.rand(1, 3, 8, 8)).shape


def test_a_shared_tensor_stays_shared() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    graph = summarize(net, (4,))
    assert net[1].weight is net[0].weight
    assert graph.totals.params == 16 + 4 + 4
    assert [row.params for row in graph.rows] == [20, 4]


def test_hooks_that_keep_watch_see_no_writes() -> None:
    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.locked = True

        def __setattr__(self, name: str, value: object) -> None:
            if getattr(self, "locked", False) and name not in ("training",):
                raise AttributeError("read only")
            super().__setattr__(name, value)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    assert summarize(Watched(), (3, 8, 8)).totals.macs == 27 * 4 * 36
