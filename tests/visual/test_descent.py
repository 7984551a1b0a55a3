import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual import descent
from convolens.visual.axis import Axis
from convolens.visual.chart import Panel, frames
from convolens.visual.style import BLUE, GREEN, INK

Grid = np.ndarray


def bowl(x: Grid, y: Grid) -> Grid:
    return np.asarray(x**2 / 20 + y**2)


def saddle(x: Grid, y: Grid) -> Grid:
    return np.asarray(x**2 - y**2)


def draw(paths: dict[str, Grid], surface=bowl) -> np.ndarray:
    return descent(surface, paths, x_range=(-8.0, 8.0), y_range=(-3.0, 3.0)).pixels


def contours(pixels: np.ndarray) -> np.ndarray:
    """The brightness of the first panel's frame."""
    axes = {"x": Axis(low=-8.0, high=8.0), "y": Axis(low=-3.0, high=3.0)}
    (frame,) = frames([Panel(title="", width_px=266, x_name="", lines=[], **axes)], 220)
    inside = pixels[frame.top : frame.top + 220, frame.left : frame.left + 266]
    return inside.astype(int).sum(axis=2)


def test_the_surface_is_darkest_where_it_is_highest() -> None:
    one = np.full((2, 2), 2.5)  # a path of no length, in a corner
    frame = contours(draw({"SGD": one}))
    centre, corner, side = frame[105:115, 128:138], frame[205:215, 5:15], frame[105:115, 5:15]
    assert centre.mean() > side.mean() > corner.mean()
    frame = contours(draw({"SGD": one}, saddle))
    top, left = frame[5:12, 128:138].mean(), frame[105:112, 5:12].mean()
    assert top > left, "the saddle falls along y and rises along x"


def test_paths_have_their_own_colours_and_the_caption_their_last_loss() -> None:
    paths = {
        "SGD": np.array([[-7.0, 2.0], [0.0, 1.0]]),
        "momentum": np.array([[-7.0, 2.0], [2.0, 0.0]]),
    }
    figure = descent(bowl, paths, x_range=(-8, 8), y_range=(-3, 3))
    assert figure.caption.endswith("last loss: SGD 1, momentum 0.2.")
    for colour, drawn in ((INK, True), (BLUE, True), (GREEN, False)):
        assert ((figure.pixels == colour).all(axis=2).sum() > 50) == drawn


def test_what_leaves_the_range_or_is_not_finite_is_not_drawn() -> None:
    inside = {"SGD": np.array([[-7.0, 2.0], [0.0, 1.0]])}
    outside = {"SGD": np.array([[-7.0, 2.0], [0.0, 1.0], [100.0, np.inf], [np.nan, 0.0]])}
    panels = [draw(paths)[:, :380] for paths in (inside, outside)]  # without the loss
    assert np.array_equal(*panels)
    assert descent(bowl, outside, x_range=(-8, 8), y_range=(-3, 3)).caption.endswith("SGD nan.")


def test_two_panels_in_a_row() -> None:
    path = np.zeros((3, 2))
    heights = [draw({str(i): path for i in range(n)}).shape[0] for n in range(1, 6)]
    assert heights[0] < heights[1] == heights[2] < heights[3] == heights[4]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({}, "1 to 5 paths can be drawn, received 0"),
        ({str(i): np.zeros((2, 2)) for i in range(6)}, "received 6"),
        ({"SGD": np.zeros((2, 3))}, r"path 'SGD' must have shape .* received \(2, 3\)"),
        ({"SGD": np.zeros((0, 2))}, r"received \(0, 2\)"),
    ],
)
def test_what_cannot_be_drawn_is_named(paths: dict[str, Grid], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        draw(paths)


def test_steps_that_are_almost_upright_leave_no_mark_outside_the_frame() -> None:
    away = 1e-3 ** np.arange(1.0, 8.0)
    path = np.stack((away, 1.0 + 0.05 * (-1.0) ** np.arange(7)), axis=1)
    pixels = draw({"SGD": path})
    assert (pixels[136:356, 337:372] == 255).all(), "right of the first frame it is white"
