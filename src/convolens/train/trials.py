"""Choosing a Plan by trying candidates on the real network and the real pictures."""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convolens.errors import RunError
from convolens.train.files import make_folder, read_json, write_json
from convolens.train.plan import Plan, Precision, has_fast_bfloat16

BUDGET_S = 1.5
MAX_ROUNDS = 15
MIN_GAIN = 1.08  # another plan is taken only if it is faster by more than noise
# Largest relative difference from the reference's loss and gradients, by precision.
BOUNDS: Mapping[Precision, tuple[float, float]] = {
    "float32": (1e-4, 1e-2),
    "bfloat16": (3e-2, 2e-1),
}

LossOf = Callable[[Any, Any], Tensor]


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
    """

    plan: Plan
    trials: tuple[Trial, ...] = ()
    batch_size: int = 0
    seconds: float = 0.0
    from_cache: bool = False
    missing: str | None = None

    @property
    def speedup(self) -> float:
        """How many times faster a pass is than the reference's."""
        mine = [trial.seconds for trial in self.trials if trial.plan == self.plan]
        return self.trials[0].seconds / mine[0] if mine else 1.0

    def describe(self) -> str:
        """One line for a person."""
        words = [
            "channels-last" if self.plan.channels_last else "NCHW",
            self.plan.precision,
            *(["own kernels"] if self.plan.kernels else []),
        ]
        source = "from an earlier run" if self.from_cache else f"measured in {self.seconds:.1f} s"
        lack = f"; without own kernels: {self.missing}" if self.missing else ""
        speed = f"{self.speedup:.1f} times the default's speed ({source})"
        return f"plan: {', '.join(words)}; {speed}{lack}"


def candidates(device: str, kernels: bool) -> list[Plan]:
    """The plans worth trying on a device.

    Returns: the reference, which is PyTorch's default, then the plan that is taken where none
        is clearly faster, then the others.
    """
    reference = Plan(device=device, precision="float32", channels_last=False)
    last = replace(reference, channels_last=True)
    plans = [reference, last]
    if kernels:
        plans.append(replace(last, kernels=True))
    if has_fast_bfloat16(device):
        plans += [
            replace(last, precision="bfloat16"),
            replace(reference, precision="bfloat16"),
        ]
    return plans


def choose_by_trial(
    network: nn.Module,
    plans: Sequence[Plan],
    inputs: Tensor,
    targets: Any,
    loss_of: LossOf,
    *,
    cache: Path | None,
) -> Choice:
    """The fastest of the plans whose loss and gradients agree with the first one's.

    The network is copied for every candidate and stays as it was.

    Args:
        network: on the CPU, with its initial weights.
        plans: the candidates as `candidates` orders them.
        inputs, targets: one batch as the task prepares it.
        loss_of: the loss of outputs and targets.
        cache: a folder of the user's where choices are remembered; None remembers nothing.
    """
    file = _cache_file(cache, network, plans, inputs)
    remembered = _read(file, plans)
    if remembered is not None:
        return remembered
    began = time.perf_counter()
    inputs, targets = _affordable(network, plans[0], inputs, targets, loss_of)
    runners = [_Runner(network, plan, inputs, targets, loss_of) for plan in plans]
    for round_number in range(MAX_ROUNDS):
        for runner in runners:  # in turn, so that a disturbance meets all of them
            runner.run()
        if round_number and time.perf_counter() - began > BUDGET_S:
            break
    trials = tuple(runner.trial(runners[0]) for runner in runners)
    best = next(trial for trial in (*trials[1:], trials[0]) if trial.accepted)
    for trial in trials:
        if trial.accepted and trial.seconds * MIN_GAIN < best.seconds:
            best = trial
    choice = Choice(
        plan=best.plan,
        trials=trials,
        batch_size=len(inputs),
        seconds=time.perf_counter() - began,
    )
    if file is not None:
        with suppress(RunError):  # a choice that cannot be remembered is made again
            make_folder(file.parent)
            write_json(file, to_json(choice))
    return choice


