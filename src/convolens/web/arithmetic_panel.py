"""The part of the page Look that shows how a unit comes to its value."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from convolens.analysis.explanation import Explanation, text_of
from convolens.visual.explanation import explanation_figure
from convolens.web.frame import Message
from convolens.web.picture import data_url
from convolens.web.scene import Scene
from convolens.web.worker import work


def arithmetic_panel(
    scene: Scene,
    one: Explanation,
    message: Message,
    unfold: Callable[[], Awaitable[None]] | None,
) -> None:
    """An explanation in numbers, and as a picture for whoever opens it.

    Args:
        unfold: explains the strongest terms too; None where that goes no further.
    """
    ui.label(text_of(one)).classes("cl-text").props("tabindex=0 data-test=arithmetic")
    if unfold is not None:
        with ui.element("div").classes("cl-line"):
            button = ui.button("Unfold the strongest terms", on_click=unfold)
            button.props("outline no-caps dense").style("padding: 2px 10px")
    with ui.expansion("As a picture").style("width: 100%") as fold:
        place = ui.element("div").classes("cl-wide")

    async def draw() -> None:
        if not fold.value or place.default_slot.children:
            return
        url = await message.attempt(
            work, lambda: data_url(explanation_figure(one, scene.pixels).pixels)
        )
        if url is not None:
            with place:
                ui.html(f'<img src="{url}" alt="" style="width: 1100px">', sanitize=False)

    fold.on_value_change(draw)
