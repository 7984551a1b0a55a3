"""One candidate of a trial: a copy of the network, run as a plan says."""

import copy
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convolens.train.choice import Trial
from convolens.train.plan import Plan, Precision

LossOf = Callable[[Any, Any], Tensor]

SCALES = (2.0**16, 2.0**12, 2.0**8, 2.0**4, 1.0)  # of the loss, in float16
# Largest relative difference from the reference's loss and gradients, by precision.
BOUNDS: Mapping[Precision, tuple[float, float]] = {
    "float32": (1e-4, 1e-2),
    "bfloat16": (3e-2, 2e-1),
    "float16": (1e-2, 5e-2),
}


class Runner:
    """One candidate: a copy of the network, placed as its plan says."""

    def __init__(
        self, network: nn.Module, plan: Plan, inputs: Tensor, targets: Any, loss_of: LossOf
    ) -> None:
        self.plan = plan
        self.failure: str | None = None
        self.is_too_large = self.is_released = False
        self.seconds = float("inf")
        self.loss = float("nan")
        self.gradient = torch.zeros(0)
        self.loss_error = self.gradient_error = float("inf")
        self.outputs_agree = self.is_within_chance = False
        self._targets, self._loss_of = targets, loss_of
        try:
            self._model = plan.place(copy.deepcopy(network)).train()
            self._inputs = inputs.to(plan.device)
            self._targets = targets.to(plan.device)
            for self._scale in SCALES if plan.scales_loss else (1.0,):
                self._pass()
                gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
                flat = torch.cat([g.detach().float().cpu().flatten() for g in gradients])
                self.gradient = flat.div_(self._scale)
                if self.gradient.isfinite().all():
                    break
            self._forget()
        except RuntimeError as error:  # an operation that lacks this layout or precision
            self.failure = str(error).splitlines()[0]
            self.is_too_large = isinstance(error, torch.OutOfMemoryError)

    def _pass(self) -> None:
        plan, count = self.plan, len(self._inputs)
        plan.seed(0)
        self._model.zero_grad(set_to_none=True)
        parts = plan.num_parts(count)
        total = torch.zeros((), device=plan.device)
        with plan.own_threads():
            for first, last in pairwise(count * part // parts for part in range(parts + 1)):
                with plan.autocast():
                    outputs = self._model(plan.arrange(self._inputs[first:last]))
                loss = self._loss_of(outputs, self._targets[first:last]) * ((last - first) / count)
                (loss * self._scale).backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        self.loss = float(total)

    def _forget(self) -> None:
        """Frees the gradients, for which a large network has no room while others take turns."""
        self._model.zero_grad(set_to_none=True)

    def run(self) -> None:
        if self.failure is None and not self.is_released:
            began = time.perf_counter()
            self._pass()
            self.seconds = min(self.seconds, time.perf_counter() - began)
            self._forget()

    def compare(self, reference: "Runner") -> None:
        """Measures how far loss and gradient are from the reference's."""
        if self.failure is None and reference.failure is None:
            distance = abs(self.loss - reference.loss)
            self.loss_error = distance / max(abs(reference.loss), 1e-12)
            size = max(float(reference.gradient.norm()), 1e-12)
            self.gradient_error = float((self.gradient - reference.gradient).norm()) / size
        if self is not reference:
            self.gradient = torch.zeros(0)  # a large network has room for few of them

    def probe(self) -> tuple[Tensor, Tensor]:
        """The outputs y of the first part of the batch, and the gradient of ⟨y, r⟩, r random."""
        plan, count = self.plan, len(self._inputs)
        plan.seed(0)
        self._model.zero_grad(set_to_none=True)
        with plan.own_threads(), plan.autocast():
            outputs = self._model(plan.arrange(self._inputs[: count // plan.num_parts(count)]))
        leaves = (leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor))
        flat = torch.cat([leaf.double().flatten() for leaf in leaves if leaf.requires_grad])
        source = torch.Generator().manual_seed(0)
        chance = torch.randn(len(flat), generator=source, dtype=torch.float64)
        torch.dot(flat, chance.to(flat.device)).backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        return (
            flat.detach().cpu(),
            torch.cat([g.detach().double().cpu().flatten() for g in gradients]),
        )

    @property
    def accepted(self) -> bool:
        """Whether loss and gradients are as near to the reference's as they must be."""
        most_loss, most_gradient = BOUNDS[self.plan.precision]
        agrees = self.loss_error <= most_loss and self.gradient_error <= most_gradient
        return self.failure is None and (agrees or self.outputs_agree or self.is_within_chance)

    def release(self) -> None:
        """Frees the memory of a candidate, which takes no further turn."""
        self._model = nn.Module()
        self.is_released = True

    def trial(self) -> Trial:
        return Trial(
            plan=self.plan,
            seconds=self.seconds,
            loss_error=self.loss_error,
            gradient_error=self.gradient_error,
            accepted=self.accepted,
            failure=self.failure,
        )


def distance(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """‖a − b‖ / ‖b‖ of outputs and of gradients."""
    each = zip(one, other, strict=True)
    outputs, gradients = (float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in each)
    return outputs, gradients
