import numpy as np
import pytest

from convolens.visual.axis import Axis
from convolens.visual.chart import Line, Panel, draw_chart, frames
from convolens.visual.style import BLUE, VERMILLION, Colour


def panel(*lines: Line, y: Axis | None = None, **_: object) -> Panel:
    return Panel(
        title="t",
        width_px=300,
        x=Axis(low=0, high=10),
        y=y or Axis(low=0, high=1),
        x_name="x",
        lines=lines,
        legend=False,
    )


def line(x: list[float], y: list[float], colour: Colour = BLUE) -> Line:
    return Line(label="l", colour=colour, x=np.array(x, float), y=np.array(y, float))


def centres(pixels: np.ndarray, colour: Colour) -> tuple[float, float]:
    """The centre (across, down) of the pixels of exactly this colour."""
    down, across = np.nonzero((pixels == colour).all(axis=2))
    return float(across.mean()) + 0.5, float(down.mean()) + 0.5


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("x", "y"), [(0.5, 0.02), (5, 0.5), (9.5, 0.98), (3.3, 0.1)])
def test_a_point_is_drawn_where_the_axes_say(x: float, y: float, log: bool) -> None:
    shown = panel(line([x], [y]), y=Axis(low=0.01, high=1, log=log))
    (frame,) = frames([shown], 200)
    assert centres(draw_chart([shown], "", 200), BLUE) == pytest.approx(
        frame.place(shown, x, y), abs=0.75
    )


def test_greater_values_lie_further_right_and_higher() -> None:
    shown = panel()
    (frame,) = frames([shown], 200)
    places = [frame.place(shown, 10 * v, v) for v in np.linspace(0, 1, 21)]
    across, down = zip(*places, strict=True)
    assert list(across) == sorted(across)
    assert list(down) == sorted(down, reverse=True)
    assert places[0] == (frame.left, frame.top + frame.height)
    assert places[-1] == (frame.left + frame.width, frame.top)


def test_a_line_joins_its_points_and_is_broken_where_y_is_not_finite() -> None:
    x = list(np.linspace(0, 10, 101))
    y = [0.5] * 101
    y[40:60] = [float("nan")] * 10 + [float("inf")] * 10
    shown = panel(line(x, y))
    (frame,) = frames([shown], 200)
    pixels = draw_chart([shown], "", 200)
    across, down = frame.place(shown, 0, 0.5)
    row = (pixels[int(down)] == BLUE).all(axis=1)
    inside = [int(across) + int(frame.width * f) for f in (0.1, 0.35, 0.45, 0.55, 0.65, 0.9)]
    assert row[inside].tolist() == [True, True, False, False, True, True]


def test_one_point_between_gaps_is_a_dot_even_in_a_long_line() -> None:
    y = [float("nan")] * 101
    y[50] = 0.5
    pixels = draw_chart([panel(line(list(np.linspace(0, 10, 101)), y))], "", 200)
    assert (pixels == BLUE).all(axis=2).sum() > 80


def test_panels_stand_side_by_side_and_hold_their_own_lines() -> None:
    panels = [panel(line([5], [0.5])), panel(line([5], [0.5], VERMILLION))]
    left, right = frames(panels, 200)
    assert left.left + left.width < right.left
    pixels = draw_chart(panels, "", 200)
    assert left.left < centres(pixels, BLUE)[0] < left.left + left.width
    assert right.left < centres(pixels, VERMILLION)[0] < right.left + right.width


def test_an_empty_line_draws_nothing() -> None:
    assert np.array_equal(
        draw_chart([panel(line([], []))], "", 200), draw_chart([panel()], "", 200)
    )
