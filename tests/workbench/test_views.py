import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convolens.errors import ConfigError
from convolens.models import fcn8s, small_convnet
from convolens.workbench.views import diagonal_shifts, five_crops, mean_log_probability, with_views


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return small_convnet(image_size=28, in_channels=1).eval()


def test_none_is_the_network_itself(net: nn.Module) -> None:
    assert with_views(net, "none") is net


def test_flip_averages_the_probabilities_of_the_picture_and_its_mirror_image(
    net: nn.Module,
) -> None:
    x = torch.randn(5, 1, 28, 28)
    with torch.no_grad():
        expected = (net(x).softmax(1) + net(x.flip(3)).softmax(1)) / 2
        torch.testing.assert_close(with_views(net, "flip")(x).softmax(1), expected)
        torch.testing.assert_close(with_views(net, "flip")(x).exp(), expected)


def test_ten_crops_are_those_of_torchvision(net: nn.Module) -> None:
    from torchvision.transforms.v2.functional import ten_crop

    x = torch.randn(3, 1, 28, 28)
    large = F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False)
    crops = ten_crop(large, [28, 28])
    with torch.no_grad():
        expected = torch.stack([net(crop).softmax(1) for crop in crops]).mean(0)
        torch.testing.assert_close(with_views(net, "crops")(x).softmax(1), expected)


def test_shifts_weigh_as_much_as_the_unmoved(net: nn.Module) -> None:
    x = torch.randn(3, 1, 28, 28)
    wide = F.pad(x, (1, 1, 1, 1), mode="reflect")
    moved = (wide[:, :, :28, :28], wide[:, :, 2:, 2:])

    def of(view: torch.Tensor) -> torch.Tensor:
        return (net(view).softmax(1) + net(view.flip(3)).softmax(1)) / 2

    with torch.no_grad():
        expected = of(x) / 2 + (of(moved[0]) + of(moved[1])) / 4
        torch.testing.assert_close(with_views(net, "shifts")(x).softmax(1), expected)


def test_scales_are_brought_back_to_the_size_of_the_picture() -> None:
    torch.manual_seed(0)
    net = fcn8s(num_classes=3, body="resnet18", stem="small", width=8).eval()
    for parameter in net.parameters():  # its scores begin as zeros
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 3, 38, 50)
    expected = torch.zeros(2, 3, 38, 50)
    for size in ((28, 38), (38, 50), (48, 62), (57, 75)):
        view = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        for flipped in (False, True):
            with torch.no_grad():
                out = net(view.flip(3)).flip(3) if flipped else net(view)
            back = F.interpolate(out, size=(38, 50), mode="bilinear", align_corners=False)
            expected += back.softmax(1) / 8
    assert expected.std() > 0.01
    with torch.no_grad():
        torch.testing.assert_close(with_views(net, "scales")(x).exp(), expected)


def test_shifts_mirror_the_picture_at_its_edge() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    down_right, up_left = diagonal_shifts(x)
    assert down_right[0, 0].tolist() == [[4, 3, 4], [1, 0, 1], [4, 3, 4]]
    assert up_left[0, 0].tolist() == [[4, 5, 4], [7, 8, 7], [4, 5, 4]]
    assert [view.shape for view in diagonal_shifts(torch.zeros(1, 1, 1, 1))] == [(1, 1, 1, 1)] * 2


@pytest.mark.parametrize(("side", "large"), [(28, 32), (32, 37), (224, 256), (1, 1), (5, 6)])
def test_crops_of_any_size(side: int, large: int) -> None:
    x = torch.arange(side * side, dtype=torch.float32).view(1, 1, side, side)
    crops = five_crops(x)
    assert [crop.shape for crop in crops] == [x.shape] * 5
    assert float(crops[0][0, 0, 0, 0]) == 0
    assert float(crops[3][0, 0, -1, -1]) == pytest.approx(side * side - 1)
    assert round(side * 8 / 7) == large


def test_certain_and_wrong_stays_finite() -> None:
    logits = [torch.tensor([[0.0, 3000.0]])] * 2
    assert float(mean_log_probability(logits)[0, 0]) == pytest.approx(-3000)
    mixed = mean_log_probability([torch.tensor([[0.0, 3000.0]]), torch.tensor([[0.0, 0.0]])])
    assert mixed.exp().tolist() == [[pytest.approx(0.25), pytest.approx(0.75)]]
    assert float(mixed[0, 0]) == pytest.approx(math.log(0.25))


def test_an_unknown_word(net: nn.Module) -> None:
    with pytest.raises(ConfigError, match="tta does not know 'flop'") as caught:
        with_views(net, "flop")  # type: ignore[arg-type]
    assert caught.value.hint == "Did you mean flip?"