class _Runner:
    """One candidate: a copy of the network, placed as its plan says."""

    def __init__(
        self, network: nn.Module, plan: Plan, inputs: Tensor, targets: Any, loss_of: LossOf
    ) -> None:
        self.plan = plan
        self.failure: str | None = None
        self.seconds = float("inf")
        self.loss = float("nan")
        self.gradient = torch.zeros(0)
        self._targets, self._loss_of = targets, loss_of
        try:
            self._model = plan.place(copy.deepcopy(network)).train()
            self._inputs = plan.arrange(inputs.to(plan.device))
            self._targets = targets.to(plan.device)
            self._pass()
            gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
            self.gradient = torch.cat([g.detach().float().cpu().flatten() for g in gradients])
        except RuntimeError as error:  # an operation that lacks this layout or precision
            self.failure = str(error).splitlines()[0]

    def _pass(self) -> None:
        self.plan.seed(0)
        self._model.zero_grad(set_to_none=True)
        with self.plan.autocast():
            outputs = self._model(self._inputs)
        loss = self._loss_of(outputs, self._targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.loss = float(loss.detach())

    def run(self) -> None:
        if self.failure is None:
            began = time.perf_counter()
            self._pass()
            self.seconds = min(self.seconds, time.perf_counter() - began)

    def trial(self, reference: "_Runner") -> Trial:
        if self.failure is not None:
            return Trial(
                plan=self.plan,
                seconds=float("inf"),
                loss_error=float("inf"),
                gradient_error=float("inf"),
                accepted=False,
                failure=self.failure,
            )
        loss_error = abs(self.loss - reference.loss) / max(abs(reference.loss), 1e-12)
        size = max(float(reference.gradient.norm()), 1e-12)
        gradient_error = float((self.gradient - reference.gradient).norm()) / size
        most_loss, most_gradient = BOUNDS[self.plan.precision]
        return Trial(
            plan=self.plan,
            seconds=self.seconds,
            loss_error=loss_error,
            gradient_error=gradient_error,
            accepted=loss_error <= most_loss and gradient_error <= most_gradient,
        )


def _affordable(
    network: nn.Module, reference: Plan, inputs: Tensor, targets: Any, loss_of: LossOf
) -> tuple[Tensor, Any]:
    """The batch, or as much of it as the candidates can be tried on within the budget."""
    few = min(len(inputs), 8)
    runner = _Runner(network, reference, inputs[:few], targets[:few], loss_of)
    runner.run()
    if runner.failure is not None:
        return inputs, targets
    affordable = int(BUDGET_S / 8 / (runner.seconds / few))
    size = min(len(inputs), max(few, affordable))
    return inputs[:size], targets[:size]


def _cache_file(
    cache: Path | None, network: nn.Module, plans: Sequence[Plan], inputs: Tensor
) -> Path | None:
    if cache is None:
        return None
    names = torch.cuda.get_device_name() if plans[0].device == "cuda" else ""
    key = "\n".join(
        (
            str(network),
            str(tuple(inputs.shape)),
            torch.__version__,
            torch.backends.cpu.get_cpu_capability(),
            str(torch.get_num_threads()),
            names,
            json.dumps([asdict(plan) for plan in plans]),
        )
    )
    return cache / "plans" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def to_json(choice: Choice) -> dict[str, Any]:
    """The choice as plain values, as `env.json` holds it."""
    tree = asdict(choice)
    for trial in tree["trials"]:
        for name in ("seconds", "loss_error", "gradient_error"):
            value = trial[name]
            trial[name] = float(f"{value:.4g}") if value < float("inf") else None
    tree["seconds"] = round(tree["seconds"], 3)
    return tree


def _read(file: Path | None, plans: Sequence[Plan]) -> Choice | None:
    """A remembered choice, where it can be read and is one of the candidates."""
    if file is None or not file.is_file():
        return None
    try:
        tree = read_json(file)
        trials = tuple(
            Trial(
                **{
                    **trial,
                    "plan": Plan(**trial["plan"]),
                    **{
                        name: float("inf") if trial[name] is None else trial[name]
                        for name in ("seconds", "loss_error", "gradient_error")
                    },
                }
            )
            for trial in tree["trials"]
        )
        choice = Choice(**{**tree, "plan": Plan(**tree["plan"]), "trials": trials})
    except (RunError, KeyError, TypeError):
        return None
    return replace(choice, from_cache=True) if choice.plan in plans else None
