"""The parts of a report about segmentation and detection."""

from convolens.report.detection import Level, ap_parts, size_parts
from convolens.report.parts import Bar, Table, Text
from convolens.report.segmentation import iou_parts


def test_the_class_of_least_iou_stands_first() -> None:
    metrics = {"miou": 0.5, "iou_road": 0.75, "iou_car": 0.25}
    *_, table, missing = iou_parts(metrics, ("road", "car", "dog"))
    assert isinstance(table, Table)
    assert [row.cells for row in table.rows] == [
        ("car", Bar(text="25.00 %", share=0.25)),
        ("road", Bar(text="75.00 %", share=0.75)),
    ]
    assert missing == Text(text="Not in the test: dog.", tone="soft")


def test_average_precision_of_each_class() -> None:
    metrics = {"ap_a": 0.4, "ap50_a": 0.9, "ap_b": 0.1, "ap50_b": 0.3, "map": 0.25}
    *_, table, missing = ap_parts(metrics, ("a", "b", "c"))
    assert isinstance(table, Table)
    assert [row.cells[0] for row in table.rows] == ["b", "a"]
    assert table.rows[1].cells[1:] == (Bar(text="40.00 %", share=0.4), "90.00 %")
    assert missing == Text(text="No objects in the test: c.", tone="soft")


def test_sizes_beside_fields() -> None:
    levels = [Level(layer="head.score", field=(40, 30), larger=0.125)]
    text, table = size_parts(levels, (18.4, 22.0), 1200)
    assert isinstance(text, Text)
    assert text.text.startswith("The 1,200 objects of the test are 18 px high and 22 px wide")
    assert isinstance(table, Table)
    assert table.rows[0].cells == ("head.score", "40×30", Bar(text="12.5 %", share=0.125))
