import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.visual import curves
from convolens.visual.style import BLUE, GREEN, VERMILLION, Colour

ROW = {"train_loss": 0.5, "val_loss": 0.4, "train_accuracy": 0.8, "val_accuracy": 0.9, "lr": 0.1}
NAN = math.nan


def count(pixels: np.ndarray, colour: Colour) -> int:
    return int((pixels == colour).all(axis=2).sum())


@pytest.mark.parametrize("epochs", [1, 2, 3, 100])
def test_train_validation_and_rate_are_seen_from_the_first_epoch(epochs: int) -> None:
    rows = [{**ROW, "epoch": e, "train_loss": 1 / e} for e in range(1, epochs + 1)]
    pixels = curves(rows).pixels
    for colour in (BLUE, VERMILLION, GREEN):
        assert count(pixels, colour) > 100


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([0.5, 0.9, 0.8], "best epoch 2: validation accuracy 90.00 %"),
        ([0.9, 0.9], "best epoch 2: validation accuracy 90.00 %"),
        ([NAN, 0.2, math.inf], "best epoch 2: validation accuracy 20.00 %"),
    ],
)
def test_the_best_epoch_is_the_last_of_greatest_accuracy(rows: list[float], words: str) -> None:
    figure = curves([{"epoch": e, "val_accuracy": a} for e, a in enumerate(rows, start=1)])
    assert words in figure.caption


def test_the_best_epoch_is_that_of_least_loss_where_no_accuracy_is_known() -> None:
    rows = [{"epoch": e, "val_loss": loss} for e, loss in ((1, NAN), (2, 0.25), (3, 0.5))]
    assert "best epoch 2: validation loss 0.25." in curves(rows).caption
    only_train = [{"epoch": 1, "train_loss": 1.0, "val_loss": NAN}]
    assert "no validation, so no best epoch" in curves(only_train).caption


def test_no_epoch_at_all_is_said() -> None:
    figure = curves([])
    assert "none is finished yet" in figure.caption
    assert count(figure.pixels, BLUE) == 0


def test_a_quantity_without_a_value_leaves_its_panel_out() -> None:
    def width(**row: float) -> int:
        return int(curves([{"epoch": 1, **row}]).pixels.shape[1])

    loss = width(train_loss=1.0)
    assert width(train_loss=1.0, lr=NAN, train_accuracy=NAN) == loss
    assert loss < width(train_loss=1.0, lr=0.1) < width(train_loss=1.0, val_accuracy=0.5)


def test_rows_out_of_order_or_without_an_epoch_give_the_same_picture() -> None:
    rows = [{**ROW, "epoch": e, "val_loss": 1 / e} for e in (1, 2, 3)]
    nameless = [{key: v for key, v in row.items() if key != "epoch"} for row in rows]
    assert np.array_equal(curves(rows).pixels, curves(rows[::-1]).pixels)
    assert np.array_equal(curves(rows).pixels, curves(nameless).pixels)


def test_a_lower_loss_is_drawn_lower() -> None:
    pixels = curves([{"epoch": e, "train_loss": 1 / e} for e in range(1, 60)]).pixels
    on = (pixels == BLUE).all(axis=2)[120:]  # below the legend
    heights = [np.flatnonzero(column).mean() for column in on.T if column.any()]
    assert np.all(np.diff(heights) > -1.0)
    assert heights[-1] > heights[0] + 200


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["epoch", *ROW]), st.floats(), max_size=6), max_size=5
    )
)
def test_any_numbers_give_a_picture(rows: list[dict[str, float]]) -> None:
    pixels = curves(rows).pixels
    assert pixels.shape[0] == curves([]).pixels.shape[0]
    assert (pixels[0] == 255).all()
