"""What training tells to whoever watches it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Before training begins, `done` of `total` pictures are decoded."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Started:
    """Training begins, or goes on at `step`."""

    step: int
    total_steps: int
    epochs: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """One step is done; the metrics are averages over the epoch so far."""

    step: int
    epoch: int
    num_images: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """An epoch is done; `row` is its row of `metrics.csv`."""

    epoch: int
    row: Mapping[str, float | int]


@dataclass(frozen=True, kw_only=True)
class Noted:
    """Something that a person should know."""

    text: str


Event = Decoded | Started | Stepped | EpochEnded | Noted
Notify = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Watches nothing."""
