"""The training of a network: epochs of batches, and what is told of them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convolens.errors import ConfigError, ConvolensError, DataError
from convolens.scratch.augmentation import Augment
from convolens.scratch.layer import Array
from convolens.scratch.network import Network, check_pairs, is_right
from convolens.scratch.optimizers import Optimizer

Row = dict[str, float | int]
Schedule = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step is done; loss and accuracy are averages over the epoch so far."""

    step: int
    total_steps: int
    epoch: int
    num_images: int
    loss: float
    accuracy: float


Notify = Callable[[Step | Row], None]


class DivergedError(ConvolensError):
    """The loss is no longer a finite number."""

    exit_status = 1


def constant(_progress: float) -> float:
    """1 from the first step to the last."""
    return 1.0


def cosine(progress: float) -> float:
    """(1 + cos(π t / T)) / 2: from 1 down to 0, slowly at both ends.

    Large steps first find the valley, small ones then its floor.

    Source: Loshchilov and Hutter (2017), SGDR, arXiv:1608.03983, equation 5.
    Args:
        progress: t / T, the share of all steps that is done; 0 to 1.
    Example:
        >>> cosine(0.0), round(cosine(0.5), 3)
        (1.0, 0.5)
    """
    return (1 + math.cos(math.pi * progress)) / 2


class Trainer:
    """Trains a network: each epoch shuffles the pictures and takes a step for each batch of them.

    The same seed gives the same order, and with the same network the same weights to the last bit.

    Args:
        network: what learns; it is changed in place.
        optimizer: how it follows the gradient.
        epochs: passes over the pictures.
        batch_size: pictures in a step; the last step of an epoch takes what is left.
        schedule: what the optimizer's learning rate is multiplied by, given the share of all steps
            that is done: `constant`, `cosine`, or any function.
        augment: changes the pictures of each batch before the step; None leaves them.
        seed: of the order of the pictures and of their augmentation.
        notify: is told of every step (a `Step`) and, at the end of an epoch, of its row.
    Raises:
        ConfigError: when epochs or batch_size is less than 1.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        *,
        epochs: int = 20,
        batch_size: int = 100,
        schedule: Schedule = constant,
        augment: Augment | None = None,
        seed: int = 0,
        notify: Notify = lambda _: None,
    ) -> None:
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, received {value}")
        self.network, self.optimizer = network, optimizer
        self.epochs, self.batch_size = epochs, batch_size
        self.schedule, self.augment, self.seed, self.notify = schedule, augment, seed, notify
        self.lr = optimizer.lr

    def fit(self, x: Array, t: Array, *, val: tuple[Array, Array] | None = None) -> list[Row]:
        """Trains the network on pictures x with targets t.

        Args:
            x: (N, …), the training pictures.
            t: (N,) labels, or whatever the network's loss takes.
            val: pictures and targets to watch at the end of each epoch; they are not learnt from.
        Returns: a row for each epoch: epoch, step, lr, train_loss and train_accuracy (averages over
            its steps, each before it was taken), val_loss and val_accuracy where there is val,
            seconds and images_per_s of the steps.
        Raises:
            DataError: when a picture holds NaN or infinity.
            DivergedError: when the loss is no longer finite.
        """
        check_pairs(x, t)
        # Looked for once, here and not in every layer: later ones can only come from the training.
        for name, pictures in (("x", x), *((("val", val[0]),) if val else ())):
            if not np.isfinite(pictures).all():
                place = int(np.argmin(np.isfinite(pictures).reshape(len(pictures), -1).all(1)))
                raise DataError(f"{name} must be finite, picture {place} holds NaN or infinity")
        rows: list[Row] = []
        for epoch in range(1, self.epochs + 1):
            row = self._epoch(epoch, x, t)
            if val is not None:
                row["val_loss"], row["val_accuracy"] = self.network.evaluate(*val)
            rows.append(row)
            self.notify(row)
        return rows

    def _epoch(self, epoch: int, x: Array, t: Array) -> Row:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(x))
        starts = range(0, len(x), self.batch_size)
        total_steps, loss, right, done = len(starts) * self.epochs, 0.0, 0.0, 0
        began = time.perf_counter()
        for index, start in enumerate(starts):
            step = (epoch - 1) * len(starts) + index
            self.optimizer.lr = self.lr * self.schedule(step / total_steps)
            batch = order[start : start + self.batch_size]
            pictures = x[batch] if self.augment is None else self.augment(x[batch], rng)
            batch_loss, batch_right = self._step(pictures, t[batch], step)
            loss, right = loss + batch_loss * len(batch), right + batch_right
            done = start + len(batch)
            self.notify(
                Step(
                    step=step + 1,
                    total_steps=total_steps,
                    epoch=epoch,
                    num_images=len(batch),
                    loss=loss / done,
                    accuracy=right / done,
                )
            )
        seconds = time.perf_counter() - began
        return {
            "epoch": epoch,
            "step": epoch * len(starts),
            "lr": self.optimizer.lr,
            "train_loss": loss / len(x),
            "train_accuracy": right / len(x),
            "seconds": round(seconds, 3),
            "images_per_s": round(len(x) / seconds, 1),
        }

    def _step(self, x: Array, t: Array, step: int) -> tuple[float, int]:
        """Forward, loss, backward, update; the loss and how many were right before the update."""
        network = self.network
        scores = network.predict(x, training=True)
        if not np.isfinite(scores).all():
            raise self._diverged("a score is NaN or infinite", step)
        loss = network.loss_of(scores, t)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}", step)
        self.optimizer.update(network.params, network.backward())
        return loss, int(is_right(scores, t).sum())

    def _diverged(self, what: str, step: int) -> DivergedError:
        return DivergedError(
            f"training diverged: {what} at step {step}",
            f"Lower the learning rate (it was {self.optimizer.lr:.3g}).",
        )
