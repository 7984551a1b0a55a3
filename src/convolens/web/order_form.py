"""The form that starts a training."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from convolens.data.registry import dataset_names
from convolens.models.registry import MODELS
from convolens.recipes.registry import RECIPES
from convolens.web.frame import panel
from convolens.web.trainings import Order

DEVICES = ("auto", "cpu", "cuda")


class OrderForm:
    """What is to be trained, and the button that starts it.

    Args:
        start: is given the order.
    """

    def __init__(self, start: Callable[[Order], Awaitable[None]]) -> None:
        self.start = start
        with panel("Start a training"):
            with ui.element("div").classes("cl-form"):
                self.data = _choice("Data", list(dataset_names()), "digits")
                self.model = _choice("Network or notation", list(MODELS), None)
                self.recipe = ui.select(list(RECIPES), label="Recipe", clearable=True)
                self.epochs = _number("Epochs", least=1)
                self.batch = _number("Batch", least=1)
                self.lr = ui.number("Learning rate", min=0, format="%g", placeholder="the recipe's")
                self.seed = _number("Seed", least=0)
                self.device = ui.select(list(DEVICES), label="Device", value="auto")
                self.name = ui.input("Name", placeholder="made from the words")
            with ui.element("div").classes("cl-line"):
                self.button = ui.button("Start", on_click=self._clicked).props("no-caps outline")
                ui.label("What is left empty is the recipe's own.").classes("cl-soft")

    async def _clicked(self) -> None:
        order = Order(
            data=self.data.value or "",
            model=self.model.value or "",
            recipe=self.recipe.value or "",
            epochs=_whole(self.epochs.value),
            batch=_whole(self.batch.value),
            lr=self.lr.value,
            seed=_whole(self.seed.value),
            device=self.device.value or "",
            name=self.name.value or "",
        )
        self.button.disable()  # one click, one training
        try:
            await self.start(order)
        finally:
            self.button.enable()


def _choice(label: str, names: list[str], value: str | None) -> ui.input:
    """A word of a list, or one of a person's own."""
    entry = ui.input(label, value=value or "", placeholder="the recipe's", autocomplete=names)
    return entry.props("spellcheck=false")


def _number(label: str, least: int) -> ui.number:
    return ui.number(label, min=least, step=1, precision=0, placeholder="the recipe's")


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
