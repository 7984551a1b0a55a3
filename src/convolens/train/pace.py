"""Whether a training runs at the speed that the trial of its plan promised."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from convolens.data.root import cache_folder
from convolens.errors import RunError
from convolens.train.files import read_json, write_json
from convolens.train.plan import Plan
from convolens.train.run import RunFolder

SKIPPED = 2  # the first steps claim memory
MEASURED = 10
MOST_FACTOR = 2.0  # more than two trials of one plan on a quiet machine differ


class Pace:
    """Times the first forward and backward passes of a training.

    A plan may have been measured while other work kept the machine busy. Where the quickest of
    the passes takes less than half or more than twice the time of the trial, per picture, the
    remembered plan becomes doubtful, and the next training of the same shape measures again.
    This training keeps its plan, so that it can be resumed to the same bits.

    Args:
        folder: the Run, whose `env.json` holds the trial and gets what was found as "check".
        plan: the plan that is used.
        cache: where choices are remembered; None is a cache folder of the user's.
    """

    def __init__(self, folder: RunFolder, plan: Plan, cache: Path | None = None) -> None:
        self._folder, self._plan = folder, plan
        self._cache = cache or cache_folder()
        self._passes = 0
        self._least = float("inf")

    @contextmanager
    def timing(self, num_images: int) -> Iterator[None]:
        """Times what is inside, the pass of a batch, as long as that is wanted."""
        if self._passes == SKIPPED + MEASURED:
            yield
            return
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        seconds = (time.perf_counter() - began) / num_images
        self._passes += 1
        if self._passes > SKIPPED:
            self._least = min(self._least, seconds)
        if self._passes == SKIPPED + MEASURED:
            with suppress(RunError):  # a Run without a readable env.json is none the worse
                self._conclude()

    def _wait(self) -> None:
        if self._plan.device == "cuda":
            torch.cuda.synchronize()

    def _conclude(self) -> None:
        env = read_json(self._folder.env_file)
        promised = _promised(env, self._plan)
        if promised is None:
            return
        factor = self._least / promised
        doubtful = not 1 / MOST_FACTOR <= factor <= MOST_FACTOR
        found = {
            "passes": MEASURED,
            "trial_seconds_per_image": float(f"{promised:.4g}"),
            "seconds_per_image": float(f"{self._least:.4g}"),
            "factor": float(f"{factor:.3g}"),
            "doubtful": doubtful,
        }
        write_json(self._folder.env_file, {**env, "check": found})
        if doubtful:
            file = self._cache / "plans" / str(env["remembered"])
            if env.get("remembered") and file.is_file():
                write_json(file, {**read_json(file), "doubt": f"{factor:.3g} times its trial"})


def _promised(env: Any, plan: Plan) -> float | None:
    """The trial's seconds for one picture; None where this plan was not tried."""
    try:
        (seconds,) = [t["seconds"] for t in env["trials"] if t["plan"] == plan.to_json()]
        return float(seconds) / int(env["batch_size"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
