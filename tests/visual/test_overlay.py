"""Palettes, overlays, label PNGs and legends."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.overlay import (
    VOID,
    class_colours,
    label_png,
    legend,
    overlaid,
    painted,
    palette,
)

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


def test_the_palette_has_256_colours_far_from_each_other() -> None:
    colours = palette(256)
    assert len(np.unique(colours, axis=0)) == 256
    assert np.array_equal(palette(20), colours[:20])
    first = colours[:20].astype(int)
    far = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(20, dtype=int)
    assert far.min() >= 60  # in red, green and blue together
    assert np.abs(first - 0).sum(1).min() >= 60  # not black, which is void
    with pytest.raises(ShapeError, match="up to 256 colours, received 257"):
        palette(257)


def test_colours_of_the_dataset_come_first_and_a_background_is_grey() -> None:
    given = [(1, 2, 3), (4, 5, 6)]
    assert class_colours(["a", "b"], given).tolist() == [[1, 2, 3], [4, 5, 6]]
    plain = class_colours(["cat", "Background", "dog"])
    assert plain[[0, 2]].tolist() == palette(2).tolist()
    assert plain[1].tolist() == [96, 96, 96]
    assert class_colours([]).shape == (0, 3)
    with pytest.raises(ShapeError, match="one for each of 2 classes, received 1"):
        class_colours(["a", "b"], [(1, 2, 3)])


def test_an_overlay_mixes_inside_and_is_pure_at_borders() -> None:
    picture = np.full((1, 4, 6), 100, np.uint8)
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 2
    labels[3] = VOID
    out = overlaid(picture, labels, COLOURS, strength=0.5)
    assert out[0, 0].tolist() == [178, 50, 50]  # (100 + 255) / 2, to even
    assert out[0, 2].tolist() == [255, 0, 0]  # beside class 2
    assert out[0, 5].tolist() == [50, 50, 178]
    assert (out[3] == 100).all()  # void is the picture
    rgb = overlaid(np.repeat(picture, 3, 0), labels, COLOURS, strength=0.5)
    assert np.array_equal(rgb, out)


def test_painted_maps_hold_the_colours_alone() -> None:
    labels = np.array([[0, 1], [2, VOID]], np.uint8)
    assert painted(labels, COLOURS).reshape(-1, 3).tolist() == [*COLOURS.tolist(), [0, 0, 0]]


def test_a_label_png_keeps_labels_and_shows_colours() -> None:
    labels = np.array([[0, 1, 2], [VOID, 1, 0]], np.uint8)
    image = Image.open(BytesIO(label_png(labels, COLOURS)))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), labels)
    assert np.array_equal(np.asarray(image.convert("RGB")), painted(labels, COLOURS))


def test_a_legend_shows_every_colour_once_in_its_width() -> None:
    names = [f"class {i}" for i in range(40)]
    colours = palette(40)
    for width in (300, 900):
        pixels = legend(names, colours, width=width)
        assert pixels.shape[1] == width
        seen = {tuple(c) for c in pixels.reshape(-1, 3).tolist()}
        assert {tuple(c) for c in colours.tolist()} <= seen
    assert legend(names, colours, width=900).shape[0] < legend(names, colours, width=300).shape[0]
    noted = legend(["a"], colours[:1], notes=["31.2 %"])
    assert (noted != legend(["a"], colours[:1])).any()
    legend(["日本語", ""], colours[:2])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="a label must be from 0 to 2, or 255 for void"):
        painted(np.array([[3]]), COLOURS)
    with pytest.raises(ShapeError, match="must be of one size"):
        overlaid(np.zeros((3, 2, 2), np.uint8), np.zeros((2, 3), np.uint8), COLOURS)
    with pytest.raises(ShapeError, match=r"labels must have shape \(H, W\)"):
        label_png(np.zeros((2, 2, 3), np.uint8), COLOURS)
