import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ShapeError
from convolens.visual.saliency import occlusion


@pytest.mark.parametrize(("window", "stride"), [(3, 3), (4, 3), (5, 2), (10, 10), (1, 1)])
def test_agreement_with_captum(captum, awkward, plain, pictures: Tensor, window, stride) -> None:
    theirs = captum.Occlusion(plain).attribute(
        pictures,
        target=[0, 1, 2],
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=0.3,
    )
    mine = occlusion(
        awkward, pictures, [0, 1, 2], window=window, stride=stride, baseline=0.3, batch=7
    )
    # captum subtracts in float32 and adds up in another order.
    torch.testing.assert_close(mine, theirs[:, 0], atol=1e-6, rtol=1e-3)


def test_only_what_the_network_reads_matters() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].weight[0, 9] = 2.0  # row 1, column 1
    fall = occlusion(net, torch.ones(1, 1, 8, 8), 0, window=3, stride=3)
    assert fall[0, :3, :3].tolist() == [[2.0] * 3] * 3
    assert float(fall.sum()) == 18.0


def test_windows_that_do_not_fit(awkward, pictures: Tensor) -> None:
    with pytest.raises(ShapeError, match="a window of 11 px does not fit a picture of 12×10 px"):
        occlusion(awkward, pictures, window=11)
    with pytest.raises(ShapeError, match="stride must be from 1 to the window's 3 px, received 4"):
        occlusion(awkward, pictures, window=3, stride=4)
