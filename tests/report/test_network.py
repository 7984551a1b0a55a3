from torch import nn

from convolens.analysis.summarize import summarize
from convolens.report.network import network_section
from convolens.report.parts import Drawing, Facts, Table, Text


def test_drawing_totals_layers_and_warnings() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    graph = summarize(net, (3, 8, 8), name="mine")
    section = network_section(graph)
    drawing, facts, _, table, *texts = section.parts
    assert isinstance(drawing, Drawing)
    assert "<title>mine</title>" in drawing.svg
    assert isinstance(facts, Facts)
    assert dict(facts.items)["params"] == "370"  # 3·3·3·8 + 8 + 72·2 + 2
    assert isinstance(table, Table)
    assert table.rows[0].cells[:4] == ("0", "Conv2d", "8×3×3", "224")
    assert all(len(row.cells) == len(table.columns) for row in table.rows)
    warnings = [text for text in texts if isinstance(text, Text) and text.tone == "warning"]
    assert any("reads" in text.text for text in warnings)  # a row and a column of 8×8 are left
