from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from convolens.analysis.summarize import summarize
from convolens.errors import ShapeError
from convolens.models import densenet121, lenet5, resnet20
from convolens.visual.figure import png_bytes
from convolens.visual.flow import Flow, flow
from convolens.visual.layers import maps_of
from convolens.visual.layout import Volume, shape_text
from convolens.visual.scene import Inset, Stroke, Words
from convolens.visual.signed_maps import map_tiles
from convolens.visual.volumes import volumes_of

RNG = np.random.default_rng(0)
NETWORKS = {
    "lenet5": (lenet5, (1, 32, 32)),
    "resnet20": (resnet20, (3, 32, 32)),
    "densenet121": (densenet121, (3, 64, 64)),
}


@cache
def drawn(name: str) -> tuple[Flow, tuple[Volume, ...], dict[str, np.ndarray], np.ndarray]:
    torch.manual_seed(0)
    build, size = NETWORKS[name]
    net = build().eval()
    picture = RNG.integers(0, 256, size, np.uint8)
    volumes = volumes_of(summarize(net, size))
    names = [volume.layer for volume in volumes if volume.layer]
    found = maps_of(net, torch.from_numpy(picture)[None] / 255, names)
    maps = {layer: value[0].numpy() for layer, value in found.items()}
    classes = [(f"class {i}", (i + 1) / 55) for i in range(10)]
    return flow(volumes, maps, picture, classes=classes), volumes, maps, picture


def cards(drawing: Flow) -> list[Inset]:
    return [shape for shape in drawing.scene.shapes if isinstance(shape, Inset)]


def words(drawing: Flow) -> list[str]:
    return [shape.text for shape in drawing.scene.shapes if isinstance(shape, Words)]


def test_the_cards_are_the_picture_and_the_maps_that_vary_most() -> None:
    drawing, _, maps, picture = drawn("lenet5")
    own = [card.pixels for card in cards(drawing)]
    assert np.array_equal(own[0], np.broadcast_to(picture, (3, 32, 32)).transpose(1, 2, 0))
    first = maps["act1"]
    spread = first.reshape(6, -1).std(1)
    limit = np.quantile(np.abs(first[spread.argmax()]), 0.995)
    front = map_tiles(first[[spread.argmax()]], limit)[0]
    assert np.array_equal(own[3], front)  # of three cards the last, which covers the others
    assert not any(np.array_equal(front, card) for card in own[4:])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_volume_of_a_network_carries_its_maps(name: str) -> None:
    drawing, volumes, maps, _ = drawn(name)
    for volume in volumes[1:]:
        assert maps[volume.layer].shape == volume.shape
    texts = words(drawing)
    for volume in volumes:
        assert shape_text(volume.shape) in texts
    assert not any(card.pixels.shape[:2] == (1, 1) for card in cards(drawing))
    assert drawing.figure.pixels.shape[1] <= 2400
    assert len(png_bytes(drawing.figure)) < 1_000_000


def test_it_ends_in_the_most_probable_classes() -> None:
    drawing, *_ = drawn("lenet5")
    texts = words(drawing)
    assert [text for text in texts if text.startswith("class")] == [
        *("class 9", "class 8", "class 7", "class 6", "class 5"),
    ]
    assert "18.2%" in texts
    assert drawing.caption.endswith("It ends in class 9, 18.2%.")


def test_nothing_lies_outside_of_the_drawing() -> None:
    drawing, *_ = drawn("resnet20")
    for card in cards(drawing):
        assert card.size is not None
        assert 0 <= card.left <= drawing.scene.width - card.size[0]
        assert 0 <= card.top <= drawing.scene.height - card.size[1]


def test_the_svg_holds_every_card() -> None:
    drawing, *_ = drawn("resnet20")
    root = ElementTree.fromstring(drawing.svg)
    images = root.findall("{http://www.w3.org/2000/svg}image")
    assert len(images) == len(cards(drawing)) > 20
    assert all(image.get("href", "").startswith("data:image/png;base64,") for image in images)
    assert len(drawing.svg) < 200_000


def test_maps_that_are_not_known_are_empty_cards_and_arcs_are_drawn() -> None:
    volumes = [
        Volume(shape=(1, 8, 8), role="input"),
        Volume(shape=(4, 8, 8), label="conv", role="conv", layer="a"),
        Volume(shape=(4, 4, 4), label="max", role="pool", layer="b"),
        Volume(shape=(4, 8, 8), label="cat", role="join", layer="c", reads=(1, 2)),
    ]
    maps = {"a": RNG.normal(size=(4, 8, 8)), "b": np.full((4, 4, 4), np.nan)}
    drawing = flow(volumes, maps, np.zeros((1, 8, 8), np.uint8))
    sizes = [card.pixels.shape[0] for card in cards(drawing)]
    assert sizes == [8, 8, 8, 4, 4, 1]  # of four channels two are shown
    lines = [shape for shape in drawing.scene.shapes if isinstance(shape, Stroke)]
    assert len(lines) == 3 * 3 + 3  # an arrow is three strokes, and so is the arc from a to c
    assert "It ends in" not in drawing.caption
    with pytest.raises(ShapeError, match="one volume or more, received none"):
        flow([], {}, np.zeros((1, 8, 8), np.uint8))
