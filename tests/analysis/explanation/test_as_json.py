"""Explanations as JSON."""

import json

import torch
from torch import nn

from convolens.analysis.explanation import as_json, explain_unit


def test_the_document_has_what_its_page_says() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 2), nn.ReLU(), nn.MaxPool2d(2, padding=1))
    nn.init.ones_(net[0].weight)  # a sum above 0, which passes the ReLU
    nn.init.zeros_(net[0].bias)
    tree = as_json(explain_unit(net, torch.ones(1, 1, 3, 3), "2", (0, 0, 0), depth=2))
    assert list(tree) == [
        *("layer", "unit", "operation", "performed_by", "formula", "explained", "field", "terms"),
        *("total", "bias", "steps", "computed", "network", "difference", "following", "inputs"),
        "children",
    ]
    assert list(tree["terms"][0]) == [
        *("weight", "value", "product", "place", "padded", "source", "unit")
    ]
    assert tree["field"] == {"rows": [0, 1], "cols": [0, 1]}
    (child,) = tree["children"]
    assert [step["layer"] for step in child["steps"]] == ["1"]
    assert list(child["steps"][0]) == ["name", "layer", "formula", "result", "network"]


def test_what_is_infinite_becomes_null() -> None:
    net = nn.Sequential(nn.MaxPool2d(2, padding=1))
    tree = as_json(explain_unit(net, torch.ones(1, 1, 3, 3), "0", (0, 0, 0)))
    padding, pixel = tree["terms"][0], tree["terms"][3]
    assert (padding["value"], padding["product"], padding["padded"]) == (None, 0.0, True)
    assert padding["place"] == [0, -1, -1]
    assert (pixel["value"], pixel["weight"], pixel["padded"]) == (1.0, 1.0, False)
    json.dumps(tree, allow_nan=False)
