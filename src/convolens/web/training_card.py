"""A training that the app has started, on the page Runs."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from convolens.web.charts import short_name
from convolens.web.frame import panel
from convolens.web.trainings import Training

LAST_LINES = 8


class TrainingCard:
    """How far it is, what it says, and how to stop it.

    Args:
        stop, forget: what the buttons do.
    """

    def __init__(
        self,
        training: Training,
        stop: Callable[[str], Awaitable[None]],
        forget: Callable[[Training], Awaitable[None]],
    ) -> None:
        self.training = training
        with panel(f"Training {short_name(training.run)}") as self.section:
            with ui.element("div").classes("cl-line"):
                self.state = ui.label().props("data-test=training")
                self.stop = ui.button("Stop and save", on_click=lambda: stop(training.run))
                self.done = ui.button("Close", on_click=lambda: forget(training))
                for button in (self.stop, self.done):
                    button.props("outline no-caps dense").style("padding: 2px 10px")
            self.bar = ui.linear_progress(value=0, show_value=False, size="8px")
            self.said = ui.label().classes("cl-text")
            self.said.props("tabindex=0")

    def refresh(self) -> None:
        """Shows what is known now."""
        progress = self.training.progress()
        words = self.training.state
        if progress is not None:
            words += f", epoch {progress[0]} of {progress[1]}"
        self.state.set_text(words)
        self.bar.set_value(progress[0] / progress[1] if progress else 0)
        self.stop.set_visibility(self.training.state == "training")
        self.done.set_visibility(not self.training.is_running)
        lines = self.training.said().strip().splitlines()[-LAST_LINES:]
        self.said.set_text("\n".join(lines) or "It has not said anything yet.")
