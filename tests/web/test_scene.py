from pathlib import Path

import numpy as np
import pytest
import torch

from convolens.analysis.explanation import as_json
from convolens.errors import ConfigError, DataError, RunError
from convolens.visual.layers import maps_of
from convolens.web.picture import data_url, fitted, sample_bytes
from convolens.web.saliency import METHODS, saliency_of
from convolens.web.scene import (
    GAP_PX,
    Scene,
    can_unfold,
    decoded,
    explained,
    first_on_page,
    inside,
    maps_in,
    num_pages,
    open_run,
    page_of,
    scene_of,
    sheet_of,
    strongest,
)
from convolens.workbench.explain import explain
from convolens.workbench.run import Run


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("picture") / "drawn.png"
    file.write_bytes(sample_bytes())
    return file


@pytest.fixture(scope="module")
def scene(trained: Path, picture: Path) -> Scene:
    opened = open_run(trained / "first")
    return scene_of(opened, decoded(opened, picture.read_bytes(), picture.name))


def test_it_says_what_predict_says(scene: Scene, trained: Path, picture: Path) -> None:
    (expected,) = Run.open(trained / "first").predict(picture)
    assert [label for label, _ in scene.labels] == [label for label, _ in expected.labels]
    assert [p for _, p in scene.labels] == pytest.approx([p for _, p in expected.labels], abs=1e-4)


def test_the_maps_are_those_of_the_network(scene: Scene) -> None:
    for layer in scene.names:
        expected = maps_of(scene.opened.net, scene.x, [layer])[layer][0].numpy()
        assert np.array_equal(maps_in(scene, layer), expected)


def test_a_unit_is_explained_as_by_explain(scene: Scene, trained: Path, picture: Path) -> None:
    maps = maps_in(scene, "conv2")
    unit = strongest(maps)
    assert maps[unit] == maps.max()
    one = explained(scene, "conv2", unit)
    expected = explain(trained / "first", picture, layer="conv2", unit=unit)
    assert as_json(one) == as_json(expected)
    assert one.network == pytest.approx(float(maps[unit]), abs=1e-6)


def test_what_can_be_unfolded(scene: Scene) -> None:
    assert not can_unfold(scene, explained(scene, "conv1", (0, 3, 3)))  # it reads the picture
    one = explained(scene, "conv2", (0, 3, 3))
    assert can_unfold(scene, one)
    assert explained(scene, "conv2", (0, 3, 3), depth=2).children


def test_a_layer_that_is_not_there(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="the network has no layer 'conv9'"):
        maps_in(scene, "conv9")


@pytest.mark.parametrize("shape", [(6, 5, 7), (1, 3, 3), (10,), (37, 2, 2)])
def test_every_pixel_of_a_sheet_is_its_unit(shape: tuple[int, ...]) -> None:
    sheet = sheet_of(np.zeros(shape, np.float32))
    height, width = sheet.pixels.shape[:2]
    units = [sheet.unit_at(x + 0.5, y + 0.5) for y in range(height) for x in range(width)]
    there = [unit for unit in units if unit is not None]
    assert sorted(there) == sorted(np.ndindex(shape))
    for unit in there:
        x, y = sheet.place_of(unit) or (-1, -1)
        assert sheet.unit_at(x, y) == unit
    assert sheet.unit_at(-1, 0) is None
    assert sheet.unit_at(width + GAP_PX, height + GAP_PX) is None


def test_large_maps_take_several_sheets() -> None:
    maps = np.zeros((8, 700, 700), np.float32)
    maps[5, 100, 200] = 1.0
    assert num_pages(maps.shape) == 3
    assert page_of(maps.shape, 5) == 1
    assert [first_on_page(maps.shape, page) for page in range(3)] == [0, 3, 6]
    sheet = sheet_of(maps, 1)
    assert (sheet.first, sheet.count) == (3, 3)
    x, y = sheet.place_of((5, 100, 200)) or (0, 0)
    assert sheet.pixels[y, x].tolist() == [213, 94, 0]  # vermillion
    assert sheet.place_of((0, 0, 0)) is None
    assert sheet_of(maps, 99).first == 6


def test_the_map_of_one_channel() -> None:
    maps = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
    sheet = sheet_of(maps)
    for channel in range(5):
        own = sheet.map_of(channel)
        assert own.shape == (4, 6, 3)
        positive = maps[channel] > 0
        assert (own[positive][:, 0] > own[positive][:, 2]).all()  # vermillion, not blue


def test_a_unit_outside_becomes_the_nearest() -> None:
    assert inside((6, 28, 28), (-1, 5, 99)) == (0, 5, 27)
    assert inside((10,), (99, 5, 5)) == (9,)


def test_the_strongest_unit_passes_over_nan() -> None:
    assert strongest(np.array([[[np.nan, 2.0], [-9.0, 1.0]]], np.float32)) == (0, 0, 1)


@pytest.mark.parametrize("method", METHODS)
def test_saliency_of_each_method(scene: Scene, method: str) -> None:
    figure = saliency_of(scene, method, "3")
    assert "'3'" in figure.caption
    before = scene.opened.net.training
    assert not before
    assert all(p.grad is None for p in scene.opened.net.parameters())


def test_saliency_of_what_is_not_there(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="there is no method called 'guess'"):
        saliency_of(scene, "guess", "3")
    with pytest.raises(ConfigError, match="the Run has no class 'cat'"):
        saliency_of(scene, "Grad-CAM", "cat")


@pytest.mark.parametrize("content", [b"", b"no picture", sample_bytes()[:4000]])
def test_a_damaged_picture_is_an_error_with_its_name(scene: Scene, content: bytes) -> None:
    with pytest.raises(DataError, match=r"^cat\.png "):
        decoded(scene.opened, content, "cat.png")


def test_a_damaged_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        open_run(tmp_path)


def test_a_picture_as_a_network_reads_it() -> None:
    pixels = fitted(None, "drawn", (20, 30))
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    assert np.ptp(pixels) > 50
    with pytest.raises(DataError, match=r"^x is not a picture"):
        fitted(b"words", "x", (8, 8))
    assert data_url(pixels).startswith("data:image/png;base64,")


def test_the_network_is_left_as_it_was(scene: Scene) -> None:
    before = {k: v.clone() for k, v in scene.opened.net.state_dict().items()}
    maps_in(scene, "conv1")
    explained(scene, "conv1", (0, 3, 3), depth=2)
    assert all(torch.equal(v, before[k]) for k, v in scene.opened.net.state_dict().items())
