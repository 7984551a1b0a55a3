import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convolens.errors import ConfigError, ConvolensError, DataError, RunError, ShapeError
from convolens.train.events import EpochEnded, Event, Noted, Started, Stepped
from convolens.train.stop import DivergedError, StoppedError
from convolens.workbench.evaluate import evaluate
from convolens.workbench.run import Run
from convolens.workbench.train import train


def weights(run: Run, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run.folder.weights_file(which))


def equal(first: Run, second: Run, which: str = "last") -> bool:
    a, b = weights(first, which), weights(second, which)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_holds_what_it_should(digits_run: Run) -> None:
    files = {str(p.relative_to(digits_run.path)) for p in digits_run.path.rglob("*") if p.is_file()}
    assert {
        "config.json",
        "env.json",
        "metrics.csv",
        "test.json",
        "weights/best.safetensors",
        "weights/last.safetensors",
        "figures/curves.png",
        "figures/confusion.png",
        "figures/mistakes.png",
        "figures/filters.png",
    } <= files
    assert sum(f.startswith("state/") for f in files) == 1
    assert not [f for f in files if f.endswith((".pt", ".pth", ".pkl", ".tmp"))]
    assert [row["epoch"] for row in digits_run.rows] == [1, 2, 3, 4]
    assert digits_run.test["metrics"]["accuracy"] > 0.5
    assert json.loads(digits_run.folder.env_file.read_text())["torch"] == torch.__version__


def test_the_network_has_learnt(digits_run: Run) -> None:
    rows = digits_run.rows
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert rows[-1]["val_accuracy"] > rows[0]["val_accuracy"]


def test_evaluation_repeats_the_test_metrics_to_the_last_digit(digits_run: Run) -> None:
    assert evaluate(digits_run) == digits_run.test["metrics"]
    assert evaluate(digits_run.path) == digits_run.test["metrics"]


