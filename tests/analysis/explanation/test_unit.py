"""What a unit is explained by: its layer's rule, what comes before it, and what follows."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convolens.analysis.explanation import explain_unit
from convolens.errors import ConfigError, ShapeError


def seeded(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    for layer in layers:
        for tensor in (*layer.parameters(), *layer.buffers()):
            if tensor.is_floating_point():
                nn.init.uniform_(tensor, 0.3, 1.5)
    return nn.Sequential(*layers).eval().requires_grad_(False)


class Of(nn.Module):
    """A function as a module with one in it, so that its operations are layers of their own."""

    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function, self.inner = function, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.inner(x))


X = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LAYERS = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU(), nn.PReLU(4), nn.RReLU(), nn.ELU(0.7),
    nn.SELU(), nn.CELU(0.6), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(),
    nn.Hardsigmoid(), nn.Hardtanh(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(2.0, 1.0),
    nn.LogSigmoid(), nn.Threshold(0.1, -2.0), nn.Softsign(), nn.Tanhshrink(), nn.GLU(1),
    nn.Softmax(1), nn.Softmax2d(), nn.LogSoftmax(2), nn.Softmin(3),
    nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.InstanceNorm2d(4, affine=True),
    nn.BatchNorm2d(4, track_running_stats=False), nn.GroupNorm(2, 4), nn.LayerNorm((6, 6)),
    nn.LayerNorm(6, bias=False), nn.RMSNorm(6), nn.LocalResponseNorm(3, alpha=0.5),
    nn.LocalResponseNorm(4, alpha=0.3, k=2.0),
    nn.Linear(6, 3), nn.Linear(6, 3, bias=False), nn.LPPool2d(2, 2),
    nn.Upsample(scale_factor=2), nn.Upsample(size=(9, 5), mode="bilinear"),
    nn.Upsample(size=(9, 5), mode="bilinear", align_corners=True),
    nn.Upsample(scale_factor=1.5, mode="bicubic"), nn.PixelShuffle(2), nn.PixelUnshuffle(2),
    nn.ChannelShuffle(2), nn.ZeroPad2d(1), nn.ReflectionPad2d(2), nn.ReplicationPad2d(1),
    nn.Flatten(), nn.Identity(), nn.Dropout(),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: str(layer).replace(" ", ""))
def test_any_layer_computes_what_pytorch_does(layer: nn.Module) -> None:
    net = seeded(copy.deepcopy(layer)).double()
    expected = net(X)
    chooser = torch.Generator().manual_seed(2)
    for _ in range(4):
        unit = [int(torch.randint(n, (), generator=chooser)) for n in expected.shape[1:]]
        found = explain_unit(net, X, "0", unit)
        assert found.explained
        assert found.network == float(expected[(0, *unit)])
        assert abs(found.computed - found.network) <= 1e-12 * max(1.0, abs(found.network))


@pytest.mark.parametrize(
    ("function", "operation", "num_terms"),
    [
        (lambda x: x + x.flip(2), "sum of two branches", 2),
        (lambda x: torch.sub(x, x.flip(2), alpha=3), "difference of two branches", 2),
        (lambda x: x * x.mean((2, 3), keepdim=True), "product of two branches", 1),
        (lambda x: x / (1 + x.abs()), "quotient", 1),
        (lambda x: torch.maximum(x, x.flip(3)), "greater of two branches", 2),
        (lambda x: torch.bmm(x[0], x[0].transpose(1, 2)), "linear", 6),
        (lambda x: x.amax((2, 3)), "greatest of 36 values", 36),
        (lambda x: x.sum(1), "sum of 4 values", 4),
        (lambda x: F.pixel_shuffle(x, 2), "shuffle", 1),
        (lambda x: torch.cat([x, x.relu()], 1), "concatenation", 1),
        (lambda x: F.softmax(x.flatten(1), 1), "softmax over 144", 144),
    ],
)
def test_branches_and_functions(function, operation: str, num_terms: int) -> None:  # type: ignore[no-untyped-def]
    net, expected = Of(function), function(X)
    layer = explained_layer(net)
    unit = [n - 1 for n in expected.shape[1:]]
    found = explain_unit(net, X, layer, unit)
    assert (found.operation, len(found.terms)) == (operation, num_terms)
    assert abs(found.computed - float(expected[(0, *unit)])) <= 1e-12


def explained_layer(net: nn.Module) -> str:
    """The network's last layer."""
    from convolens.analysis.summarize import summarize

    return summarize(net, inputs=X.clone()).rows[-1].name


