"""The figure of precision against recall."""

import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.precision_recall import precision_recall


def test_classes_without_objects_are_left_out_and_the_mean_is_of_the_others():
    falls = np.stack([np.linspace(1, 0.5, 101), np.zeros(101), np.ones(101)])
    figure = precision_recall(falls, np.array([0.75, np.nan, 1.0]), ["car", "bus", "bike"])
    assert "87.5 %" in figure.caption
    alone = precision_recall(falls[:1], np.array([0.75]), ["car"])
    assert (alone.pixels != figure.pixels).any()


def test_no_objects_at_all():
    figure = precision_recall(np.zeros((1, 101)), np.array([np.nan]), ["car"])
    assert "no objects" in figure.caption


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match="a curve, an average and a name for each class"):
        precision_recall(np.ones((2, 101)), np.ones(1), ["cat"])
