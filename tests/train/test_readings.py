from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from convolens.train import readings
from convolens.train.events import Event, Stepped, ignore
from convolens.train.job import Job
from convolens.train.loop import fit
from convolens.train.optimizer import OptimizerConfig
from convolens.train.readings import Readings
from convolens.train.state import state_files
from convolens.train.stop import DivergedError, StopRequest


def test_a_gpu_is_asked_every_twenty_steps_and_a_cpu_at_each() -> None:
    for device, every in (("cpu", 1), ("cuda", 20)):
        waiting = Readings(device)
        for step in range(every):
            assert not waiting.is_due
            waiting.add(step, 0.1, {"loss": torch.tensor(0.1 * step)}, 1.0, 0.0)
        assert waiting.is_due


def test_what_is_read_is_what_was_added() -> None:
    waiting = Readings("cuda")
    for step in range(3):
        loss = torch.tensor(1 / (step + 3), requires_grad=True)
        waiting.add(
            step, 0.5, {"loss": loss, "accuracy": torch.tensor(0.1 * step).double()}, 2.0, 1.0
        )
    found = waiting.read()
    assert [r.step for r in found] == [0, 1, 2]
    assert [r.metrics["loss"] for r in found] == [float(torch.tensor(1 / n)) for n in (3, 4, 5)]
    assert [r.metrics["accuracy"] for r in found] == pytest.approx([0.0, 0.1, 0.2])
    assert waiting.read() == []


def trained(
    make_job: Callable[..., Job], folder: Path, every: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Job, list[Stepped]]:
    monkeypatch.setitem(readings.EVERY, "cpu", every)
    job = make_job(epochs=3, count=70)
    folder.mkdir()
    job = replace(job, folder=type(job.folder)(folder))
    job.folder.repair()
    told: list[Event] = []
    fit(job, told.append, StopRequest())
    return job, [event for event in told if isinstance(event, Stepped)]


def test_how_often_numbers_are_read_changes_none_of_them(
    make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, each = trained(make_job, tmp_path / "each", 1, monkeypatch)
    second, some = trained(make_job, tmp_path / "some", 5, monkeypatch)
    assert each == some
    clocks = {"seconds", "images_per_s", "wait_share", "val_seconds"}
    for one, other in zip(first.folder.read_metrics(), second.folder.read_metrics(), strict=True):
        assert {k: v for k, v in one.items() if k not in clocks} == {
            k: v for k, v in other.items() if k not in clocks
        }
    for mine, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("every", [1, 20])
def test_a_diverged_training_ends_within_so_many_steps_and_is_not_saved(
    make_job: Callable[..., Job], every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(readings.EVERY, "cpu", every)
    steps: list[None] = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    net.register_forward_hook(lambda *_: steps.append(None))
    job = make_job(net, epochs=9, count=400, optimizer=OptimizerConfig(name="sgd", lr=1e38))
    job.folder.repair()
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) at step \d\n"):
        fit(job, ignore, StopRequest())
    assert len(steps) <= 9 + every
    assert state_files(job.folder) == []
