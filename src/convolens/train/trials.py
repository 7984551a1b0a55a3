"""Choosing a Plan by trying candidates on the real network and the real pictures."""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convolens.errors import UnavailableError
from convolens.nn.kernels.build import Half
from convolens.train.choice import Choice, Trial, cache_file, is_settled, recall, remember
from convolens.train.config import PlanConfig
from convolens.train.plan import Plan, Precision, has_fast_bfloat16
from convolens.train.runner import BOUNDS, LossOf, Runner, distance

# The trial takes a hundredth of the training, within these bounds.
SHARE = 0.01
LEAST_S, MOST_S = 1.5, 60.0
FIRST = 2 / 3  # of that: layouts, kernels and precisions; the rest refines the best of them
MAX_ROUNDS = 15
LEAST_ROUNDS = 5  # of plans whose times are near each other
NEAR = 1.5
MIN_GAIN = 1.08  # another plan is taken only if it is faster by more than noise
RECONSIDER_GAIN = 1.25  # a remembered plan is left only for a clearly better one
SMALLEST_PART = 16  # pictures; smaller parts of a batch leave the processor idle
# Trainings of fewer passes end before trying more has paid. These are numbers of passes, not
# seconds, so that the same training always tries the same.
REFINE_FROM = 1_000
COMPILE_FROM = 20_000  # compiling takes half a minute or more
# A loss that chooses, such as which box finds which object, jumps where rounding turns a choice.
# There outputs and their gradient are compared instead, and the loss may differ by this part.
CHOOSING_LOSS = 1e-2
# What that gradient may differ by where the reference itself is far from float64: a decimal digit
# more, as Winograd's convolutions lose, and never more than this.
DIGIT, MOST_GRADIENT = 10, 5e-2

# In half precision ReLUs turn, which moves a deep network's gradient by the root of the rounding.
# It may move by this part of what drawing other pictures moves it.
SHARE_OF_CHANCE = 1 / 3


def candidates(
    device: str,
    kernels: bool,
    precision: Precision | Literal["auto"] = "auto",
    *,
    half: Half | None = None,
) -> list[Plan]:
    """The plans worth trying on a device.

    Args:
        kernels: whether our own kernels can be used.
        precision: the one that a person wants, or "auto".
        half: the precision in which our own kernels multiply faster than in float32.
    Returns: the reference, which is PyTorch's default, then the plan that is taken where none
        is clearly faster, then the others.
    """
    reference = Plan(device=device, precision="float32", channels_last=False)
    last = replace(reference, channels_last=True)
    plans = [reference]
    if precision in ("auto", "float32"):
        plans.append(last)
        if kernels:
            plans.append(replace(last, kernels=True))
    low: list[Precision] = []
    if half is not None and precision in ("auto", half):
        plans.append(replace(last, kernels=True, precision=half))
        plans.append(replace(plans[-1], half_forward=False))
    if precision == "auto" and has_fast_bfloat16(device):
        low = ["bfloat16"]
    elif precision == "auto" and device == "cuda":  # a GPU from before bfloat16
        low = ["float16"]
    elif precision == "bfloat16" or (precision == "float16" and half != "float16"):
        low = [precision]  # without kernels, PyTorch's own takes a hundred times as long on a CPU
    for word in low:
        plans += [replace(last, precision=word), replace(reference, precision=word)]
    return plans


