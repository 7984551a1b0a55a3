"""What people expect of a training engine, through the whole of `train`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from convolens.errors import RunError
from convolens.models import lenet5
from convolens.train.checkpoint import load_tensors
from convolens.train.events import Event, Noted, Started, Stepped
from convolens.train.stop import StoppedError, StopRequest
from convolens.workbench.evaluate import evaluate
from convolens.workbench.find_rate import find_rate
from convolens.workbench.run import Run
from convolens.workbench.train import train

EVERYTHING = [
    "average.decay=0.9",
    "clip_norm=0.5",
    "accumulate=3",
    "freeze=stage1.*",
    "stop.patience=5",
    "tta=flip",
    "augment.mixup=0.2",
    "model.dropout=0.2",
    "model.width=4",
    "optimizer.name=adamw",
    "optimizer.lr=0.003",
]


def weights(run: Run, which: str) -> dict[str, torch.Tensor]:
    return load_file(run.folder.weights_file(which))


def state(run: Run) -> dict[str, torch.Tensor]:
    (newest, *_) = sorted(run.folder.state.iterdir(), reverse=True)
    return load_tensors(newest)[0]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    requests: list[StopRequest] = []
    make = StopRequest.__init__

    def remember(self: StopRequest) -> None:
        make(self)
        requests.append(self)

    monkeypatch.setattr(StopRequest, "__init__", remember)

    def notify(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            requests[-1].handle(15, None)

    return notify


@pytest.mark.parametrize("step", [1, 20, 29])
def test_all_of_it_resumes_to_the_same_bits(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"model": "small_convnet", "epochs": 2, "out": tmp_path, "settings": EVERYTHING}
    whole = train("digits", name="whole", **options)
    with pytest.raises(StoppedError):
        train("digits", name="stopped", notify=stop_at(step, monkeypatch), **options)
    told: list[Event] = []
    resumed = train(resume=tmp_path / "stopped", notify=told.append)
    assert next(e.step for e in told if isinstance(e, Started)) == step
    for which in ("last", "best"):
        assert_equal(weights(whole, which), weights(resumed, which))
    assert_equal(state(whole), state(resumed))
    assert whole.test["metrics"] == resumed.test["metrics"]
    assert [r["val_loss"] for r in whole.rows] == [r["val_loss"] for r in resumed.rows]


def test_a_stop_at_the_end_of_an_epoch_keeps_its_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 2, "out": tmp_path}
    with pytest.raises(StoppedError):
        train("digits", name="stopped", notify=stop_at(20, monkeypatch), **options)
    stopped = Run.open(tmp_path / "stopped")
    assert [row["step"] for row in stopped.rows] == [20]
    assert stopped.folder.weights_file("best").is_file()
    assert [row["step"] for row in train(resume=stopped.path).rows] == [20, 40]


def test_saved_and_validated_weights_are_the_average(tmp_path: Path) -> None:
    run = train("digits", epochs=1, out=tmp_path, settings=["average.decay=0.99"])
    saved = state(run)
    averaged = {k[len("average.") :]: v for k, v in saved.items() if k.startswith("average.")}
    assert_equal(weights(run, "last"), averaged)
    assert_equal(weights(run, "best"), averaged)
    assert not torch.equal(averaged["conv1.weight"], saved["model.conv1.weight"])
    assert evaluate(run) == run.test["metrics"]


def test_training_ends_early_where_validation_no_longer_gets_better(tmp_path: Path) -> None:
    told: list[Event] = []
    # A rate so small that the first epoch's accuracy stays.
    settings = ["optimizer.lr=1e-12", "stop.patience=2", "schedule.name=constant"]
    run = train("digits", epochs=9, out=tmp_path, settings=settings, notify=told.append)
    assert run.is_complete
    assert len(run.rows) == 3
    assert run.test["epochs"] == 3
    assert run.summary()["epochs"] == 3
    notes = [event.text for event in told if isinstance(event, Noted)]
    assert any(
        "stopped after epoch 3 of 9: validation accuracy has not become better than" in text
        and text.endswith("for 2 epochs")
        for text in notes
    )
    with pytest.raises(RunError, match="is complete: 3 epochs are done"):
        train(resume=run.path)


def test_patience_that_does_not_run_out_changes_nothing(tmp_path: Path) -> None:
    plain = train("digits", epochs=3, out=tmp_path)
    patient = train("digits", epochs=3, out=tmp_path, settings=["stop.patience=3"])
    assert_equal(weights(plain, "last"), weights(patient, "last"))


def test_frozen_parameters_and_statistics_stay(tmp_path: Path) -> None:
    settings = ["freeze=stage1.*,stage2.conv.weight", "model.width=4"]
    first = train("digits", model="small_convnet", epochs=1, out=tmp_path, settings=settings)
    second = train(
        "digits", model="small_convnet", epochs=2, out=tmp_path, settings=[*settings, "clip_norm=1"]
    )
    a, b = weights(first, "last"), weights(second, "last")
    same = {name for name in a if torch.equal(a[name], b[name])}
    assert same == {
        "stage1.conv.weight",
        "stage1.norm.weight",
        "stage1.norm.bias",
        "stage1.norm.running_mean",
        "stage1.norm.running_var",
        "stage1.norm.num_batches_tracked",
        "stage2.conv.weight",
    }


def test_fine_tuning_begins_with_a_runs_best_weights(
    digits_run: Run, stripes: Path, tmp_path: Path
) -> None:
    told: list[Event] = []
    settings = ["data.channels=1", "data.image_size=32", "freeze=conv*,fc1.*,fc2.*"]
    run = train(
        str(stripes),
        model="lenet5",
        epochs=1,
        batch=8,
        weights=digits_run.path,
        out=tmp_path,
        settings=settings,
        notify=told.append,
    )
    text = next(e.text for e in told if isinstance(e, Noted) and "loaded" in e.text)
    assert text.endswith("loaded 8 of 10 tensors; new: fc3.weight (2, 84), fc3.bias (2,)")
    source, tuned = weights(digits_run, "best"), weights(run, "last")
    for name in source:
        if not name.startswith("fc3"):
            assert torch.equal(source[name], tuned[name]), name
    assert run.config.weights == str(digits_run.path)
    # Beside the Run nothing else is needed: it predicts without the weights it began with.
    assert evaluate(run) == run.test["metrics"]


def test_weights_that_fit_nowhere_leave_no_run(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(RunError, match="no tensor of"):
        train("digits", weights=tmp_path / "a.safetensors", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_rate_finder_leaves_a_picture_and_no_run(tmp_path: Path) -> None:
    save_file(lenet5(in_channels=1).state_dict(), tmp_path / "w.safetensors")
    options = {"weights": tmp_path / "w.safetensors", "settings": ["clip_norm=1", "freeze=conv1.*"]}
    found = find_rate("digits", out=tmp_path / "out", **options)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lr-find.png"]
    assert found.figure.read_bytes()[1:4] == b"PNG"
    assert 1e-4 < found.sweep.suggestion < 1e-1
    assert found.sweep.losses[-1] > min(found.sweep.losses)
