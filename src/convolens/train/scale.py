"""Loss scaling, without which small gradients vanish in float16."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from convolens.train.plan import Plan
from convolens.train.stop import DivergedError

LEAST_SCALE = 2.0**-10


class LossScale:
    """Multiplies the loss by S before the backward pass, and divides the gradients by S after it.

    Where a gradient is not finite, the step is left out and S is halved; after 2,000 steps in a
    row without that, S is doubled. It begins at 65,536. Several processes have the same gradients
    once these are summed, so all of them leave out the same steps and have the same S.

    Source: Micikevicius et al. (2018), arXiv:1710.03740, section 3.2; `torch.amp.GradScaler`.
    Args:
        device: of the gradients.
    """

    def __init__(self, device: str) -> None:
        self._scaler = torch.amp.GradScaler(device)

    @property
    def value(self) -> float:
        """S; reading it waits for a GPU."""
        return float(self._scaler.get_scale())

    def grow(self, loss: Tensor) -> Tensor:
        """S·loss."""
        return self._scaler.scale(loss)

    def restore(self, optimizer: Optimizer) -> None:
        """Divides the gradients by S; what is done to them next, clipping too, sees their size."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """The optimizer's step, unless a gradient is not finite; then S is adapted."""
        # torch's fused SGD, if it leaves out its first step itself, goes on with a momentum that
        # was never written. Without this mark the scaler does not call it at all.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        self._scaler.step(optimizer)
        self._scaler.update()

    def check(self, step: int) -> None:
        """Raises DivergedError where S has become so small that no step was taken for long."""
        if self.value < LEAST_SCALE:
            raise DivergedError(
                f"training diverged: at step {step} no loss scale above {self.value:.1g} gives "
                "finite gradients in float16",
                "Lower the learning rate, or take --set plan.precision=float32.",
            )

    def state(self) -> dict[str, Any]:
        """Plain values, from which `load` goes on exactly."""
        return dict(self._scaler.state_dict())

    def load(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        self._scaler.load_state_dict(state)


def scale_of(plan: Plan) -> LossScale | None:
    """The loss scale that a plan needs: none but float16's."""
    return LossScale(plan.device) if plan.scales_loss else None
