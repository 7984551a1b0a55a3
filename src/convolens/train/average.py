"""A moving average of the weights, which often predicts better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, RunError
from convolens.train.bounds import check_number


@dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Whether validation, test and saved weights use an average of the weights.

    Args:
        decay: share of the average that a step keeps; 0 is off, 0.99 averages about the last
            hundred steps.
        lookahead: k; every k steps the weights themselves are set to the average, and training
            goes on from there; 0 is off.
    Raises:
        ConfigError: when decay is not in [0, 1), lookahead is not a whole number of at least 0,
            or lookahead is on without decay.
    """

    decay: float = 0.0
    lookahead: int = 0

    def __post_init__(self) -> None:
        check_number("average.decay", self.decay, least=0, below=1)
        check_number("average.lookahead", self.lookahead, least=0, whole=True)
        if self.lookahead and not self.decay:
            raise ConfigError("average.lookahead needs average.decay above 0, received 0.0")


def decay_at(decay: float, step: int) -> float:
    """d_t = min(d, (1 + t) / (10 + t)): small at first, so that the initial weights fade.

    Source: TensorFlow's `tf.train.ExponentialMovingAverage`, argument `num_updates`.
    Example:
        >>> [round(decay_at(0.99, t), 3) for t in (0, 10, 1000)]
        [0.1, 0.55, 0.99]
    """
    return min(decay, (1 + step) / (10 + step))


def lookahead_decay(decay: float, lookahead: int, progress: float) -> float:
    """d^k·p³: next to nothing at first, at the end the k-th power of the decay of one step.

    Source: Jordan (2024), arXiv:2404.00498, listing 4.
    Args:
        decay: d, of one step.
        lookahead: k, steps from one update to the next.
        progress: p, the share of the training that is done.
    Example:
        >>> round(lookahead_decay(0.95, 5, 1.0), 4)
        0.7738
    """
    return float(decay**lookahead * progress**3)


class WeightAverage:
    """a ← d_t·a + (1 − d_t)·w for every parameter and every floating-point buffer.

    The running statistics of batch norm are averaged like the weights, so that both lag behind
    by the same number of steps; counters are copied. With a lookahead of k, this happens every k
    steps with d = `lookahead_decay`, and then w ← a.

    Args:
        model: the network, on its final device and in its final memory format.
        decay: d, in (0, 1).
        lookahead: k; 0 leaves the weights alone.
        total_steps: of the whole training; read with a lookahead only.
    Source: Polyak and Juditsky (1992); Tarvainen and Valpola (2017), arXiv:1703.01780; Zhang,
        Lucas, Hinton and Ba (2019), arXiv:1907.08610, for the lookahead.
    """

    def __init__(
        self, model: nn.Module, decay: float, *, lookahead: int = 0, total_steps: int = 0
    ) -> None:
        self.decay = decay
        self.lookahead = lookahead
        self.total_steps = total_steps
        self._live = {name: value.detach() for name, value in model.state_dict().items()}
        self.tensors = {name: value.clone() for name, value in self._live.items()}
        names = [name for name, value in self._live.items() if value.is_floating_point()]
        self._moving = [self.tensors[name] for name in names]
        self._followed = [self._live[name] for name in names]
        self._counters = [name for name in self._live if name not in set(names)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 0."""
        if not self.lookahead:
            self._move(1 - decay_at(self.decay, step))
        elif (step + 1) % self.lookahead == 0:
            progress = (step + 1) / self.total_steps
            self._move(1 - lookahead_decay(self.decay, self.lookahead, progress))
            torch._foreach_copy_(self._followed, self._moving)

    def _move(self, weight: float) -> None:
        torch._foreach_lerp_(self._moving, self._followed, weight)
        for name in self._counters:
            self.tensors[name].copy_(self._live[name])

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a saved average.

        Raises:
            RunError: when it is not one of this network.
        """
        if {k: v.shape for k, v in tensors.items()} != {
            k: v.shape for k, v in self.tensors.items()
        }:
            raise RunError("the saved moving average is not one of this network")
        for name, value in tensors.items():
            self.tensors[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While inside, the network has the averaged weights; its own come back after."""
        own = {name: value.clone() for name, value in self._live.items()}
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            self._live[name].copy_(value)


def make_average(model: nn.Module, config: AverageConfig, total_steps: int) -> WeightAverage | None:
    """The moving average that a configuration asks for; None where it is off."""
    if not config.decay:
        return None
    return WeightAverage(model, config.decay, lookahead=config.lookahead, total_steps=total_steps)
