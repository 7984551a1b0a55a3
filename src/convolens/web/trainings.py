"""Trainings that the app has started: each is a process of its own, which a signal stops."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convolens.errors import ConfigError, RunError
from convolens.train.run import check_run_name
from convolens.web.folders import Folders
from convolens.workbench.train import configure

COMMAND = (sys.executable, "-m", "convolens", "train")
LAST_BYTES = 6_000
_GRACE_S = 60.0  # a step of a large network, and its weights on the disk
_EPOCH = re.compile(r"^epoch +(\d+)/(\d+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be trained; None or "" is the recipe's own."""

    data: str
    model: str = ""
    recipe: str = ""
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int | None = None
    device: str = ""
    name: str = ""

    @property
    def settings(self) -> tuple[str, ...]:
        """What `--set` takes."""
        return () if self.lr is None else (f"optimizer.lr={self.lr:g}",)


@dataclass(kw_only=True, eq=False)
class Training:
    """A training that runs, or has run.

    Args:
        run: the Run's path.
        process: the process.
        log: the file with what it says.
    """

    run: str
    process: "subprocess.Popen[bytes]"
    log: Path
    is_stopping: bool = False

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def state(self) -> str:
        """In one word or two."""
        status = self.process.poll()
        if status is None:
            return "stopping" if self.is_stopping else "training"
        if status == 0:
            return "complete"
        return "stopped" if self.is_stopping else "failed"

    def said(self) -> str:
        """The last lines of what it says."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - LAST_BYTES))
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def progress(self) -> tuple[int, int] | None:
        """Epochs done, and in all; None before the first."""
        found = _EPOCH.findall(self.said())
        return (int(found[-1][0]), int(found[-1][1])) if found else None


class Trainings:
    """The trainings of this app, the newest first; they end with it, and are saved.

    Args:
        folders: where Runs go, and where data may be read.
    """

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._logs = tempfile.TemporaryDirectory(prefix="convolens-app-")
        self.all: list[Training] = []

    def start(self, order: Order) -> Training:
        """Starts a training.

        Raises:
            ConvolensError: when a word of the order is wrong.
        """
        words = self._words(order)
        out = self._folders.out
        name = order.name.strip() or self._free_name(out, order)
        check_run_name(name)
        path = out / name
        if path.exists() or self.running(str(path)):
            raise RunError(f"{path} already exists", "Choose another name.")
        return self._begin(str(path), [f"--out={out}", f"--name={name}", *words])

    def resume(self, run: str) -> Training:
        """Goes on with a Run that is not complete.

        Raises:
            RunError: when it trains already, or is no Run of these folders.
        """
        path = self._folders.run(run)
        if self.running(run):
            raise RunError(f"{run} is training already")
        root = self._folders.data_root
        return self._begin(run, [f"--resume={path}", *([f"--data-root={root}"] if root else [])])

    def stop(self, run: str) -> None:
        """Asks a training to save and end.

        Raises:
            RunError: when the app has not started it.
        """
        training = self.running(run)
        if training is None:
            raise RunError(f"{run} is not a training of this app", "Stop it where it was started.")
        training.is_stopping = True
        training.process.terminate()

    def running(self, run: str) -> Training | None:
        """The training of a Run, while it runs."""
        return next((t for t in self.all if t.run == run and t.is_running), None)

    def forget(self, training: Training) -> None:
        """Takes a training that has ended off the list."""
        if not training.is_running:
            self.all.remove(training)

    def close(self) -> None:
        """Stops all trainings, waits until they are saved, and removes what they said."""
        for training in self.all:
            if training.is_running:
                self.stop(training.run)
        end = time.monotonic() + _GRACE_S
        for training in self.all:
            try:
                training.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                training.process.kill()
                training.process.wait()
        self._logs.cleanup()

    def _words(self, order: Order) -> list[str]:
        """The words of `convolens train`, after they have been looked at."""
        data = self._folders.check_data(order.data)
        model = self._folders.check_model(order.model) if order.model.strip() else ""
        for what, number in (("epochs", order.epochs), ("batch", order.batch)):
            if number is not None and number < 1:
                raise ConfigError(f"{what} must be at least 1, received {number}")
        root = self._folders.data_root
        configure(
            data,
            model=model or None,
            recipe=order.recipe or None,
            epochs=order.epochs,
            batch=order.batch,
            device=order.device or None,
            seed=order.seed,
            data_root=root,
            strict=None,
            weights=None,
            settings=order.settings,
        )
        options = {
            "model": model or None,
            "recipe": order.recipe or None,
            "epochs": order.epochs,
            "batch": order.batch,
            "device": order.device or None,
            "seed": order.seed,
            "data-root": root,
        }
        # "--key=value" and "--": a word that begins with a dash is no option of its own.
        words = [f"--{key}={value}" for key, value in options.items() if value is not None]
        return [*words, *(f"--set={setting}" for setting in order.settings), "--", data]

    def _free_name(self, out: Path, order: Order) -> str:
        stem = "-".join(_plain(word) for word in (order.data, order.model) if word.strip())
        taken = {training.run for training in self.all}
        number = 1
        while (out / f"{stem}-{number}").exists() or str(out / f"{stem}-{number}") in taken:
            number += 1
        return f"{stem}-{number}"

    def _begin(self, run: str, words: Sequence[str]) -> Training:
        log = Path(self._logs.name) / f"{len(self.all)}-{time.monotonic_ns()}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(  # in a session of its own: Ctrl-C is for the app
                [*COMMAND, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        training = Training(run=run, process=process, log=log)
        self.all.insert(0, training)
        return training


def _plain(word: str) -> str:
    """A word as a part of a folder's name; a network in notation has none of its own."""
    if any(sign in word for sign in "|>→"):
        return "own"
    return re.sub(r"[^\w.]+", "-", word.strip().rstrip("/").rpartition("/")[2]).strip("-.") or "run"
