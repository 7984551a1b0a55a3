"""Trainings that are killed at any instant go on, and end as if they had never been."""

import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.errors import RunError
from convolens.tasks.classify import Classify
from convolens.train.checkpoint import load_tensors
from convolens.train.events import Event, Noted, Started
from convolens.train.stop import StoppedError
from convolens.workbench.run import Run
from convolens.workbench.train import train

Start = Callable[..., BaseProcess]

DEADLINE_S = 60.0
KILLS = 5
TINY = ["--model", "lenet5", "--set", "plan=reference"]
EVERY_STEP = ["--batch", "24", "--set", "checkpoint.every_steps=1"]
STREAM = ["--set", "data.memory_bytes=10000"]


def wait_until(condition: Callable[[], object], process: BaseProcess) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_for(pattern: str, folder: Path, process: BaseProcess) -> None:
    wait_until(lambda: list(folder.glob(pattern)), process)
    assert process.is_alive()


def finish(process: BaseProcess) -> None:
    process.join(DEADLINE_S)
    assert process.exitcode == 0


def numbers(run: Run) -> list[dict[str, float]]:
    """The rows of `metrics.csv` without what a clock says."""
    clocks = {"seconds", "images_per_s", "wait_share", "val_seconds"}
    return [{name: row[name] for name in row.keys() - clocks} for row in run.rows]


