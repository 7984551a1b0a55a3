import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from convolens.train import pace as module
from convolens.train import trials
from convolens.train.choice import Choice, Trial, to_json
from convolens.train.events import ignore
from convolens.train.files import write_json
from convolens.train.job import Job
from convolens.train.loop import fit
from convolens.train.pace import MEASURED, SKIPPED, Pace
from convolens.train.plan import Plan
from convolens.train.run import RunFolder
from convolens.train.stop import StopRequest
from convolens.train.trials import candidates, choose_by_trial

REFERENCE, LAST = candidates("cpu", kernels=False, precision="float32")
NET = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
BATCH = torch.randn(32, 1, 4, 4), torch.arange(32) % 4


def choose(cache: Path) -> Choice:
    return choose_by_trial(NET, [REFERENCE, LAST], *BATCH, cross_entropy, cache=cache)


def env_of(folder: RunFolder) -> dict:
    return json.loads(folder.env_file.read_text())


def paced(
    folder: RunFolder,
    choice: Choice,
    factor: float,
    monkeypatch: pytest.MonkeyPatch,
    passes: int = SKIPPED + MEASURED,
) -> None:
    """Passes of a training that take so many times what the trial took."""
    write_json(folder.env_file, to_json(choice))
    promised = next(t.seconds for t in choice.trials if t.plan == choice.plan) / choice.batch_size
    ticks = accumulate(64 * promised * factor for _ in range(99))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    pace = Pace(folder, choice.plan, folder.path)
    for _ in range(passes):
        with pace.timing(64):
            pass
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("factor", "doubtful"), [(0.3, True), (0.7, False), (1.0, False), (1.8, False), (2.5, True)]
)
def test_a_training_at_another_speed_than_its_trials_lets_the_next_measure_again(
    tmp_path: Path, factor: float, doubtful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, choice = RunFolder(tmp_path), choose(tmp_path)
    assert choice.remembered is not None
    paced(folder, choice, factor, monkeypatch)
    check = env_of(folder)["check"]
    assert check["doubtful"] is doubtful
    assert check["factor"] == pytest.approx(factor, rel=0.01)
    after = choose(tmp_path)
    assert after.from_cache is not doubtful
    assert after.measured == (2 if doubtful else 1)
    assert choose(tmp_path).from_cache  # the new measurement is settled


def test_a_training_that_never_keeps_pace_is_not_measured_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    measured = []
    for _ in range(5):
        choice = choose(tmp_path)
        measured.append(choice.measured)
        paced(folder, choice, 5.0, monkeypatch)
    assert measured == [1, 2, 3, 3, 3]


@pytest.mark.parametrize(("seconds", "stays"), [(0.9, True), (0.7, False)])
def test_a_plan_measured_again_is_left_only_for_a_clearly_faster_one(
    tmp_path: Path, seconds: float, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = trials.Runner.trial

    def told(speed: dict[Plan, float]) -> None:
        def trial(self: trials.Runner) -> Trial:
            return replace(own(self), seconds=speed.get(self.plan, 9.0))

        monkeypatch.setattr(trials.Runner, "trial", trial)

    told({REFERENCE: 0.5, LAST: 1.0})
    first = choose(tmp_path)
    assert first.plan == REFERENCE
    file = tmp_path / "plans" / str(first.remembered)
    write_json(file, {**json.loads(file.read_text()), "doubt": "by hand"})
    told({REFERENCE: 1.0, LAST: seconds})
    assert choose(tmp_path).plan == (REFERENCE if stays else LAST)


def test_too_few_steps_and_a_plan_that_was_not_tried_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, choice = RunFolder(tmp_path), choose(tmp_path)
    paced(folder, choice, 9.0, monkeypatch, passes=SKIPPED + MEASURED - 1)
    assert "check" not in env_of(folder)
    write_json(folder.env_file, to_json(Choice(plan=REFERENCE)))
    pace = Pace(folder, REFERENCE, tmp_path)
    for _ in range(SKIPPED + MEASURED):
        with pace.timing(1):
            pass
    assert "check" not in env_of(folder)
    assert choose(tmp_path).from_cache


def test_a_real_training_is_checked_by_its_own_steps(make_job: Callable[..., Job]) -> None:
    class Slow(nn.Flatten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.004)
            return super().forward(x)

    job = make_job(nn.Sequential(Slow(), nn.Linear(36, 3)), count=200)
    job.folder.repair()
    trial = Trial(plan=job.plan, seconds=0.0005, loss_error=0, gradient_error=0, accepted=True)
    choice = Choice(plan=job.plan, trials=(trial,), batch_size=10)
    write_json(job.folder.env_file, to_json(choice))
    fit(job, ignore, StopRequest())
    check = env_of(job.folder)["check"]
    assert check["doubtful"]
    assert check["seconds_per_image"] >= 0.0004
    assert check["trial_seconds_per_image"] == 0.00005
