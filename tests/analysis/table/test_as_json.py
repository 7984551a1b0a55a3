import json
from dataclasses import asdict

import torch
from torch import nn

from convolens.analysis.summarize import Graph, summarize
from convolens.analysis.table import as_json


def test_the_document(golden, small_graph: Graph) -> None:
    golden("small.json", json.dumps(as_json(small_graph), indent=1) + "\n")


def test_every_number_is_the_graphs(torchvision_graph) -> None:
    graph = torchvision_graph("resnet18")
    document = json.loads(json.dumps(as_json(graph)))
    assert document["input"] == [3, 224, 224]
    assert document["totals"] == asdict(graph.totals)
    keys = ("name", "output", "params", "macs", "flops", "saved_bytes")
    for row, found in zip(graph.rows, document["rows"], strict=True):
        assert tuple(found[key] for key in keys) == (
            *(row.name, list(row.output), row.params, row.macs, row.flops, row.saved_bytes),
        )
        assert found["type"] == row.kind
    assert document["rows"][0]["field"] == {"size": [7, 7], "stride": [2, 2], "start": [-3, -3]}
    assert document["rows"][-1]["field"] is None
    assert sum(row["params"] for row in document["rows"]) == 11_689_512


def test_several_inputs_are_a_list_of_lists() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a.mean((2, 3)) + b

    document = as_json(summarize(Two(), [(4, 8, 8), (4,)]))
    assert document["input"] == [[4, 8, 8], [4]]
    assert document["uncounted"] == []


def test_warnings_and_what_is_not_counted() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.logcumsumexp(1)

    document = as_json(summarize(Odd(), (3, 4, 4)))
    assert document["uncounted"] == [{"name": "aten.logcumsumexp", "times": 1, "place": ""}]
    assert document["unused"] == ["spare.weight", "spare.bias"]
    assert document["warnings"] == ["the pass does not read spare.weight, spare.bias"]