def test_a_gate_is_the_weight() -> None:
    found = explain_unit(Of(lambda x: x.mean((2, 3), keepdim=True) * x), X, "mul", (1, 2, 3))
    (term,) = found.terms
    assert term.value == float(X[0, 1, 2, 3])
    assert term.weight == pytest.approx(float(X[0, 1].mean()), abs=1e-15)
    assert "mean (1, 0, 0)" in found.formula


def test_an_activation_is_explained_down_to_its_sum() -> None:
    net = seeded(nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)).double()
    found = explain_unit(net, X, "2", (1, 0, 5))
    assert found.performed_by == "0"
    assert len(found.terms) == 36
    assert [(step.name, step.layer) for step in found.steps] == [("batch norm", "1"), ("relu", "2")]
    after_conv, after_norm = net[0](X), net[1](net[0](X))
    assert found.total + (found.bias or 0) == pytest.approx(
        float(after_conv[0, 1, 0, 5]), abs=1e-12
    )
    assert found.steps[0].network == float(after_norm[0, 1, 0, 5])
    assert found.network == max(0.0, float(after_norm[0, 1, 0, 5]))


def test_what_follows_a_sum_is_told() -> None:
    net = seeded(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True)).double()
    found = explain_unit(net, X, "0", (1, 0, 3))
    assert not found.steps
    assert found.network == float(net[0](X)[0, 1, 0, 3])  # before the ReLU writes over it
    assert [step.layer for step in found.following] == ["1", "2"]
    assert found.following[-1].result == pytest.approx(float(net(X)[0, 1, 0, 3]), abs=1e-12)
    assert found.following[-1].network == float(net(X)[0, 1, 0, 3])


def test_a_value_that_several_layers_read_is_followed_by_none() -> None:
    net = Of(lambda x: F.relu(y := 2 * x) + y)
    assert explain_unit(net, X, "mul", (0, 0, 0)).following == ()


def test_concatenation_names_the_branch_and_its_unit() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.left(x), self.right(x)], 1)

    net = Net().double().requires_grad_(False)
    found = explain_unit(net, X, "cat", (3, 4, 5), depth=2)
    assert [(term.source, term.unit) for term in found.terms] == [("right", (1, 4, 5))]
    assert found.formula == "a copy of unit (1, 4, 5) of right"
    (child,) = found.children
    assert (child.layer, child.unit, len(child.terms)) == ("right", (1, 4, 5), 4)


def test_terms_of_a_linear_layer_are_found_before_the_flattening() -> None:
    net = seeded(nn.Conv2d(4, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)).double()
    found = explain_unit(net, X, "3", (2,), depth=3)
    pooled = net[1](net[0](X))
    assert [term.place for term in found.terms] == [(n,) for n in range(8)]
    assert all(term.source == "1" for term in found.terms)
    assert all(term.value == float(pooled[(0, *term.unit)]) for term in found.terms)
    strongest = max(found.terms, key=lambda term: abs(term.product))
    assert (found.children[0].layer, found.children[0].unit) == ("1", strongest.unit)
    assert len(found.children) == 3
    (winner,) = [term for term in found.children[0].terms if term.weight == 1]
    (convolution,) = found.children[0].children  # what is no winner has nothing to tell
    assert (convolution.layer, convolution.unit) == ("0", winner.unit)
    assert convolution.children == ()


def test_padding_of_a_layer_before_is_padding_too() -> None:
    net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(4, 1, 3)).double()
    found = explain_unit(net, X, "1", (0, 0, 3))
    assert [term.padded for term in found.terms] == [term.place[1] == 0 for term in found.terms]


