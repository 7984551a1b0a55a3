import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from convolens.report.parts import Bar, Facts, Fold, Picture, Table
from convolens.report.results import (
    MOST_CLASSES,
    calibration_part,
    class_parts,
    confusion_part,
    metric_parts,
    per_class_of,
)

MATRIX = np.array([[8, 2, 0], [1, 9, 0], [3, 0, 7]])


def table_of(parts: list) -> Table:
    return next(part for part in parts if isinstance(part, Table))


def test_each_class_has_the_metrics_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(0, 7, (2, 500))
    matrix = np.zeros((7, 7), np.int64)
    np.add.at(matrix, (true, predicted), 1)
    found = per_class_of(matrix)
    precision, recall, f1, totals = precision_recall_fscore_support(true, predicted)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.totals, totals)


def test_the_class_of_least_recall_stands_first() -> None:
    table = table_of(class_parts(MATRIX, ["cat", "dog", "eel"]))
    assert [row.cells[0] for row in table.rows] == ["eel", "cat", "dog"]
    assert table.rows[0].cells == (
        "eel",
        "10",
        Bar(text="70.00 %", share=0.7),
        "100.00 %",
        "82.35 %",
        "cat (3)",
    )


def test_a_class_without_pictures_stands_last_with_dashes() -> None:
    table = table_of(class_parts(np.array([[0, 0], [0, 5]]), ["none", "some"]))
    assert table.rows[-1].cells == ("none", "0", "–", "–", "–", "")


def test_of_many_classes_the_worst_are_shown_and_the_others_folded() -> None:
    size = MOST_CLASSES + 3
    parts = class_parts(np.eye(size, dtype=np.int64), [f"class {i}" for i in range(size)])
    assert len(table_of(parts).rows) == MOST_CLASSES
    fold = parts[-1]
    assert isinstance(fold, Fold)
    assert fold.title == "The other 3 classes"
    assert len(table_of([*fold.parts]).rows) == 3


def test_the_whole_test_in_numbers() -> None:
    (facts,) = metric_parts({"accuracy": 0.8, "loss": 0.5}, MATRIX)
    assert isinstance(facts, Facts)
    items = dict(facts.items)
    assert items["accuracy"] == "80.00 %"
    assert items["right"] == "24 of 30"
    assert items["95 % interval of the accuracy"] == "62.69 % to 90.50 %"
    assert items["mean F1 of the classes"] == "80.26 %"  # of 16/22, 18/21 and 14/17


@pytest.mark.parametrize("matrix", [np.zeros((2, 2), np.int64)])
def test_a_test_of_no_picture_has_no_interval(matrix: np.ndarray) -> None:
    (facts,) = metric_parts({"accuracy": 0.0}, matrix)
    assert isinstance(facts, Facts)
    assert dict(facts.items) == {"accuracy": "0.00 %"}


def test_figures_say_what_to_look_for() -> None:
    shown = confusion_part(MATRIX, ["cat", "dog", "eel"])
    assert isinstance(shown, Picture)
    assert "most often confused: eel → cat, 3 times" in shown.caption
    assert "a strong column" in shown.look_for
    # A softmax in single precision may come to a little more than 1.
    part = calibration_part(np.array([1.00001, 0.9]), np.array([True, False]))
    assert isinstance(part, Picture)
    assert "Expected calibration error" in part.caption