def test_a_run_can_be_moved(digits_run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(digits_run.path)
    assert evaluate(moved) == digits_run.test["metrics"]


def test_the_same_seed_gives_equal_weights_and_another_seed_others(tmp_path: Path) -> None:
    options = {"epochs": 1, "out": tmp_path, "settings": ["model.dropout=0.2"]}
    first, second = train("digits", **options), train("digits", **options)
    other = train("digits", seed=1, **options)
    assert equal(first, second)
    assert first.test["metrics"] == second.test["metrics"]
    assert not equal(first, other)


def stop_at(step: int):  # type: ignore[no-untyped-def]
    def notify(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return notify


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("step", [3, 22, 30])
def test_a_stopped_run_goes_on_to_the_same_weights(
    tmp_path: Path, step: int, optimizer: str
) -> None:
    options = {
        "epochs": 2,
        "out": tmp_path,
        "settings": [f"optimizer.name={optimizer}", "model.dropout=0.2", "optimizer.lr=0.002"],
    }
    whole = train("digits", name="whole", **options)
    assert len(whole.rows) == 2
    with pytest.raises(StoppedError) as caught:
        train("digits", name="stopped", notify=stop_at(step), **options)
    stopped = Run.open(tmp_path / "stopped")
    assert not stopped.is_complete
    assert caught.value.hint == f"Go on with: convolens train --resume {stopped.path}"
    assert stopped.predict(_picture(tmp_path))[0].labels  # a stopped Run predicts
    resumed = train(resume=stopped.path)
    assert equal(whole, resumed)
    assert equal(whole, resumed, "best")
    assert whole.test["metrics"] == resumed.test["metrics"]
    timing = {"seconds", "images_per_s", "wait_share", "val_seconds"}
    for one, two in zip(whole.rows, resumed.rows, strict=True):
        assert {k: v for k, v in one.items() if k not in timing} == pytest.approx(
            {k: v for k, v in two.items() if k not in timing}
        )


def _picture(folder: Path) -> Path:
    from PIL import Image

    path = folder / "picture.png"
    Image.new("L", (40, 30), 200).save(path)
    return path


def test_saving_by_steps_and_resuming_from_an_older_state(tmp_path: Path) -> None:
    options = {"epochs": 1, "out": tmp_path, "settings": ["checkpoint.every_steps=5"]}
    whole = train("digits", name="whole", **options)
    with pytest.raises(StoppedError):
        train("digits", name="stopped", notify=stop_at(12), **options)
    states = sorted((tmp_path / "stopped" / "state").iterdir())
    assert [s.stem for s in states] == ["step-000000010", "step-000000012"]
    states[1].write_bytes(states[1].read_bytes()[:-100])
    told: list[Event] = []
    resumed = train(resume=tmp_path / "stopped", notify=told.append)
    assert equal(whole, resumed)
    notes = [e.text for e in told if isinstance(e, Noted)]
    assert any("step-000000012.safetensors" in n and "an older state is used" in n for n in notes)
    assert next(e.step for e in told if isinstance(e, Started)) == 10


def test_resume_takes_nothing_but_the_run(digits_run: Run) -> None:
    with pytest.raises(RunError, match="is complete: 4 epochs are done"):
        train(resume=digits_run.path)
    with pytest.raises(ConfigError, match="epochs, batch cannot be given with resume"):
        train(resume=digits_run.path, epochs=3, batch=8)


def test_training_in_a_thread_needs_no_signals(tmp_path: Path) -> None:
    runs: list[Run] = []
    thread = threading.Thread(
        target=lambda: runs.append(train("digits", epochs=1, out=tmp_path, batch=256))
    )
    thread.start()
    thread.join()
    assert runs[0].is_complete


def test_signal_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ConvolensError):
        train("digits", batch=5000, out=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_image_folder_of_ones_own(stripes: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    settings = ["optimizer.lr=0.01", "augment.rotation=0", "model.width=8"]
    run = train(
        str(stripes), epochs=12, batch=8, out=tmp_path, settings=settings, notify=told.append
    )
    assert run.config.model.name == "small_convnet"
    assert run.task.class_names == ("across", "down")
    assert run.test["metrics"]["accuracy"] == 1.0
    assert run.predict(stripes / "down" / "03.png")[0].label == "down"
    assert sum(isinstance(e, EpochEnded) for e in told) == 12


def test_damaged_pictures_are_counted_and_named(stripes: Path, tmp_path: Path) -> None:
    good = (stripes / "across" / "00.png").read_bytes()
    (stripes / "across" / "cut.png").write_bytes(good[:40])
    (stripes / "down" / "words.jpg").write_text("no picture")
    told: list[Event] = []
    run = train(str(stripes), epochs=1, batch=8, out=tmp_path, notify=told.append)
    notes = "\n".join(e.text for e in told if isinstance(e, Noted))
    assert "2 problems in the data" in notes
    assert "cut.png" in notes
    assert "words.jpg" in notes
    assert len(run.facts["problems"]) == 2
    assert sum(run.facts["counts"].values()) == 48
    with pytest.raises(DataError, match=r"cut\.png"):
        train(str(stripes), epochs=1, out=tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "digit"}, DataError, "digit"),
        ({"data": "no/such/folder"}, DataError, "no/such/folder"),
        ({"model": "lenet"}, ConfigError, "there is no network called 'lenet'"),
        ({"recipe": "fast"}, ConfigError, "there is no recipe called 'fast'"),
        ({"epochs": 0}, ConfigError, "epochs must be a whole number of at least 1, received 0"),
        ({"batch": 0}, ConfigError, "batch_size must be a whole number of at least 1"),
        ({"batch": 5000}, ConfigError, "batch_size 5000 is larger than the 1293 training"),
        ({"settings": ["optimizer.lrr=1"]}, ConfigError, "no key 'optimizer.lrr'"),
        ({"settings": ["model.wdith=3"]}, ConfigError, "lenet5 has no option 'wdith'"),
        ({"settings": ["data.image_size=8"]}, ShapeError, "does not fit"),
        ({"settings": ["task=dance"]}, ConfigError, "task does not know 'dance'"),
        ({"model": "torchvision:resnet"}, ConfigError, "torchvision has no"),
        ({"model": "net.py:Net"}, ConfigError, "there is no file net.py"),
        ({"settings": ["freeze=conv9.*"]}, ConfigError, "freeze: 'conv9.*' matches no parameter"),
        ({"settings": ["accumulate=65"]}, ConfigError, "accumulate must be at most batch_size"),
        (
            {"settings": ["accumulate=0"]},
            ConfigError,
            "accumulate must be a whole number of at least 1, received 0",
        ),
        ({"settings": ["clip_norm=-1"]}, ConfigError, "clip_norm must be a number of at least 0"),
        ({"settings": ["average.decay=1"]}, ConfigError, "average.decay must be a number"),
        (
            {"settings": ["stop.patience=-1"]},
            ConfigError,
            "stop.patience must be a whole number of at least 0",
        ),
        ({"settings": ["tta=flop"]}, ConfigError, "tta takes none or flip or shifts or crops"),
        (
            {"settings": ["stop.patience=2", "data.val_fraction=0"]},
            ConfigError,
            "stop.patience needs validation pictures, and there are none",
        ),
        (
            {"settings": ["optimizer.name=lbfgs", "clip_norm=1"]},
            ConfigError,
            "clip_norm cannot be used with lbfgs",
        ),
        ({"weights": "no/such/file"}, RunError, "no/such/file is missing"),
        ({"weights": "."}, RunError, "is not a Run: it has no config.json"),
        ({"name": "a/b"}, RunError, "--name must be the name of a folder"),
    ],
)
def test_bad_input_leaves_no_run(
    tmp_path: Path, options: dict, error: type[ConvolensError], message: str
) -> None:
    with pytest.raises(error) as caught:
        train(**options, out=tmp_path / "runs")
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_divergence_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="training diverged: the loss is") as caught:
        train(
            "digits",
            epochs=3,
            out=tmp_path,
            settings=["optimizer.name=sgd", "optimizer.lr=1e30", "model.activation=relu"],
        )
    assert "Lower the learning rate" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_no_disk_left_before_the_first_state_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="no space is left on the disk"):
        train("digits", epochs=1, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_disk_left_later_keeps_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 1, "out": tmp_path, "settings": ["checkpoint.every_steps=5"]}
    whole = train("digits", name="whole", **options)

    def notify(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 8:
            monkeypatch.setattr(os, "fsync", full)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="no space is left on the disk"):
        train("digits", name="full", notify=notify, **options)
    monkeypatch.undo()
    assert equal(whole, train(resume=tmp_path / "full"))