def test_what_is_written_piece_by_piece() -> None:
    net, expected = nn.Sequential(nn.CircularPad2d(1)), nn.CircularPad2d(1)(X)
    for layers in (net, nn.Sequential(*net, nn.Conv2d(4, 1, 1).double())):
        found = explain_unit(layers, X, "0", (1, 0, 7))
        assert found.computed == found.network == float(expected[0, 1, 0, 7])
        assert [term.unit for term in found.terms] == [(1, 5, 0)]


def test_the_field_on_the_image() -> None:
    net = seeded(nn.Conv2d(4, 2, 3, padding=1), nn.MaxPool2d(2)).double()
    found = explain_unit(net, X, "1", (0, 1, 0))
    assert (found.rows, found.cols) == ((1, 4), (0, 2))


def test_an_operation_without_a_rule_says_so() -> None:
    found = explain_unit(Of(lambda x: x.cumsum(1)), X, "cumsum", (2, 1, 3))
    assert not found.explained
    assert found.formula == "there is no explanation for aten.cumsum"
    (given,) = found.inputs
    assert (given.name, given.shape) == ("input", (4, 6, 6))
    assert given.value == float(X[0, 2, 1, 3])
    assert found.network == float(X.cumsum(1)[0, 2, 1, 3])


def test_a_network_whose_values_decide() -> None:
    net = Of(lambda x: x.relu() if float(x.sum()) > 1e9 else 2 * x)
    assert explain_unit(net, X, "mul", (0, 0, 0)).computed == 2 * float(X[0, 0, 0, 0])


def test_a_network_that_is_never_the_same() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            times.append(1)
            return x.relu() if len(times) % 2 else x.tanh()

    times: list[int] = []
    with pytest.raises(ConfigError, match="it does something else each time"):
        explain_unit(nn.Sequential(Net()), X, "0", (0, 0, 0))


def test_the_network_and_the_picture_are_left_as_they_were() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x.relu_()

    net = nn.Sequential(Counting(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).double()
    net.train()
    net[2].eval()
    before, x, modes = (
        copy.deepcopy(net.state_dict()),
        X.clone(),
        [m.training for m in net.modules()],
    )
    random_state = torch.get_rng_state()
    explain_unit(net, x, "3", (0, 0, 0))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(x, X)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())


def test_wrong_words() -> None:
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(4, 2, 3))
    net.add_module("flat", nn.Flatten())
    net = net.double()
    for layer, unit, words in (
        ("conv2", (0, 0, 0), "no layer called 'conv2'\nDid you mean conv1?"),
        ("zzz", (0, 0, 0), "no layer called 'zzz'\nThere are: conv1, flat"),
        ("conv1", (0, 4, 0), r"conv1 \(2×4×4\) has no unit 0,4,0: they go from 0,0,0 to 1,3,3"),
        ("conv1", (0, -1, 0), "has no unit 0,-1,0"),
        ("conv1", (0, 1), r"a unit of conv1 \(2×4×4\) is C,Y,X, received 0,1"),
        ("flat", (0, 1, 2), r"a unit of flat \(32\) is C, received 0,1,2"),
        ("conv1", (0, 1.5, 0), "a unit is whole numbers, received 0,1.5,0"),
    ):
        with pytest.raises(ConfigError, match=words):
            explain_unit(net, X, layer, unit)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="depth must be a whole number from 1, received 0"):
        explain_unit(net, X, "conv1", (0, 0, 0), depth=0)
    with pytest.raises(ShapeError, match=r"x must be one picture \(1, C, H, W\), received \(2, 4"):
        explain_unit(net, X.repeat(2, 1, 1, 1), "conv1", (0, 0, 0))
    with pytest.raises(ShapeError, match="Sequential, conv1"):
        explain_unit(net, X[:, :3], "conv1", (0, 0, 0))
    with pytest.raises(ConfigError, match="on the meta device"):
        explain_unit(net.to("meta"), X, "conv1", (0, 0, 0))
