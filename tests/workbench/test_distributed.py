"""Trainings by several real processes, against the same training by one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from convolens.train.checkpoint import load_tensors
from convolens.workbench.run import Run

Start = Callable[..., BaseProcess]
Group = list[BaseProcess]

DEADLINE_S = 90.0
# A sum of gradients in another order differs in the last bits, and each step adds to it.
TOLERANCE = 1e-5
PLAIN = ["--model", "lenet5", "--set", "plan=reference"]
NORMED = ["--model", "small_convnet", "--set", "plan=reference", "--set", "model.width=4"]
CHANGED = ["augment.rotation=10", "augment.flip=0.5", "augment.cutout=0.25", "average.decay=0.9"]
CHANGED += ["clip_norm=1.0", "penalty.l2=1e-4", "schedule.name=cosine"]


def settings(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


@pytest.fixture
def start_group(start_training: Start) -> Callable[..., Group]:
    """Starts `convolens train WORDS` in several processes, as torchrun does."""

    def start_group(world_size: int, *words: str | Path, **variables: str) -> Group:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        variables["WORLD_SIZE"] = str(world_size)
        return [
            start_training(
                *words, environment={**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            )
            for rank in range(world_size)
        ]

    return start_group


def statuses(group: Group) -> list[int | None]:
    for process in group:
        process.join(DEADLINE_S)
    return [process.exitcode for process in group]


def wait_for(pattern: str, folder: Path, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not list(folder.glob(pattern)):
        assert is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def distance(first: Run, second: Run) -> float:
    """The greatest ‖a − b‖ / ‖a‖ over the tensors of the last and the best weights."""
    distances = []
    for which in ("last", "best"):
        one, other = (load_tensors(run.folder.weights_file(which))[0] for run in (first, second))
        assert one.keys() == other.keys()
        for name, value in one.items():
            gap = (other[name] - value).double().norm() / value.double().norm().clamp(min=1e-12)
            distances.append(float(gap))
    return max(distances)


def assert_alike(first: Run, second: Run) -> None:
    assert distance(first, second) < TOLERANCE
    for one, other in zip(first.rows, second.rows, strict=True):
        names = [name for name in one if "loss" in name or "accuracy" in name]
        assert [other[n] for n in names] == pytest.approx([one[n] for n in names], rel=1e-4)
    assert second.test["metrics"] == pytest.approx(first.test["metrics"], rel=1e-4)


@pytest.mark.parametrize(
    ("world_size", "how"),
    [
        (2, [*PLAIN, *settings(*CHANGED)]),
        (4, [*PLAIN, *settings(*CHANGED, "accumulate=3")]),
        (3, [*NORMED, *settings("optimizer.name=sgd", "optimizer.lr=0.01")]),
        (2, [*PLAIN, *settings("optimizer.name=muon", "optimizer.lr=0.002")]),
    ],
    ids=["two", "four", "batch-norm", "muon"],
)
def test_the_same_result_as_one_process(
    start_group: Callable[..., Group], tmp_path: Path, world_size: int, how: list[str]
) -> None:
    words = ["digits", "--epochs", "2", "--batch", "90", "--out", tmp_path, *how, "--name"]
    assert statuses(start_group(1, *words, "one")) == [0]
    assert statuses(start_group(world_size, *words, "many")) == [0] * world_size
    one, many = Run.open(tmp_path / "one"), Run.open(tmp_path / "many")
    assert_alike(one, many)
    assert distance(one, many) > 0  # they did share the work
    assert {path.name for path in tmp_path.iterdir()} == {"log", "many", "one"}
    assert (tmp_path / "log").read_text().count("epoch 2/2") == 2  # one process shows it


def test_going_on_with_another_number_of_processes(
    start_group: Callable[..., Group], tmp_path: Path
) -> None:
    words = ["digits", "--epochs", "3", "--out", tmp_path, *PLAIN, *settings(*CHANGED), "--name"]
    assert statuses(start_group(2, *words, "whole")) == [0, 0]
    run = tmp_path / "stopped"
    slow = settings("checkpoint.every_steps=5")
    group = start_group(2, *words, "stopped", *slow)
    wait_for("state/step-*", run, group[0].is_alive)
    group[1].terminate()  # asking one is asking all
    assert statuses(group) == [1, 1]
    told = [line for line in (tmp_path / "log").read_text().splitlines() if "saved" in line]
    assert len(told) == 1
    assert "stopped at epoch" in told[0]
    for world_size in (1, 2, 3):
        copy = tmp_path / f"on-{world_size}"
        shutil.copytree(run, copy)
        assert statuses(start_group(world_size, "--resume", copy)) == [0] * world_size
        assert_alike(Run.open(tmp_path / "whole"), Run.open(copy))
    # With the same number of processes it is the same sum in the same order.
    assert distance(Run.open(tmp_path / "whole"), Run.open(tmp_path / "on-2")) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "convolens: epochs must be a whole number of at least 1, received 0"),
        (["--epochs", "three"], "convolens: Invalid value for '--epochs'"),
        (["--batch", "2"], "convolens: batch_size 2 is too small for 3 processes: expected at"),
        (["--find-lr"], "convolens: --find-lr runs in one process"),
        (
            [*settings("optimizer.name=sgd", "optimizer.lr=1e30", "model.activation=relu")],
            "convolens: training diverged: the loss is",
        ),
    ],
)
def test_a_mistake_is_told_once(
    start_group: Callable[..., Group], tmp_path: Path, words: list[str], message: str
) -> None:
    group = start_group(3, "digits", *PLAIN, *words, "--out", tmp_path / "runs")
    assert all(status in (1, 2) for status in statuses(group))
    told = (tmp_path / "log").read_text()
    assert message in told
    assert told.count("convolens:") == 1
    assert not list(tmp_path.glob("runs/*"))


def test_other_pictures_on_another_machine(
    start_group: Callable[..., Group], start: Start, stripes: Path, tmp_path: Path
) -> None:
    fewer = tmp_path / "elsewhere" / stripes.name
    shutil.copytree(stripes, fewer)
    for name in ("00.png", "01.png", "02.png", "03.png", "04.png", "05.png"):
        (fewer / "down" / name).unlink()
    code = "import os; os.chdir(folder); from convolens.cli import main; main(words)"
    words = ["train", stripes.name, *PLAIN, "--batch", "8", "--out", str(tmp_path / "runs")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        variables = {"WORLD_SIZE": "2", "MASTER_PORT": str(free.getsockname()[1])}
    group = [
        start(code, folder=str(folder), words=words, environment={**variables, "RANK": str(rank)})
        for rank, folder in enumerate((stripes.parent, fewer.parent))
    ]
    assert statuses(group) == [1, 2]
    told = (tmp_path / "log").read_text()
    assert "convolens: process 1 has found other data than process 0: stripes has" in told
    assert told.count("convolens:") == 1


def torchrun(*words: str | Path, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True)


def worker(parent: int, rank: int) -> int | None:
    """The process id of torchrun's worker of this rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_child = f"\nPPid:\t{parent}\n" in (folder / "status").read_text()
            if is_child and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(
                b"\0"
            ):
                return int(folder.name)
        except OSError:
            continue
    return None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds workers in /proc")
