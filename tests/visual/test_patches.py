import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convolens.analysis.field import fields_of
from convolens.data.base import MemoryPictures
from convolens.errors import ConfigError
from convolens.models import lenet5, resnet20
from convolens.visual.layers import layers_of, maps_of
from convolens.visual.patches import layers_to_cut, patches_figure, strongest_patches


def prepare(pixels: Tensor) -> Tensor:
    return pixels.double() / 255


@pytest.fixture
def pictures() -> MemoryPictures:
    generator = torch.Generator().manual_seed(0)
    shape = (23, 1, 32, 32)
    return MemoryPictures(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))


@pytest.fixture
def padded() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 3, 3, padding=1), nn.Flatten(), nn.Linear(768, 2)),
    ).double()


def test_they_are_the_strongest_of_all_pictures(
    padded: nn.Module, pictures: MemoryPictures
) -> None:
    found = strongest_patches(padded, pictures, prepare, "3", channels=[2, 0], count=4, batch=5)
    maps = maps_of(padded, prepare(pictures.pixels), ["3"])["3"]
    assert list(found) == [2, 0]
    for channel, patches in found.items():
        best = maps[:, channel].flatten(1).max(1).values.sort(descending=True)
        assert [p.picture for p in patches] == best.indices[:4].tolist()
        for patch in patches:
            assert patch.value == pytest.approx(float(maps[(patch.picture, *patch.unit)]))


def test_the_cut_is_all_that_the_unit_sees_and_nothing_else(
    padded: nn.Module, pictures: MemoryPictures
) -> None:
    seen_padding = False
    for patches in strongest_patches(padded, pictures, prepare, "3", count=6).values():
        for patch in patches:
            assert patch.pixels.shape == (1, 10, 10)  # 5 + 1 + 2·2
            assert not patch.pixels[:, patch.is_padding].any()
            (top, bottom), (left, right) = patch.rows, patch.cols
            whole = pictures.pixels[patch.picture]
            inside = whole[:, top : bottom + 1, left : right + 1].numpy()
            kept = patch.pixels[:, ~patch.is_padding].reshape(inside.shape)
            assert np.array_equal(kept, inside)
            seen_padding |= bool(patch.is_padding.any())
            # Only these pixels: another picture with the same cut gives the same value.
            other = torch.full_like(whole, 77)
            other[:, top : bottom + 1, left : right + 1] = torch.from_numpy(inside)
            again = maps_of(padded, prepare(other[None]), ["3"])["3"]
            assert float(again[(0, *patch.unit)]) == pytest.approx(patch.value)
    assert seen_padding


def test_a_unit_without_a_place_sees_the_whole_picture(pictures: MemoryPictures) -> None:
    net = lenet5().double()
    found = strongest_patches(net, pictures, prepare, "fc3", channels=[7], count=2)
    assert found[7][0].unit == (7,)
    assert np.array_equal(found[7][0].pixels, pictures.pixels[found[7][0].picture].numpy())


def test_the_layers_whose_patches_tell_most() -> None:
    assert layers_to_cut(layers_of(lenet5(), torch.zeros(1, 1, 32, 32))) == ["conv1", "act2"]
    layers = layers_of(resnet20(), torch.zeros(1, 3, 32, 32))
    first, deeper = layers_to_cut(layers)
    assert first == "conv1"
    fields = fields_of(layers.trace)
    names = [row.name for row in layers.spatial if "relu" in row.name]
    after = names[names.index(deeper) + 1]
    assert (
        fields.textbook(layers.value(deeper)).size[0]
        <= 19
        < (fields.textbook(layers.value(after)).size[0])
    )
    wide = nn.Sequential(nn.Conv2d(1, 2, 7), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    assert layers_to_cut(layers_of(wide, torch.zeros(1, 1, 8, 8))) == ["0", "1"]


def test_the_figure_hatches_padding(padded: nn.Module, pictures: MemoryPictures) -> None:
    found = strongest_patches(padded, pictures, prepare, "3", count=6)
    figure = patches_figure(found, "3")
    assert "Hatched is padding" in figure.caption
    assert figure.pixels.shape[1] > 6 * 120


def test_words_that_are_wrong(padded: nn.Module, pictures: MemoryPictures) -> None:
    with pytest.raises(ConfigError, match="3 has no channel 3: it has 0 to 2"):
        strongest_patches(padded, pictures, prepare, "3", channels=[3])
    with pytest.raises(ConfigError, match="count and batch of at least 1"):
        strongest_patches(padded, pictures, prepare, "3", count=0)
    with pytest.raises(ConfigError, match="no patch to draw"):
        patches_figure({}, "3")
