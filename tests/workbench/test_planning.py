import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convolens.errors import ConfigError
from convolens.train.checkpoint import load_tensors
from convolens.train.events import Event, Stepped
from convolens.train.stop import StoppedError, StopRequest
from convolens.workbench.evaluate import evaluate
from convolens.workbench.run import Run
from convolens.workbench.train import train

HALF = ["plan=reference", "plan.precision=float16", "data.image_size=16", "model.width=2"]


def test_a_training_is_checked_against_the_trial_of_its_plan(digits_run: Run) -> None:
    env = json.loads(digits_run.folder.env_file.read_text())
    assert env["check"]["passes"] == 10
    factor = env["check"]["seconds_per_image"] / env["check"]["trial_seconds_per_image"]
    assert env["check"]["factor"] == pytest.approx(factor, rel=0.01)
    assert env["check"]["doubtful"] is not (0.5 <= factor <= 2)


def test_float16_is_said_and_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"model": "small_convnet", "epochs": 1, "out": tmp_path, "settings": HALF}
    whole = train("digits", name="whole", **options)
    assert whole.plan().precision == "float16"
    assert evaluate(whole) == whole.test["metrics"]
    requests: list[StopRequest] = []
    make = StopRequest.__init__
    monkeypatch.setattr(
        StopRequest, "__init__", lambda self: (make(self), requests.append(self))[0]
    )

    def notify(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 7:
            requests[-1].handle(15, None)

    with pytest.raises(StoppedError):
        train("digits", name="cut", notify=notify, **options)
    (state,) = (tmp_path / "cut" / "state").iterdir()
    assert load_tensors(state)[1]["tree"]["scale"]["_growth_tracker"] == 7
    cut = train(resume=tmp_path / "cut")
    one, other = (load_file(run.folder.weights_file("last")) for run in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_line_search_cannot_leave_out_steps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16 cannot be used with lbfgs"):
        train("digits", out=tmp_path, settings=[*HALF, "optimizer.name=lbfgs"])
    assert list(tmp_path.iterdir()) == []
