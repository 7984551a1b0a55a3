import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convolens.errors import ConfigError, ConvolensError, DataError, RunError
from convolens.web.folders import Folders
from convolens.web.trainings import LAST_BYTES, Order, Training, Trainings


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    all_of_them = Trainings(Folders(runs=(tmp_path / "runs",)))
    yield all_of_them
    all_of_them.close()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        (Order(data="../x"), DataError, "is no dataset's name"),
        (Order(data="--help"), DataError, "is no dataset's name"),
        (Order(data="digits", model="net.py:Net"), ConfigError, "the app runs no files"),
        (Order(data="digits", recipe="magic"), ConfigError, "no recipe called 'magic'"),
        (Order(data="digits", epochs=0), ConfigError, "epochs must be at least 1, received 0"),
        (Order(data="digits", batch=-1), ConfigError, "batch must be at least 1, received -1"),
        (Order(data="digits", lr=-1.0), ConfigError, "lr"),
        (Order(data="digits", name="../x"), RunError, "must be the name of a folder"),
    ],
)
def test_a_wrong_order_starts_nothing(
    trainings: Trainings, order: Order, error: type[ConvolensError], words: str
) -> None:
    with pytest.raises(error, match=words):
        trainings.start(order)
    assert trainings.all == []


def test_the_words_of_the_command(trainings: Trainings, tmp_path: Path, monkeypatch) -> None:
    begun = []
    monkeypatch.setattr(trainings, "_begin", lambda run, words: begun.append((run, words)))
    order = Order(data="digits", model="1x32x32 | fc 10", epochs=2, lr=0.01, seed=0, device="cpu")
    trainings.start(order)
    run, words = begun[0]
    assert run == str(tmp_path / "runs/digits-own-1")
    assert words == [
        *(f"--out={tmp_path}/runs", "--name=digits-own-1", "--model=1x32x32 | fc 10"),
        *("--epochs=2", "--device=cpu", "--seed=0", "--set=optimizer.lr=0.01", "--", "digits"),
    ]
    (tmp_path / "runs/digits-1").mkdir(parents=True)
    trainings.start(Order(data="digits"))
    assert begun[1][0] == str(tmp_path / "runs/digits-2")
    with pytest.raises(RunError, match="already exists"):
        trainings.start(Order(data="digits", name="digits-1"))


# A training as the app sees it: it says how far it is, and a signal makes it save and end.
STAND_IN = """
import signal, sys, time
def end(*_):
    print("convolens: stopped; saved", file=sys.stderr)
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
print(*sys.argv[1:], file=sys.stderr)
for epoch in range(1, 10**6):
    print(f"epoch {epoch:>3}/200  train loss 0.5", file=sys.stderr, flush=True)
    time.sleep(0.02)
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    command = (sys.executable, "-c", STAND_IN)
    monkeypatch.setattr("convolens.web.trainings.COMMAND", command)


def test_start_follow_and_stop(trainings: Trainings, tmp_path: Path, stand_in: None) -> None:
    training = trainings.start(Order(data="digits", epochs=200, name="long"))
    assert (training.run, training.state) == (str(tmp_path / "runs/long"), "training")
    until(lambda: (training.progress() or (0, 0)) > (3, 0))
    assert (training.progress() or (0, 0))[1] == 200
    with pytest.raises(RunError, match="already exists"):
        trainings.start(Order(data="digits", name="long"))
    trainings.stop(training.run)
    assert training.state in ("stopping", "stopped")
    until(lambda: not training.is_running)
    assert training.state == "stopped"
    assert training.said().endswith("convolens: stopped; saved\n")
    with pytest.raises(RunError, match="is not a training of this app"):
        trainings.stop(training.run)
    trainings.forget(training)
    assert trainings.all == []


def test_going_on_with_a_run(trainings: Trainings, tmp_path: Path, stand_in: None) -> None:
    run = tmp_path / "runs/half"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    training = trainings.resume(str(run))
    until(lambda: training.progress() is not None)
    assert training.said().startswith(f"--resume={run}\n")
    with pytest.raises(RunError, match="is training already"):
        trainings.resume(str(run))
    with pytest.raises(RunError, match="is not in the folders"):
        trainings.resume(str(tmp_path))
    trainings.close()
    assert training.state == "stopped"


def test_the_last_that_it_says_is_read_of_a_long_log(trainings: Trainings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"epoch {n}/5000  train loss 0.5\n" for n in range(1, 5001)))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    training = Training(run="a", process=process, log=log)
    assert training.progress() == (5000, 5000)
    assert len(training.said()) <= LAST_BYTES


def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        words = [sys.executable, "-c", "import sys; sys.exit('convolens: no such thing')"]
        process = subprocess.Popen(words, stderr=file)
    process.wait()
    training = Training(run="a", process=process, log=log)
    assert training.state == "failed"
    assert training.said() == "convolens: no such thing\n"
    assert training.progress() is None


def test_only_its_own_trainings_are_stopped(trainings: Trainings) -> None:
    with pytest.raises(RunError, match="is not a training of this app"):
        trainings.stop("/proc/1")
