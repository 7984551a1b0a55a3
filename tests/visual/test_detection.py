import numpy as np
import pytest
import torch
from torch import nn

from convolens.analysis.explanation import explain_unit
from convolens.errors import ShapeError
from convolens.visual.boxes import outlined
from convolens.visual.detection import Mark, Sum, detection_figure, detection_svg
from convolens.visual.style import BLUE, VERMILLION

MARKS = [
    Mark(name="field", box=(2, 2, 30, 20), colour=BLUE),
    Mark(name="the detection", box=(8, 5, 16, 15), colour=VERMILLION),
]


@pytest.fixture
def one() -> Sum:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(9, 2, 1))
    found = explain_unit(net, torch.rand(1, 9, 4, 4), "0", (1, 2, 3))
    return Sum(name="logit", explanation=found)


def test_the_rectangles_stand_where_they_are_on_the_picture(one: Sum) -> None:
    image = np.zeros((3, 24, 32), np.uint8)
    figure = detection_figure(image, MARKS, [one], ["sigmoid"], "detection 0: cat 0.9")
    assert figure.caption == "detection 0: cat 0.9. On the picture: field, the detection."
    black = (figure.pixels == 0).all(axis=2)
    ys, xs = np.nonzero(black)
    top, left, factor = ys.min(), xs.min(), 20  # 640 px for 32
    for mark in MARKS:
        x0, y0, x1, y1 = (round(v * factor) for v in mark.box)
        for y, x in ((y0, x0), (y1 - 1, x1 - 1), ((y0 + y1) // 2, x0), (y0, (x0 + x1) // 2)):
            assert tuple(figure.pixels[top + y, left + x]) == mark.colour


def test_the_svg_says_what_the_sum_is(one: Sum) -> None:
    drawn = detection_svg(np.zeros((1, 24, 32), np.uint8), MARKS, [one], ["sigmoid"], "title")
    found = one.explanation
    assert "logit: convolution" in drawn
    assert f"with the bias {found.bias:.6g}: {found.total + (found.bias or 0):.6g}" in drawn
    assert drawn.count("×") >= 6
    assert "the other 3 terms" in drawn


def test_another_picture_is_refused(one: Sum) -> None:
    with pytest.raises(ShapeError, match=r"uint8 of shape \(1 or 3, H, W\), received float64"):
        detection_figure(np.zeros((3, 8, 8)), MARKS, [one], [], "title")  # type: ignore[arg-type]


def test_an_outline_in_the_pictures_own_pixels() -> None:
    drawn = outlined(np.zeros((1, 20, 30), np.uint8), (5, 4, 12, 10))
    assert drawn.shape == (3, 20, 30)
    marked = (drawn.transpose(1, 2, 0) == VERMILLION).all(axis=2)
    ys, xs = np.nonzero(marked)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (4, 9, 5, 11)
    assert not marked[6, 8]
