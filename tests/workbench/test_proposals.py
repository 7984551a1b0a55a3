"""Proposals are found once, remembered, and reach a detector that needs them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from convolens.data.base import MemoryPictures, Split
from convolens.data.shapes import load_shapes
from convolens.train.events import Decoded, Event, Noted
from convolens.workbench import proposals
from convolens.workbench.evaluate import evaluate
from convolens.workbench.predict_boxes import BoxPrediction
from convolens.workbench.proposals import needs_proposals, proposed, with_proposals
from convolens.workbench.train import train


class Wanting(nn.Module):
    needs_proposals = True


def test_they_are_found_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proposals, "cache_folder", lambda: tmp_path)
    data = load_shapes(num_train=5, num_test=2)
    events: list[Event] = []
    found = with_proposals(data, Wanting(), events.append)
    assert [len(boxes) > 0 for boxes in found.train.targets["proposals"]] == [True] * 5
    assert events[-1] == Decoded(done=7, total=7)
    assert isinstance(events[0], Noted)
    monkeypatch.setattr(proposals, "proposals_of", lambda _: pytest.fail("searched again"))
    again = with_proposals(data, Wanting())
    for one, other in zip(
        found.test.targets["proposals"], again.test.targets["proposals"], strict=True
    ):
        assert torch.equal(one, other)
    damaged = next((tmp_path / "proposals").iterdir())
    damaged.write_bytes(b"no tensors")
    monkeypatch.setattr(proposals, "proposals_of", lambda p: [torch.zeros(1, 4)] * len(p))
    with_proposals(data, Wanting())


def test_other_networks_go_without() -> None:
    split = Split(
        pictures=MemoryPictures(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)),
        targets={},
        names=["a"],
    )
    assert proposed(split, nn.Identity()) is split
    assert not needs_proposals(nn.Identity())


def test_a_detector_that_needs_them_goes_through_all_verbs(squares: Path) -> None:
    run = train(
        str(squares / "boxes"),
        model="fast_rcnn",
        epochs=2,
        batch=4,
        out=squares / "runs",
        settings=["model.width=8", "data.image_size=64", "plan=reference"],
    )
    assert evaluate(run) == run.test["metrics"]
    (found,) = run.predict(squares / "boxes/images/test/test0.png", score=0.0)
    assert isinstance(found, BoxPrediction)
    assert found.detections
