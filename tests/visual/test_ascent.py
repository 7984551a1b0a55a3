import numpy as np
import pytest
import torch

from convolens.errors import ConfigError
from convolens.models import lenet5
from convolens.visual.ascent import ascend, ascent_figure
from convolens.visual.layers import maps_of

LOW, HIGH = torch.tensor([-0.5]), torch.tensor([2.0])


def climb(layer: str, channels: list[int], **options):
    torch.manual_seed(0)
    net = lenet5()
    return net, ascend(net, layer, channels, low=LOW, high=HIGH, size=(32, 32), **options)


@pytest.mark.parametrize(("layer", "channels"), [("conv2", [0, 5]), ("fc3", [3, 9])])
def test_the_activation_rises_and_the_picture_stays_a_picture(
    layer: str, channels: list[int]
) -> None:
    net, found = climb(layer, channels, steps=24)
    assert (found.after > found.before).all()
    assert float(found.pictures.min()) >= -0.5
    assert float(found.pictures.max()) <= 2.0
    maps = maps_of(net, found.pictures, [layer])[layer]
    means = maps.flatten(2).mean(2) if maps.dim() > 2 else maps
    expected = [float(means[i, c]) for i, c in enumerate(channels)]
    assert found.after.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_seed_decides_and_other_channels_do_not() -> None:
    _, both = climb("conv2", [4, 7], steps=6)
    _, alone = climb("conv2", [7], steps=6)
    _, other = climb("conv2", [7], steps=6, seed=1)
    torch.testing.assert_close(both.pictures[1:], alone.pictures)
    assert not torch.allclose(alone.pictures, other.pictures, atol=0.1)


def test_the_figure_and_what_cannot_be_climbed() -> None:
    _, found = climb("conv2", [1, 2], steps=1)
    figure = ascent_figure(found.pictures.clamp(0, 1).mul(255).byte().numpy(), found, "conv2")
    assert "climbed to from noise" in figure.caption
    pixels = found.pictures.clamp(0, 1).mul(255).byte().numpy()
    named = ascent_figure(pixels, found, "fc", ["cat", "dog", "bird"])
    assert "Pictures that excite classes" in named.caption
    assert not np.array_equal(named.pixels, ascent_figure(pixels, found, "fc").pixels)
    with pytest.raises(ConfigError, match="conv2 has no channel 16: it has 0 to 15"):
        climb("conv2", [16])
    with pytest.raises(ConfigError, match="must be at least 1, received 0, 16 and 1"):
        climb("conv2", [0], steps=0)