def refinements(plan: Plan, network: nn.Module, batch_size: int | None) -> list[Plan]:
    """Variants of the best plan: fewer threads, and a batch in parts that fit the cache.

    A network with batch norm takes its statistics from what goes through it at once, so its
    batch stays whole.

    Args:
        batch_size: pictures in a batch; None leaves it whole.
    """
    if plan.threads or plan.micro_batch:
        return []
    available = torch.get_num_threads() if plan.device == "cpu" else 1
    threads = {1, available // 2} if available >= 4 else {1}
    found = [replace(plan, threads=n) for n in sorted(threads) if n < available]
    if plan.device == "cpu" and batch_size is not None and not _mixes(network):
        sizes = [-(-batch_size // parts) for parts in (2, 4)]
        found += [replace(plan, micro_batch=size) for size in sizes if size >= SMALLEST_PART]
    return found


def choose_by_trial(
    network: nn.Module,
    plans: Sequence[Plan],
    inputs: Tensor,
    targets: Any,
    loss_of: LossOf,
    *,
    cache: Path | None,
    asked: PlanConfig | None = None,
    num_passes: int = REFINE_FROM,
) -> Choice:
    """The fastest of the plans whose loss and gradients agree with the first one's.

    The network is copied for every candidate and stays as it was.

    Args:
        network: on the CPU, with its initial weights.
        plans: the candidates as `candidates` orders them.
        inputs, targets: one batch as the task prepares it.
        loss_of: the loss of outputs and targets.
        cache: a folder of the user's where choices are remembered; None remembers nothing.
        asked: what a person wants of the plan.
        num_passes: of the whole training, which decide how much is tried.
    Raises:
        UnavailableError: when no plan of the precision that a person wants agrees with the
            first one, or a single picture does not fit into the device's memory.
    """
    asked = asked or PlanConfig()
    may_refine = num_passes >= REFINE_FROM
    may_compile = _may_compile(asked, plans[0].device, num_passes)
    depends_on = f"{asked.precision} {may_refine} {may_compile}"
    file = cache_file(cache, network, plans, inputs, depends_on)
    before = recall(file, plans)
    if before is not None and is_settled(before):
        return before
    began = time.perf_counter()
    tried = _Tried(network, inputs, targets, loss_of, asked.precision)
    plans = tried.fitting(plans)
    budget_s = tried.shorten(plans[0], num_passes)
    count = tried.batch_size
    old = [before.plan] if before is not None else []
    tried.time([*plans, *(plan for plan in old if plan not in plans)], began + FIRST * budget_s)
    best = tried.best([*old, *plans[1:], plans[0]], RECONSIDER_GAIN if old else MIN_GAIN)
    if may_refine and time.perf_counter() < began + budget_s:
        # What a part of a batch gains shows only where the whole of it is tried.
        further = refinements(best.plan, network, count if count == len(inputs) else None)
        tried.time([best.plan, *further], began + budget_s)
        best = tried.best([best.plan, *further], MIN_GAIN)
    if may_compile:
        compiled = replace(best.plan, compiled=True, kernels=False, half_forward=True)
        if best.plan.precision == "float16" and best.plan.kernels and asked.precision == "auto":
            compiled = replace(compiled, precision="float32")  # float16 was theirs alone
        tried.time([best.plan, compiled], time.perf_counter() + FIRST * budget_s)
        best = tried.best([best.plan, compiled], MIN_GAIN)
    choice = Choice(
        plan=best.plan,
        trials=tried.trials(),
        batch_size=count,
        seconds=time.perf_counter() - began,
        measured=before.measured + 1 if before is not None else 1,
    )
    return remember(file, choice)


def _may_compile(asked: PlanConfig, device: str, num_passes: int) -> bool:
    """Whether compiling is tried: on a CPU it takes longer than it gains, unless one knows more."""
    by_itself = device == "cuda" and num_passes >= COMPILE_FROM
    return asked.compile == "try" or (asked.compile == "auto" and by_itself)


class _Tried:
    """The candidates that were tried on one batch, the reference first."""

    def __init__(
        self, network: nn.Module, inputs: Tensor, targets: Any, loss_of: LossOf, precision: str
    ) -> None:
        self._network, self._loss_of, self._precision = network, loss_of, precision
        self._inputs, self._targets = inputs, targets
        self._runners: dict[Plan, Runner] = {}
        self._rounding: float | None = None  # how far the reference is from float64
        self._chance: float | None = None  # how far two batches' gradients are from each other

    def _runner(self, plan: Plan, count: int) -> Runner:
        inputs, targets = self._inputs[:count], self._targets[:count]
        return Runner(self._network, plan, inputs, targets, self._loss_of)

    @property
    def _reference(self) -> Runner:
        return next(iter(self._runners.values()))

    def fitting(self, plans: Sequence[Plan]) -> list[Plan]:
        """The plans, with the batch in parts where it does not fit into a GPU's memory."""
        count = part = len(self._inputs)
        while plans[0].device == "cuda":  # another system kills what asks for too much
            if not self._runner(_in_parts(plans[0], part, count), count).is_too_large:
                break
            part //= 2
            torch.cuda.empty_cache()
            if part == 0 or _mixes(self._network):
                raise UnavailableError(
                    f"a step of {count} pictures does not fit into the memory of the device",
                    "Choose a smaller --batch, or --set accumulate=2 or more.",
                )
        return [_in_parts(plan, part, count) for plan in plans]

    @property
    def batch_size(self) -> int:
        return len(self._inputs)

    def shorten(self, reference: Plan, num_passes: int) -> float:
        """Keeps as much of the batch as can be tried within the budget; returns the budget [s]."""
        few = min(len(self._inputs), 8)
        runner = self._runner(reference, few)
        runner.run()
        if runner.failure is not None:
            return LEAST_S
        picture_s = runner.seconds / few
        training_s = picture_s * len(self._inputs) * num_passes
        budget_s = min(max(SHARE * training_s, LEAST_S), MOST_S)
        count = min(len(self._inputs), max(few, int(budget_s / 8 / picture_s)))
        self._inputs, self._targets = self._inputs[:count], self._targets[:count]
        return budget_s

    def time(self, plans: Sequence[Plan], until: float) -> None:
        """Times plans in turn, so that a disturbance meets all of them."""
        for plan, runner in self._runners.items():
            if plan not in plans:
                runner.release()
        for plan in plans:
            if plan not in self._runners:
                self._runners[plan] = self._runner(plan, len(self._inputs))
                self._runners[plan].compare(self._reference)
                if twin := self._twin(self._runners[plan]):
                    self._runners[plan].failure = f"no other results than with {twin}"
                self._compare_chance(self._runners[plan])
                self._compare_outputs(self._runners[plan])
        for round_number in range(MAX_ROUNDS):
            turns = self._contenders(plans) if round_number >= 2 else plans
            is_enough = round_number >= (LEAST_ROUNDS if len(turns) > 1 else 2)
            if is_enough and time.perf_counter() > until:
                break
            for plan in turns:
                self._runners[plan].run()
                if not self._runners[plan].accepted:  # once, so that a person sees what it took
                    self._runners[plan].release()

    def _contenders(self, plans: Sequence[Plan]) -> list[Plan]:
        """Those that noise may yet bring to the front; measuring the others again is in vain."""
        accepted = [plan for plan in plans if self._runners[plan].accepted]
        least = min((self._runners[plan].seconds for plan in accepted), default=0.0)
        return [plan for plan in accepted if self._runners[plan].seconds <= NEAR * least]

    def _twin(self, runner: Runner) -> str | None:
        """With which other precision the kernels gave just what they gave with this one."""
        half = runner.plan.precision
        if half == "float32" or not runner.plan.kernels:
            return None
        most = replace(runner.plan, half_forward=True)
        for name, plan in (("float32", replace(most, precision="float32")), (half, most)):
            twin = self._runners.get(plan)
            results = None if twin is None else (twin.loss, twin.gradient_error)
            if twin is not runner and results == (runner.loss, runner.gradient_error):
                return name
        return None

    def _compare_outputs(self, runner: Runner) -> None:
        """Where loss or gradient differ: whether the outputs agree, and their gradient."""
        reference = self._reference
        if runner.failure or reference.failure or runner.accepted:
            return
        if not runner.loss_error <= CHOOSING_LOSS:  # nor where it is NaN
            return
        if runner.plan.micro_batch != reference.plan.micro_batch:
            return  # parts that give another loss are not the whole, whatever each of them gives
        probed = self._runner(reference.plan, len(self._inputs)).probe()  # its own may be released
        most_loss, most_gradient = BOUNDS[runner.plan.precision]
        if runner.plan.precision == "float32":
            most_gradient = max(most_gradient, self._uncertainty(probed))
        apart = distance(runner.probe(), probed)
        runner.outputs_agree = apart[0] <= max(most_loss, 1e-3) and apart[1] <= most_gradient

    def _uncertainty(self, probed: tuple[Tensor, Tensor]) -> float:
        """What the reference's gradient leaves open, since it is itself away from float64."""
        if self._rounding is None:
            exact = Runner(
                copy.deepcopy(self._network).double(),  # not kept: a large network has little room
                *(self._reference.plan, self._inputs.double(), self._targets, self._loss_of),
            ).probe()
            self._rounding = distance(probed, exact)[1]
        return min(DIGIT * self._rounding, MOST_GRADIENT)

    def _compare_chance(self, runner: Runner) -> None:
        """Whether half precision moves the gradient much less than the choice of pictures does."""
        reference = self._reference
        if runner.failure or reference.failure or runner.accepted:
            return
        most_loss, _ = BOUNDS[runner.plan.precision]
        if runner.plan.precision == "float32" or not runner.loss_error <= most_loss:
            return
        if self._chance is None:
            self._chance = self._measure_chance()
        runner.is_within_chance = runner.gradient_error <= SHARE_OF_CHANCE * self._chance

    def _measure_chance(self) -> float:
        """‖g₁ − g₂‖ / ‖g‖ of two batches: that of the halves of one is √2 times as large."""
        reference, count = self._reference, len(self._inputs) // 2
        if count == 0:
            return 0.0
        one, other = (
            Runner(self._network, reference.plan, inputs, targets, self._loss_of).gradient
            for inputs, targets in (
                (self._inputs[:count], self._targets[:count]),
                (self._inputs[count:], self._targets[count:]),
            )
        )
        if len(one) != len(other):  # one of them failed, or has no use for a parameter
            return 0.0
        return float((one - other).norm() / 2**0.5 / reference.gradient.norm().clamp(min=1e-12))

    def trials(self) -> tuple[Trial, ...]:
        return tuple(runner.trial() for runner in self._runners.values())

    def best(self, plans: Sequence[Plan], gain: float) -> Trial:
        """The first of the plans that may be taken, or the one that is faster by the gain."""
        reference = self._reference.trial()
        each = (self._runners[plan].trial() for plan in plans)
        trials = [trial for trial in each if self._may_be_taken(trial)]
        if not trials and (reference.failure is not None or self._precision == "auto"):
            return reference  # the training will say what is wrong with the network
        if not trials:
            raise self._refusal()
        best = trials[0]
        for trial in trials[1:]:
            if trial.seconds * gain < best.seconds:
                best = trial
        return best

    def _refusal(self) -> UnavailableError:
        """Why no plan of the precision that a person wants can be had."""
        wanted = (t for t in self.trials() if t.plan.precision == self._precision)
        nearest = min(wanted, key=lambda trial: trial.gradient_error)
        most_loss, most_gradient = BOUNDS[nearest.plan.precision]
        why = nearest.failure or (
            f"its loss differs by {nearest.loss_error:.2g} and its gradient by "
            f"{nearest.gradient_error:.2g}, expected at most {most_loss:g} and {most_gradient:g}"
        )
        return UnavailableError(
            f"plan.precision={self._precision} does not suit this network here: {why}",
            "Leave it out, or take --set plan.precision=float32.",
        )

    def _may_be_taken(self, trial: Trial) -> bool:
        return trial.accepted and self._precision in ("auto", trial.plan.precision)


def _mixes(network: nn.Module) -> bool:
    """Whether what a network makes of a picture depends on the others of its batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def _in_parts(plan: Plan, part: int, whole: int) -> Plan:
    return plan if part == whole else replace(plan, micro_batch=part)