def test_a_network_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "def tiny(num_classes, in_channels=1, width=4):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, width, 5, stride=3), nn.ReLU(),\n"
        "                         nn.Flatten(), nn.Linear(width * 100, num_classes))\n"
        "net = tiny(10)\n"
        "words = nn.Linear(3, 3)\n"
        "def broken(num_classes):\n"
        "    raise ValueError('no such thing')\n"
    )
    run = train("digits", model=f"{file}:tiny", epochs=1, out=tmp_path / "runs")
    assert run.path.name == "digits-tiny-1"
    assert evaluate(run) == run.test["metrics"]
    assert train("digits", model=f"{file}:net", epochs=1, out=tmp_path / "runs").is_complete
    with pytest.raises(ShapeError, match="cannot read a picture of 1×32×32"):
        train("digits", model=f"{file}:words", epochs=1, out=tmp_path / "runs")
    with pytest.raises(ConfigError, match="could not be built: no such thing"):
        train("digits", model=f"{file}:broken", epochs=1, out=tmp_path / "runs")
    with pytest.raises(ConfigError, match="has no network called 'tinny'") as caught:
        train("digits", model=f"{file}:tinny", epochs=1, out=tmp_path / "runs")
    assert caught.value.hint == "Did you mean tiny?"


def test_a_network_of_a_file_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def Net(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(1024, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    run = train("digits", model="net.py:Net", epochs=1, out=tmp_path)
    monkeypatch.chdir(tmp_path / "there")
    Image.new("L", (32, 32)).save("picture.png")
    assert Run.open(run.path).predict("picture.png")[0].label in "0123456789"


def test_a_line_of_notation_names_no_folder(tmp_path: Path) -> None:
    run = train("digits", model="conv 4 5x5 /2 | relu | fc 10", epochs=1, out=tmp_path)
    assert run.path == tmp_path / "digits-net-1"
