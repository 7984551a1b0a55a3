"""The outlines' formulas against pixels that are counted."""

import numpy as np
import pytest

from convolens.data.outlines import OUTLINES


def plane(points: int) -> tuple[np.ndarray, np.ndarray]:
    line = (2 * (np.arange(points, dtype=np.float32) + 0.5) / points - 1) * 1.05
    u, v = np.meshgrid(line, line)
    return u, v


@pytest.mark.parametrize("outline", OUTLINES, ids=lambda outline: outline.name)
def test_outline_has_its_area_and_fits_the_unit_circle(outline):
    u, v = plane(800)
    inside = outline.distance(u, v) < 0
    assert inside.mean() * 2.1**2 == pytest.approx(outline.area, rel=5e-3)
    assert 0.93 < np.hypot(u, v)[inside].max() <= 1.001


@pytest.mark.parametrize("outline", OUTLINES, ids=lambda outline: outline.name)
def test_landmarks_are_the_centre_and_four_points_on_the_outline_clockwise(outline):
    centre, *around = outline.points
    assert centre == (0.0, 0.0)
    u, v = np.array(around, dtype=np.float32).T
    np.testing.assert_allclose(outline.distance(u, v), 0, atol=1e-6)
    turns = np.diff(np.unwrap(np.arctan2(v, u)))
    assert (turns > 0).all()
    assert turns.sum() < 2 * np.pi


@pytest.mark.parametrize("outline", OUTLINES, ids=lambda outline: outline.name)
def test_distance_near_the_outline_changes_as_fast_as_the_place(outline):
    # So that coverage = 1/2 − distance is a smooth edge of one pixel.
    u, v = plane(400)
    distance = outline.distance(u, v)
    down, right = np.gradient(distance, 2.1 / 400)
    near = (np.abs(distance) < 0.02)[1:-1, 1:-1]
    slope = np.hypot(down, right)[1:-1, 1:-1][near]
    assert np.median(slope) == pytest.approx(1, abs=0.01)
    assert (slope < 1.05).all()


def test_names_are_distinct():
    assert len({outline.name for outline in OUTLINES}) == len(OUTLINES) == 8
