import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.analysis.field import effective_field
from convolens.errors import ConfigError, ShapeError
from convolens.models import resnet20
from convolens.visual.saliency import gradient, guided_backprop, unit_gradient


def test_the_gradient_is_the_slope_of_the_classs_score(awkward, pictures: Tensor) -> None:
    net, x = awkward.double(), pictures.double()
    slope = gradient(net, x, [1, 2, 3])
    step = 1e-6
    for n, c, i, j in ((0, 0, 3, 4), (1, 2, 0, 0), (2, 1, 11, 9)):
        up, down = x.clone(), x.clone()
        up[n, c, i, j] += step
        down[n, c, i, j] -= step
        with torch.no_grad():
            rise = (net(up.clone()) - net(down.clone()))[n, n + 1] / (2 * step)
        assert float(slope[n, c, i, j]) == pytest.approx(float(rise), abs=1e-7)


def test_agreement_with_captum(captum, plain, awkward, pictures: Tensor) -> None:
    classes = plain(pictures).argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum sets requires_grad and hooks, and says so
        theirs = captum.Saliency(plain).attribute(pictures.clone(), target=classes, abs=False)
        guided = captum.GuidedBackprop(plain).attribute(pictures.clone(), target=classes)
    for net in (plain, awkward):
        torch.testing.assert_close(gradient(net, pictures), theirs.detach())
        torch.testing.assert_close(guided_backprop(net, pictures), guided.detach())
    assert not torch.allclose(guided, theirs)


def test_agreement_with_captum_on_a_residual_network(captum) -> None:
    torch.manual_seed(0)
    net, x = resnet20().eval(), torch.rand(2, 3, 32, 32)
    given = x.clone().requires_grad_()
    theirs = captum.Saliency(net).attribute(given, target=[4, 7], abs=False)
    torch.testing.assert_close(gradient(net, x, [4, 7]), theirs.detach())


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        torch.relu,
        lambda x: F.relu(x, inplace=True),
        lambda x: x.clamp(min=0),
        lambda x: x.clamp_min(0),
        lambda x: x.clamp_(min=0),
        lambda x: F.threshold(x, 0.0, 0.0),
        lambda x: torch.clamp(x, 0, 1000),
        lambda x: F.hardtanh(x, 0.0, 1000.0),
    ],
)
def test_every_way_to_write_a_relu_is_guided(relu) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 12), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(relu(self.a(x.flatten(1))))

    torch.manual_seed(0)
    net, x = Net(), torch.rand(2, 1, 4, 4)
    active = (net.a(x.flatten(1)) > 0).float()
    expected = (active * net.b.weight[[1, 2]].clamp(min=0)) @ net.a.weight
    torch.testing.assert_close(guided_backprop(net, x, [1, 2]), expected.detach().view_as(x))


def test_other_bounds_and_activations_are_not_guided() -> None:
    torch.manual_seed(0)
    for act in (nn.Tanh(), nn.Hardtanh(), nn.LeakyReLU()):
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), act, nn.Linear(12, 4))
        x = torch.rand(2, 1, 4, 4)
        assert torch.equal(guided_backprop(net, x), gradient(net, x))


def test_pictures_of_a_batch_do_not_meet(awkward, pictures: Tensor) -> None:
    for method in (gradient, guided_backprop):
        alone = torch.cat([method(awkward, pictures[i : i + 1], i) for i in range(3)])
        torch.testing.assert_close(method(awkward, pictures, [0, 1, 2]), alone)


def test_a_units_gradient_is_its_effective_field(awkward, plain, pictures: Tensor) -> None:
    mine = unit_gradient(plain, pictures, "relus.1", (2, 5, 5))
    theirs = effective_field(plain, "relus.1", (2, 5, 5), pictures)
    torch.testing.assert_close(mine.mean(0).numpy(), theirs)
    # The second call of a module that overwrites its input.
    again = unit_gradient(awkward, pictures, "relu#2", (2, 5, 5))
    torch.testing.assert_close(again, mine)
    with pytest.raises(ShapeError, match=r"third gives \(8, 12, 10\) and has no unit \(8, 0, 0\)"):
        unit_gradient(awkward, pictures, "third", (8, 0, 0))


def test_what_cannot_be_asked(awkward, pictures: Tensor) -> None:
    with pytest.raises(ConfigError, match="there is no class 5: the network has 0 to 4"):
        gradient(awkward, pictures, 5)
    with pytest.raises(ConfigError, match="target must be one class or 3, received 2"):
        gradient(awkward, pictures, [1, 2])
    with pytest.raises(ShapeError, match="pictures must be floating point"):
        gradient(awkward, pictures.to(torch.uint8))
    with pytest.raises(ShapeError, match="a number for each class"):
        gradient(nn.Sequential(nn.Flatten(0)), pictures)


def test_a_map_of_classes_and_a_nest_of_outputs(pictures: Tensor) -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1, bias=False)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.conv(x), "aux": x}

    net = Dense()
    slope = gradient(net, pictures, 2)
    expected = net.conv.weight[2].detach() / 120
    torch.testing.assert_close(slope, expected.expand_as(slope).contiguous())
