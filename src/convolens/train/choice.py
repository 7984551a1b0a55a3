"""The choice of a Plan: what was measured, what was taken, and how it is remembered."""

import functools
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convolens.errors import RunError
from convolens.nn.kernels.build import kernels_version
from convolens.train.files import make_folder, read_json, write_json
from convolens.train.plan import Plan

MOST_MEASURED = 3  # a training that never runs at its trial's speed is not tried for ever


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one candidate did.

    Args:
        seconds: of one forward and backward pass, the shortest of several.
        loss_error: |L − L_ref| / |L_ref|.
        gradient_error: ‖g − g_ref‖ / ‖g_ref‖ over all parameters together.
        accepted: whether both errors are within the bounds of the precision.
        failure: the error that it raised, if it raised one.
    """

    plan: Plan
    seconds: float
    loss_error: float
    gradient_error: float
    accepted: bool
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The plan that was chosen, and why.

    Args:
        plan: the fastest that agrees with the reference.
        trials: what was tried, the reference first; empty where nothing was measured.
        batch_size: pictures in the measured pass.
        seconds: how long the measuring took.
        from_cache: whether an earlier training of the same shape measured it.
        missing: what this machine lacks to try more, in one sentence.
        remembered: the file in the cache's folder `plans` that holds it, if one does.
        measured: how often plans for this shape were measured here.
        doubt: why a remembered choice should be measured again, if it should.
    """

    plan: Plan
    trials: tuple[Trial, ...] = ()
    batch_size: int = 0
    seconds: float = 0.0
    from_cache: bool = False
    missing: str | None = None
    remembered: str | None = None
    measured: int = 1
    doubt: str | None = None

    @property
    def speedup(self) -> float:
        """How many times faster a pass is than the reference's."""
        mine = [trial.seconds for trial in self.trials if trial.plan == self.plan]
        return self.trials[0].seconds / mine[0] if mine else 1.0

    def describe(self) -> str:
        """One line for a person."""
        plan = self.plan
        threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
        words = [
            "channels-last" if plan.channels_last else "NCHW",
            plan.precision if plan.half_forward else f"{plan.precision} for gradients alone",
            *(["own kernels"] if plan.kernels else []),
            *(["compiled"] if plan.compiled else []),
            *([threads] if plan.threads else []),
            *([f"{plan.micro_batch} pictures at a time"] if plan.micro_batch else []),
        ]
        source = "from an earlier run" if self.from_cache else f"measured in {self.seconds:.1f} s"
        lack = f"; without own kernels: {self.missing}" if self.missing else ""
        speed = f"{self.speedup:.1f} times the default's speed ({source})"
        return f"plan: {', '.join(words)}; {speed}{lack}"


def to_json(choice: Choice) -> dict[str, Any]:
    """The choice as plain values, as `env.json` holds it."""
    tree = asdict(choice)
    for trial in tree["trials"]:
        for name in ("seconds", "loss_error", "gradient_error"):
            value = trial[name]
            trial[name] = float(f"{value:.4g}") if value < float("inf") else None
    tree["seconds"] = round(tree["seconds"], 3)
    return tree


@functools.cache
def trial_version() -> str:
    """Changes whenever the trial does, or what it tries and accepts."""
    names = ("plan.py", "trials.py")
    contents = (Path(__file__).with_name(name).read_bytes() for name in names)
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]


def cache_file(
    cache: Path | None, network: nn.Module, plans: Sequence[Plan], inputs: Tensor, asked: str
) -> Path | None:
    """Where the choice for this network, batch and machine is remembered.

    Args:
        asked: what else the choice depends on.
    """
    if cache is None:
        return None
    names = torch.cuda.get_device_name() if plans[0].device == "cuda" else ""
    key = "\n".join(
        (
            str(network),
            str(tuple(inputs.shape)),
            torch.__version__,
            kernels_version(),
            trial_version(),
            torch.backends.cpu.get_cpu_capability(),
            str(torch.get_num_threads()),
            names,
            json.dumps([asdict(plan) for plan in plans]),
            asked,
        )
    )
    return cache / "plans" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def remember(file: Path | None, choice: Choice) -> Choice:
    """Writes a choice where the next training finds it; returns it with the file's name."""
    if file is None:
        return choice
    kept = replace(choice, remembered=file.name)
    try:
        make_folder(file.parent)
        write_json(file, to_json(kept))
    except RunError:  # a choice that cannot be remembered is made again
        return choice
    return kept


def recall(file: Path | None, plans: Sequence[Plan]) -> Choice | None:
    """A remembered choice, where it can be read and grew from one of the candidates."""
    if file is None or not file.is_file():
        return None
    try:
        tree = read_json(file)
        trials = tuple(_trial(trial) for trial in tree["trials"])
        choice = Choice(**{**tree, "plan": Plan(**tree["plan"]), "trials": trials})
    except (RunError, KeyError, TypeError):
        return None
    grown_from = replace(choice.plan, compiled=False, threads=0, micro_batch=0)
    return replace(choice, from_cache=True) if grown_from in plans else None


def is_settled(choice: Choice) -> bool:
    """Whether a remembered choice is to be used as it is."""
    return choice.doubt is None or choice.measured >= MOST_MEASURED


def mark_doubtful(file: Path, doubt: str) -> None:
    """Lets the next training of the same shape measure again."""
    if file.is_file():
        with suppress(RunError):
            write_json(file, {**read_json(file), "doubt": doubt})


def _trial(tree: dict[str, Any]) -> Trial:
    numbers = {
        name: float("inf") if tree[name] is None else tree[name]
        for name in ("seconds", "loss_error", "gradient_error")
    }
    return Trial(**{**tree, **numbers, "plan": Plan(**tree["plan"])})
