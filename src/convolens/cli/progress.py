"""The live progress of a training, on standard error."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from convolens.train.events import Decoded, EpochEnded, Event, Noted, Started, Stepped

RATE_WINDOW_S = 5.0


class TimeLeft(ProgressColumn):
    """The time left, from the steps of the last seconds."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left_s")
        if left is None:
            return Text("–:–– left")
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        return Text(f"{clock} left")


class Display:
    """Shows a training's events: a bar that is alive, and a line for each epoch.

    Args:
        console: where; None is standard error.
        quiet: show nothing, because another process does.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True, highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}"),
            TimeLeft(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, numbers="", visible=False)
        self._epochs = self._total = 0
        self._marks: list[tuple[float, int, int]] = []
        self._images = 0

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, text: str) -> None:
        """Prints a text above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def __call__(self, event: Event) -> None:
        match event:
            case Noted():
                self.show(event.text)
            case Decoded():
                self._decode(event)
            case Started():
                self._epochs, self._total = event.epochs, event.total_steps
                self._progress.update(
                    self._task,
                    total=event.total_steps,
                    completed=event.step,
                    description="starting",
                    numbers="",
                    left_s=None,
                    visible=True,
                )
                self._marks = [(time.monotonic(), event.step, 0)]
            case Stepped():
                self._step(event)
            case EpochEnded():
                self.show(_epoch_line(event, self._epochs))

    def _decode(self, event: Decoded) -> None:
        now = time.monotonic()
        if not self._marks:
            self._marks = [(now, event.done, 0)]
        began, first, _ = self._marks[0]
        speed = (event.done - first) / max(now - began, 1e-9)
        self._progress.update(
            self._task,
            total=event.total,
            completed=event.done,
            description="decoding",
            numbers=f"{event.done:,} of {event.total:,} pictures",
            left_s=(event.total - event.done) / speed if speed else None,
            visible=True,
        )

    def _step(self, event: Stepped) -> None:
        now = time.monotonic()
        self._images += event.num_images
        self._marks.append((now, event.step, self._images))
        while len(self._marks) > 2 and now - self._marks[1][0] > RATE_WINDOW_S:
            self._marks.pop(0)
        began, step, images = self._marks[0]
        seconds = max(now - began, 1e-9)
        numbers = [_number(name, value) for name, value in event.metrics.items()]
        numbers.append(f"{(self._images - images) / seconds:,.0f} images/s")
        self._progress.update(
            self._task,
            completed=event.step,
            description=f"epoch {event.epoch}/{self._epochs}",
            numbers="  ".join(numbers),
            left_s=(self._total - event.step) * seconds / (event.step - step),
        )


def _number(name: str, value: float) -> str:
    if name == "lr":
        return f"{name} {value:.1e}"
    is_share = any(word in name for word in ("accuracy", "miou", "map"))
    return f"{name} {value:.2%}" if is_share else f"{name} {value:.4f}"


def _epoch_line(event: EpochEnded, epochs: int) -> str:
    row = event.row
    metrics = ("accuracy", "miou", "map50", "map")
    names = ("train_loss", "train_accuracy", "val_loss", *(f"val_{name}" for name in metrics))
    shown = [_number(name.replace("_", " "), row[name]) for name in names if name in row]
    speed = f"{row['images_per_s']:,.0f} images/s"
    return f"epoch {event.epoch:>{len(str(epochs))}}/{epochs}  {'  '.join(shown)}  {speed}"
