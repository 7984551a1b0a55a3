"""The numbers of the steps, read from the device now and then, since reading waits for it."""

from dataclasses import dataclass

import torch
from torch import Tensor

EVERY = {"cpu": 1, "cuda": 20}  # steps; a CPU has finished a step anyway


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one step gave.

    Args:
        step: its number, from 0.
        rate: its learning rate.
        metrics: the loss and the batch metrics before it.
        seconds: how long it took; on a GPU, how long it took to be handed over.
        wait: how long it waited for its pictures [s].
    """

    step: int
    rate: float
    metrics: dict[str, float]
    seconds: float
    wait: float


class Readings:
    """Keeps the numbers of the last steps on the device until they are read together.

    Args:
        device: "cpu" or "cuda", which decides how many steps are read at once.
    """

    def __init__(self, device: str) -> None:
        self._every = EVERY[device]
        self._waiting: list[tuple[int, float, dict[str, Tensor], float, float]] = []

    @property
    def is_due(self) -> bool:
        """Whether enough steps wait to be read."""
        return len(self._waiting) >= self._every

    def add(
        self,
        step: int,
        rate: float,
        metrics: dict[str, Tensor],
        seconds: float,
        wait: float,
    ) -> None:
        """Takes the numbers of one step without waiting for them."""
        self._waiting.append((step, rate, metrics, seconds, wait))

    def read(self) -> list[Reading]:
        """The steps that wait, in their order; the device is asked once for all of them."""
        tensors = [value for _, _, metrics, _, _ in self._waiting for value in metrics.values()]
        values = iter(
            torch.stack([t.detach().double() for t in tensors]).tolist() if tensors else ()
        )
        found = [
            Reading(
                step=step,
                rate=rate,
                metrics={name: next(values) for name in metrics},
                seconds=seconds,
                wait=wait,
            )
            for step, rate, metrics, seconds, wait in self._waiting
        ]
        self._waiting.clear()
        return found
