import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convolens as cl
from convolens.data.registry import load_dataset
from convolens.errors import ConfigError, DataError, RunError
from convolens.scratch.network import read_npz
from convolens.scratch.networks import simple_convnet
from convolens.train.checkpoint import load_tensors
from convolens.train.events import EpochEnded, Started, Stepped
from convolens.train.stop import StoppedError
from convolens.workbench import scratch
from convolens.workbench.scratch import train_scratch


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[cl.Run, list]:
    events: list = []
    run = train_scratch(
        "digits", epochs=4, out=tmp_path_factory.mktemp("runs"), notify=events.append
    )
    return run, events


def test_it_learns_digits(learnt: tuple[cl.Run, list]) -> None:
    run, _ = learnt
    summary = run.summary()
    assert (summary["model"], summary["dataset"], summary["epochs"]) == (
        "simple_convnet",
        "digits",
        4,
    )
    assert summary["metrics"]["test_accuracy"] > 0.93


def test_eval_and_predict_repeat_it(learnt: tuple[cl.Run, list], tmp_path: Path) -> None:
    run, _ = learnt
    assert cl.eval(run.path) == run.test["metrics"]
    split = load_dataset("digits", root=tmp_path).test
    picture = split.pictures.batch(torch.tensor([0]))[0, 0].numpy()
    Image.fromarray(picture).save(tmp_path / "digit.png")
    (prediction,) = cl.predict(run.path, tmp_path / "digit.png")
    assert prediction.label == str(int(split.targets["label"][0]))


def test_the_numpy_network_of_the_run_is_the_torch_network(
    learnt: tuple[cl.Run, list], tmp_path: Path
) -> None:
    """The file of NumPy's weights, the Run's network and its test metrics are one network."""
    run, _ = learnt
    network = simple_convnet(image_size=32)
    network.load(run.path / "weights" / "best.npz")
    test = load_dataset("digits", root=tmp_path).test
    x, t = run.task.prepare(
        test.pictures.batch(torch.arange(len(test))), test.targets["label"], None
    )
    loss, accuracy = network.evaluate(x.numpy(), t.numpy())
    assert accuracy == run.test["metrics"]["accuracy"]
    assert loss == pytest.approx(run.test["metrics"]["loss"], abs=1e-6)
    with torch.no_grad():
        theirs = run.network()(x[:50]).numpy()
    np.testing.assert_allclose(network.predict(x[:50].numpy()), theirs, atol=1e-5)


def test_what_the_folder_holds(learnt: tuple[cl.Run, list]) -> None:
    run, _ = learnt
    config = json.loads((run.path / "config.json").read_text())
    assert config["recipe"]["model"]["name"] == "simple_convnet"
    assert (
        config["recipe"]["optimizer"] | {"name": "adam", "lr": 0.001}
        == config["recipe"]["optimizer"]
    )
    assert config["recipe"]["schedule"]["name"] == "cosine"
    assert config["recipe"]["augment"]["shift"] == 1 / 32  # one of 32 px
    assert config["found"]["trained_by"] == "convolens.scratch"
    assert [row["epoch"] for row in run.rows] == [1, 2, 3, 4]
    best = max(range(4), key=lambda i: (run.rows[i]["val_accuracy"], i)) + 1
    assert run.test["epoch"] == best
    assert load_tensors(run.folder.weights_file("best"))[1]["epoch"] == best
    names = {path.name for path in (run.path / "figures").iterdir()}
    assert names == {"curves.png", "confusion.png", "mistakes.png", "filters.png"}
    arrays = read_npz(run.path / "weights" / "best.npz")
    assert arrays["conv1.W"].shape == (30, 1, 5, 5)


def test_the_picture_of_the_filters_is_of_those_before_and_after(
    stripes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []
    real = scratch.filters
    monkeypatch.setattr(scratch, "filters", lambda *sets: seen.append(sets) or real(*sets))
    run = train_scratch(str(stripes), epochs=2, seed=3, out=tmp_path / "runs")
    ((before, after),) = seen
    initial = simple_convnet(2, 1, 24, seed=3).params["conv1.W"]
    np.testing.assert_array_equal(before, initial)
    np.testing.assert_array_equal(after, read_npz(run.path / "weights" / "best.npz")["conv1.W"])
    assert not np.array_equal(before, after)


def test_what_is_told(learnt: tuple[cl.Run, list]) -> None:
    _, events = learnt
    (started,) = (event for event in events if isinstance(event, Started))
    steps = [event for event in events if isinstance(event, Stepped)]
    assert started.total_steps == len(steps) == steps[-1].step
    assert sum(isinstance(event, EpochEnded) for event in events) == 4


def test_the_seed_decides_everything(stripes: Path, tmp_path: Path) -> None:
    weights = []
    for seed in (1, 1, 2):
        run = train_scratch(str(stripes), epochs=2, seed=seed, out=tmp_path / "runs")
        weights.append(read_npz(run.path / "weights" / "best.npz")["fc2.W"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_what_is_wrong_leaves_no_run(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for words, kind, message in (
        ({"data": "digit"}, DataError, "Did you mean digits?"),
        ({"epochs": 0}, ConfigError, "epochs must be a whole number of at least 1, received 0"),
        ({"batch": 0}, ConfigError, "batch_size must be a whole number of at least 1"),
        ({"seed": -1}, ConfigError, "seed must be a whole number of at least 0"),
        ({"name": "a/b"}, RunError, "--name must be the name of a folder, received 'a/b'"),
        ({"name": "taken"}, RunError, "already exists"),
    ):
        with pytest.raises(kind) as error:
            train_scratch(out=tmp_path, **words)
        assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_stop_leaves_no_run(tmp_path: Path) -> None:
    def stop(event: object) -> None:
        if isinstance(event, Stepped):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="the NumPy floor saves no state, so no Run is left"):
        train_scratch("digits", out=tmp_path, notify=stop)
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_do_not_fit_in_memory(
    stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = load_dataset(str(stripes), root=tmp_path, memory_limit_bytes=0)
    monkeypatch.setattr(scratch, "load", lambda config, notify: streamed)
    with pytest.raises(DataError, match=r"needs all pictures in memory, and these \d+ are"):
        train_scratch(str(stripes), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
