"""Event files for TensorBoard."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convolens.errors import ConfigError
from convolens.train.events import EpochEnded, Event, Notify, Started, Stepped


def check_tensorboard() -> None:
    """Raises ConfigError when TensorBoard is wanted and not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard=true needs TensorBoard, and it is not installed",
            "Install it with: pip install 'convolens[tensorboard]'",
        )


class Board:
    """Writes what training tells into event files, and passes it on.

    Args:
        folder: where the event files go; made when training begins.
        notify: is told of every event as well.
    """

    def __init__(self, folder: Path, notify: Notify) -> None:
        self._folder = folder
        self._notify = notify
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        match event:
            case Started():
                self._open(event.step)
            case Stepped():
                for name, value in event.metrics.items():
                    self._writer.add_scalar(f"step/train_{name}", value, event.step)
            case EpochEnded():
                for name, number in event.row.items():
                    if name != "step":
                        self._writer.add_scalar(f"epoch/{name}", number, event.row["step"])
        self._notify(event)

    def _open(self, step: int) -> None:
        # Seconds to import, and most trainings write no event files.
        from torch.utils.tensorboard import SummaryWriter

        # What a killed training wrote after the state from which it goes on is not shown twice.
        self._writer = SummaryWriter(self._folder, purge_step=step + 1)

    def close(self) -> None:
        """Writes out what is still in memory."""
        if self._writer is not None:
            self._writer.close()
