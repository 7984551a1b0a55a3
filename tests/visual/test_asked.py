from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convolens.visual.ascent import ascend
from convolens.visual.asked import asked
from convolens.visual.layers import maps_of
from convolens.visual.saliency import (
    eigen_cam,
    grad_cam,
    gradient,
    guided_backprop,
    integrated_gradients,
    occlusion,
    score_cam,
    unit_gradient,
)

LOW, HIGH = torch.zeros(1), torch.ones(1)
QUESTIONS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "gradient": gradient,
    "guided backprop": guided_backprop,
    "integrated gradients": lambda net, x: integrated_gradients(net, x, steps=3),
    "occlusion": occlusion,
    "grad-cam": grad_cam,
    "score-cam": score_cam,
    "eigen-cam": eigen_cam,
    "unit": lambda net, x: unit_gradient(net, x, "0", (1, 2, 2)),
    "maps": lambda net, x: maps_of(net, x, ["0", "2"]),
    "ascent": lambda net, x: ascend(net, "0", [1], low=LOW, high=HIGH, size=(8, 8), steps=2),
}


class Counting(nn.Module):
    """Writes into a buffer and an attribute in every pass, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.last: object = None
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        self.last = x
        if self.fails and not x.is_meta:
            raise RuntimeError("the network's own error")
        return x


def a_network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        *(Counting(), nn.Flatten(), nn.Linear(144, 3)),
    )
    net.train()
    net[1].eval()
    net[0].bias.requires_grad_(False)
    net[6].weight.grad = torch.full_like(net[6].weight, 7.0)
    net[2].register_forward_hook(lambda *_: None)
    return net


def state_of(net: nn.Module) -> list[object]:
    return [
        [(name, id(p), p.requires_grad, id(p.grad)) for name, p in net.named_parameters()],
        [(name, id(b), b.tolist()) for name, b in net.named_buffers()],
        [p.tolist() for p in net.parameters()],
        [m.training for m in net.modules()],
        [(len(m._forward_hooks), len(m._backward_hooks)) for m in net.modules()],
        [sorted(vars(m)) for m in net.modules()],
        net[4].last,
        len(nn.modules.module._global_forward_hooks),
        len(nn.modules.module._global_forward_pre_hooks),
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_network_is_left_as_found(name: str) -> None:
    net, x = a_network(), torch.rand(2, 1, 8, 8)
    before, copy = state_of(net), x.clone()
    QUESTIONS[name](net, x)
    assert state_of(net) == before
    assert torch.equal(x, copy)
    assert not x.requires_grad
    assert float(net[6].weight.grad.mean()) == 7.0


@pytest.mark.parametrize("name", QUESTIONS)
def test_also_when_it_raises(name: str) -> None:
    net, x = a_network(), torch.rand(2, 1, 8, 8)
    net[4].fails = True
    before = state_of(net)
    with pytest.raises(RuntimeError, match="the network's own error"):
        QUESTIONS[name](net, x)
    assert state_of(net) == before


@pytest.mark.parametrize("name", QUESTIONS)
def test_inside_of_inference_mode(name: str) -> None:
    net, x = a_network(), torch.rand(2, 1, 8, 8)
    expected = QUESTIONS[name](net, x)
    with torch.inference_mode():
        found = QUESTIONS[name](net, x)
    pairs = [(expected, found)]
    if isinstance(expected, dict):
        pairs = [(expected[key], found[key]) for key in expected]
    elif not isinstance(expected, Tensor):
        field = next(f for f in ("attributions", "maps", "pictures") if hasattr(expected, f))
        pairs = [(getattr(expected, field), getattr(found, field))]
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def test_a_network_that_is_compiled_computes_as_written() -> None:
    net, x = a_network(), torch.rand(2, 1, 8, 8)
    expected = gradient(net, x)
    net._compiled_call_impl = lambda *_: pytest.fail("the compiled network was called")
    assert torch.equal(gradient(net, x), expected)
    assert "_compiled_call_impl" in vars(net)


def test_evaluation_mode_inside() -> None:
    net = a_network()
    with asked(net):
        assert not any(module.training for module in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
        assert torch.is_grad_enabled()
