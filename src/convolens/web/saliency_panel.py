"""The part of the page Look that shows what speaks for a class."""

from functools import partial

from nicegui import ui

from convolens.web.frame import Message
from convolens.web.picture import data_url
from convolens.web.saliency import METHODS, saliency_of
from convolens.web.scene import Scene
from convolens.web.worker import work


def saliency_panel(scene: Scene, message: Message) -> None:
    """Method and class to choose, and the picture that is made on demand."""
    if not scene.labels:
        ui.label("Saliency is for Runs that classify.").classes("cl-soft")
        return
    names = list(scene.opened.run.task.class_names)
    with ui.element("div").classes("cl-form"):
        method = ui.select(list(METHODS), label="Method", value="Grad-CAM")
        about = ui.select(names, label="Class", value=scene.labels[0][0], with_input=True)
    button = ui.button("Show").props("no-caps outline data-test=saliency")
    button.style("align-self: start")
    shown = ui.element("div").style("display: contents")

    async def show() -> None:
        message.clear()
        find = partial(saliency_of, scene, method.value, about.value or "")
        figure = await message.attempt(work, find)
        if figure is None:
            return
        url = data_url(figure.pixels)
        shown.clear()
        with shown:
            ui.html(f'<img src="{url}" alt="" class="cl-figure">', sanitize=False)
            ui.label(figure.caption).classes("cl-soft").props("data-test=spoken")

    button.on_click(show)
