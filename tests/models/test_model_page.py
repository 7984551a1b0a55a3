"""The page about models lists every network with its numbers."""

import re
from math import prod
from pathlib import Path

import torch

from convolens.models.registry import MODELS

PAGE = Path(__file__).parents[2] / "docs" / "model.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+) \| ([\d×]+) \| ([\d,]+) \| ([\d,.]+) M \|$", re.MULTILINE)


def test_every_network_stands_there_with_its_size_and_parameters() -> None:
    rows = {name: rest for name, *rest in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert rows.keys() == MODELS.keys()
    for name, (description, size, params, _) in rows.items():
        entry = MODELS[name]
        assert description == entry.description
        assert size == "×".join(map(str, entry.input_size))
        with torch.device("meta"):
            net = entry.builder()
        assert int(params.replace(",", "")) == sum(prod(p.shape) for p in net.parameters()), name
