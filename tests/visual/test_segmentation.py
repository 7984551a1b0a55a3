"""Figures of segmentation: bars of IoU, and pictures beside their maps."""

import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.overlay import palette
from convolens.visual.segmentation import Example, class_ious, examples

MATRIX = np.array([[80, 10, 10], [0, 10, 30], [0, 0, 0]])


def test_the_caption_gives_the_numbers() -> None:
    figure = class_ious(MATRIX, ["road", "car", "sign"])
    # road 80/100, car 10/50, sign 0/40
    assert figure.caption == (
        "IoU of each class; the least is sign, 0.0 %; the line is their mean, 33.3 %. "
        "Most often mistaken: car → sign, 75.0 % of its pixels."
    )
    assert figure.pixels.shape[1] > 500


def test_bars_are_as_long_as_the_iou() -> None:
    colours = palette(2)
    pixels = class_ious(np.array([[60, 20], [20, 0]]), ["road", "car"], colours).pixels
    drawn = (pixels == colours[0]).all(-1).sum(1).max()
    assert drawn == pytest.approx(0.6 * 520, abs=5)  # less its outline and the line of the mean


def test_few_and_many_classes() -> None:
    alone = class_ious(np.array([[5]]), ["all"])
    assert alone.caption.endswith("the line is their mean, 100.0 %.")
    many = class_ious(np.eye(80, dtype=int), [f"class {i}" for i in range(80)])
    assert "Only the 50 of least IoU" in many.caption
    absent = class_ious(np.diag([3, 0]), ["a", "b"])
    assert absent.caption.endswith("Neither true nor predicted: 1 of the 2 classes.")
    for matrix, names in ((np.zeros((2, 2), int), "ab"), (np.eye(3, dtype=int), "ab")):
        with pytest.raises(ShapeError):
            class_ious(matrix, names)


@pytest.mark.parametrize("channels", [1, 3])
def test_examples_lay_out_every_picture_and_a_legend(channels: int) -> None:
    true = np.zeros((30, 40), np.uint8)
    true[10:20, 10:30], true[:3] = 1, 255
    predicted = np.zeros((30, 40), np.uint8)
    picture = np.full((channels, 30, 40), 200, np.uint8)
    one = Example(
        picture=picture, true=true, predicted=predicted, name="a.png", note="mean IoU 4 %"
    )
    colours = palette(3)
    figure = examples([one], ["ground", "car", "never"], colours)
    assert figure.caption.startswith("Pictures of least mean IoU: the first is a.png, mean IoU 4 %")
    pixels = figure.pixels.reshape(-1, 3)
    factor = 360 // 40
    wrong = (pixels == colours[1]).all(1).sum()
    assert wrong >= 200 * factor**2  # the car missed, at full colour
    assert (pixels == 0).all(1).sum() >= 3 * 40 * factor**2  # void
    assert not (pixels == colours[2]).all(1).any()  # a class that does not occur has no entry
    assert examples([one] * 3, ["g", "c", "n"]).pixels.shape[0] > figure.pixels.shape[0]
    assert examples([], ["g"]).caption == "There are no pictures."