def assert_same(first: Run, second: Run) -> None:
    for which in ("last", "best"):
        one, other = (load_tensors(run.folder.weights_file(which))[0] for run in (first, second))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert numbers(first) == numbers(second)
    assert first.test["metrics"] == second.test["metrics"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 90 JPEGs of three colours."""
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for i in range(30):
            pixels = generator.integers(0, 160, (40, 40, 3), dtype=np.uint8)
            pixels[..., 2 - label] += 60
            Image.fromarray(pixels).save(folder / name / f"{i:02}.jpg")
    return folder


def kill_again_and_again(
    start_training: Start, run: Path, words: list[str], longest_s: float, seed: int
) -> int:
    """Begins a training and goes on with it, each time killed after a random time.

    Returns: how many different steps it stood at.
    """
    clock, stood, folder = random.Random(seed), set(), run / "state"
    for number in range(KILLS):
        written = folder.stat().st_mtime_ns if number else 0
        process = start_training("--resume", run) if number else start_training(*words)
        wait_until(lambda old=written: folder.exists() and folder.stat().st_mtime_ns > old, process)
        process.join(clock.uniform(0.0, longest_s))
        process.kill()
        process.join()
        stood.add(max((file.name for file in run.glob("state/step-*")), default=""))
        if (run / "test.json").exists():
            break
    return len(stood)


@pytest.mark.parametrize(
    "how",
    [
        [],
        ["--set", "model.dropout=0.2", "--set", "optimizer.name=muon"],
        [*STREAM, "--set", "data.workers=0"],
        [*STREAM, "--set", "data.workers=2"],
        [*STREAM, "--set", "data.workers=4"],
    ],
    ids=["memory", "dropout", "no-workers", "two-workers", "four-workers"],
)
def test_killed_at_random_instants(
    start_training: Start, how: list[str], photos: Path, tmp_path: Path
) -> None:
    data = [str(photos), "--epochs", "6"] if STREAM[1] in how else ["digits", "--epochs", "1"]
    words = [*data, *TINY, *EVERY_STEP, *how, "--out", str(tmp_path)]
    finish(start_training(*words, "--name", "whole"))
    whole, killed = Run.open(tmp_path / "whole"), tmp_path / "killed"
    # Short enough that it does not end too soon where the machine grows faster meanwhile.
    longest_s = 0.15 * whole.test["seconds"]
    words = [*words, "--name", "killed"]
    stood = kill_again_and_again(start_training, killed, words, longest_s, seed=len(how))
    assert stood >= 3  # it was killed where something was left to do
    if not (killed / "test.json").exists():
        finish(start_training("--resume", killed))
    assert_same(whole, Run.open(killed))
    assert not list(killed.rglob(".*"))


def test_killed_before_the_first_state(start_training: Start, tmp_path: Path) -> None:
    words = ["digits", "--epochs", "2", *TINY, "--out", tmp_path, "--name"]
    process = start_training(*words, "killed")
    wait_for("env.json", tmp_path / "killed", process)
    process.kill()
    process.join()
    killed = Run.open(tmp_path / "killed")
    assert not list(killed.folder.state.iterdir())
    killed.folder.state.rmdir()  # as after a copy that leaves out empty folders
    told: list[Event] = []
    train(resume=killed, notify=told.append)
    notes = [event.text for event in told if isinstance(event, Noted)]
    assert f"{killed.path} had saved no state yet: it begins again" in notes
    assert_same(
        train(
            "digits",
            model="lenet5",
            epochs=2,
            out=tmp_path,
            name="whole",
            settings=["plan=reference"],
        ),
        killed,
    )


def test_half_written_files_are_never_taken_for_real_ones(
    start_training: Start, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    words = ["digits", "--epochs", "40", *TINY, *EVERY_STEP, "--out", tmp_path, "--name", "killed"]
    process = start_training(*words)
    wait_for("state/step-*3.safetensors", run, process)
    process.kill()
    process.join()
    state = max((run / "state").glob("step-*"))
    step = int(state.stem.removeprefix("step-"))
    half = state.read_bytes()[: state.stat().st_size // 2]
    leftovers = [run / part / ".0123456789abcdef.tmp" for part in ("", "state", "weights")]
    for leftover in leftovers:
        leftover.write_bytes(half)
    (run / "state" / ".mine.tmp").write_text("a person's own")
    began: list[int] = []

    def look(event: Event) -> None:
        if isinstance(event, Started):
            began.append(event.step)
            raise RunError("seen enough")

    with pytest.raises(RunError, match="seen enough"):
        train(resume=run, notify=look)
    assert began == [step]
    assert not any(leftover.exists() for leftover in leftovers)
    assert (run / "state" / ".mine.tmp").exists()


@pytest.mark.parametrize("how", [[], [*STREAM, "--set", "data.workers=2"]], ids=["memory", "disk"])
def test_sigterm_saves_and_exits_within_its_grace(
    start_training: Start, how: list[str], photos: Path, tmp_path: Path
) -> None:
    words = [photos, "--epochs", "4000", *TINY, *how, "--out", tmp_path, "--name", "stopped"]
    process = start_training(*words, log=tmp_path / "log")
    wait_for("metrics.csv", tmp_path / "stopped", process)
    began = time.monotonic()
    process.terminate()
    process.join(DEADLINE_S)
    assert time.monotonic() - began < 5
    assert process.exitcode == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert "; saved" in lines[-2]
    assert lines[-1] == f"Go on with: convolens train --resume {tmp_path / 'stopped'}"
    assert len(list((tmp_path / "stopped" / "state").iterdir())) == 1


@pytest.mark.parametrize("which", ["val", "test"])
def test_a_stop_in_the_middle_of_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    options = {"model": "lenet5", "epochs": 2, "out": tmp_path, "settings": ["plan=reference"]}
    monkeypatch.setattr("convolens.train.evaluation.MOST_PICTURES", 100)
    whole = train("digits", name="whole", **options)
    prepare = Classify.prepare
    wanted = 3 if which == "val" else 6  # two batches validate in each epoch, four test
    seen: list[int] = []

    def ask_to_stop(self: Classify, pixels: torch.Tensor, *rest: object) -> object:
        if len(rest) == 2:  # no share: this is an evaluation
            seen.append(len(pixels))
            if len(seen) == wanted:
                os.kill(os.getpid(), signal.SIGTERM)
        return prepare(self, pixels, *rest)

    monkeypatch.setattr(Classify, "prepare", ask_to_stop)
    words = "stopped at epoch 2 of 2" if which == "val" else "stopped in the test after the last"
    with pytest.raises(StoppedError, match=words):
        train("digits", name="stopped", **options)
    monkeypatch.setattr(Classify, "prepare", prepare)
    stopped = Run.open(tmp_path / "stopped")
    assert len(stopped.rows) == (1 if which == "val" else 2)
    train(resume=stopped.path)
    assert_same(whole, stopped)