def test_torchrun_starts_a_lost_worker_again(
    start_group: Callable[..., Group], tmp_path: Path
) -> None:
    words = ["digits", "--epochs", "6", *PLAIN, *settings("checkpoint.every_steps=3")]
    words += ["--out", str(tmp_path), "--name"]
    runner = torchrun(
        "--standalone", "--nproc-per-node", "2", "--max-restarts", "1", "--monitor-interval", "0.1",
        "-m", "convolens", "train", *words, "lost", cwd=tmp_path,
    )  # fmt: skip
    wait_for("lost/state/step-*", tmp_path, lambda: runner.poll() is None)
    victim = worker(runner.pid, rank=1)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    _, told = runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 0, told
    assert statuses(start_group(2, *words, "whole")) == [0, 0]
    assert distance(Run.open(tmp_path / "whole"), Run.open(tmp_path / "lost")) == 0
    assert "bug in convolens" not in told


def test_sigterm_to_torchrun_saves_once(tmp_path: Path) -> None:
    words = ["digits", "--epochs", "2000", *PLAIN, "--out", str(tmp_path), "--name", "stopped"]
    runner = torchrun(
        "--standalone", "--nproc-per-node", "2", "-m", "convolens", "train", *words, cwd=tmp_path
    )
    wait_for("stopped/metrics.csv", tmp_path, lambda: runner.poll() is None)
    runner.send_signal(signal.SIGTERM)
    _, told = runner.communicate(timeout=DEADLINE_S)
    assert told.count("; saved") == 1
    assert f"Go on with: convolens train --resume {tmp_path / 'stopped'}" in told
    assert len(list((tmp_path / "stopped" / "state").iterdir())) == 1
    assert not Run.open(tmp_path / "stopped").is_complete


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_other_tasks_give_the_result_of_one_process(
    start_group: Callable[..., Group], squares: Path, tmp_path: Path, task: str
) -> None:
    words = {
        "segment": [squares / "masks", "--model", f"{squares}/dots.py:dots"],
        "detect": [squares / "boxes", "--model", "yolo", "--set", "model.width=0.25"],
    }[task]
    size = ["--set", "data.image_size=64"] if task == "detect" else []
    rest = ["--epochs", "1", "--batch", "6", "--out", tmp_path, "--no-report", *size]
    rest += settings("plan=reference", "data.val_fraction=0.2", "optimizer.name=sgd")
    assert statuses(start_group(1, *words, *rest, "--name", "one")) == [0]
    assert statuses(start_group(2, *words, *rest, "--name", "many")) == [0, 0]
    one, many = Run.open(tmp_path / "one"), Run.open(tmp_path / "many")
    if task == "segment":
        assert distance(one, many) < TOLERANCE
    # Which point finds which object is a choice, so that a detector's steps do not stay as near.
    assert many.test["metrics"] == pytest.approx(one.test["metrics"], rel=1e-3, abs=1e-3)
    assert many.rows[0]["train_loss"] == pytest.approx(one.rows[0]["train_loss"], rel=1e-4)
