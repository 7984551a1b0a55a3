"""The page Look: a Run, a picture, and what every unit makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nicegui import events, ui
from torch import Tensor

from convolens.data.base import Split
from convolens.web.answer import Answer, answer_of
from convolens.web.arithmetic_panel import arithmetic_panel
from convolens.web.examples import example_of, examples_of
from convolens.web.folders import Folders
from convolens.web.frame import Message, facts, frame_svg, heading, page, panel, span_text
from convolens.web.picture import data_url, sample_bytes
from convolens.web.saliency_panel import saliency_panel
from convolens.web.scene import (
    Maps,
    Opened,
    Scene,
    Sheet,
    can_unfold,
    decoded,
    explained,
    first_on_page,
    inside,
    maps_in,
    num_pages,
    open_run,
    page_of,
    scene_of,
    sheet_of,
    strongest,
)
from convolens.web.worker import aside, work

MOST_UPLOAD_BYTES = 24 * 2**20
DEEPEST = 3


@dataclass(kw_only=True)
class State:
    """What one visitor has before them.

    Args:
        picture: its name, and what makes it into pixels for a network.
        split: the test pictures of the Run, once one was asked for.
        turn: counts the units chosen, so that what was worked out for another is not shown.
    """

    opened: Opened | None = None
    picture: tuple[str, Callable[[Opened], Tensor]] | None = None
    split: Split | None = None
    number: int = -1
    scene: Scene | None = None
    layer: str = ""
    maps: Maps | None = None
    sheet: Sheet | None = None
    unit: tuple[int, ...] = ()
    turn: int = 0


class LookPage:
    """The page of one visitor.

    Args:
        folders: where the Runs are.
        run: the Run to begin with; empty for none.
    """

    def __init__(self, folders: Folders, run: str) -> None:
        self.folders, self.first = folders, run
        self.state = State()
        with page("/look"):
            with ui.element("section").classes("cl-panel"):
                self._choices()
                self.message = Message()
            with ui.element("div").classes("cl-look") as self.all:
                self.picture = _part("The picture")
                self.layers = _part("What a layer makes of it")
                self.arithmetic = _part("How a unit comes to its value")
                self.saliency = _part("What speaks for a class")
            self.all.set_visibility(False)

    def _choices(self) -> None:
        with ui.element("div").classes("cl-even"):
            self.run = ui.select([], label="Run", with_input=True, on_change=self._run_chosen)
            self.upload = ui.upload(
                label="Drop a picture here, or press +",
                auto_upload=True,
                max_file_size=MOST_UPLOAD_BYTES,
                on_upload=self._uploaded,
                on_rejected=lambda: self.message.show("this is no picture of at most 24 MiB"),
            )
            self.upload.props("accept=image/* flat bordered")
        with ui.element("div").classes("cl-line"):
            for words, act in (
                ("Next test picture", self._next),
                ("A picture drawn by code", self._draw),
            ):
                ui.button(words, on_click=act).props("outline no-caps")

    async def begin(self) -> None:
        """Lists the Runs, and opens the one that was asked for."""
        names = await aside(self.folders.names)
        self.run.set_options(names)
        if self.first in names:
            self.run.set_value(self.first)
        elif self.first:
            self.message.show(f"{self.first} is not a Run in the folders that the app was given")
        elif not names:
            self.message.show("There is no Run to look into yet; start a training on page Runs.")

    async def _run_chosen(self, event: events.ValueChangeEventArguments[str | None]) -> None:
        name = event.value or ""
        self.message.clear()
        self.state.opened = None
        if not name:
            await self._look()
            return
        opened = await self.message.attempt(work, lambda: open_run(self.folders.run(name)))
        if self.run.value != name:
            return  # another was chosen meanwhile
        self.state.opened = opened
        if self.state.split is not None:  # pictures of another Run's data
            self.state.split, self.state.number, self.state.picture = None, -1, None
        await self._look()

    async def _draw(self) -> None:
        self.message.clear()
        content = await self.message.attempt(work, sample_bytes)
        if content is not None:
            self._take("a picture drawn by code", content)
            await self._look()

    async def _next(self) -> None:
        """The next picture of the Run's own test split."""
        state, opened = self.state, self.state.opened
        self.message.clear()
        if opened is None:
            self.message.show("choose a Run first: its test pictures are shown")
            return
        find = partial(examples_of, opened, self.folders)
        split = state.split or await self.message.attempt(work, find)
        if split is None or state.opened is not opened:
            return
        state.split, state.number = split, state.number + 1
        example = await self.message.attempt(work, partial(example_of, split, opened, state.number))
        if example is not None:
            pixels = example.pixels
            state.picture = (example.name, lambda _: pixels)
            await self._look()

    def _take(self, name: str, content: bytes) -> None:
        self.state.picture = (name, partial(decoded, content=content, name=name))

    async def _uploaded(self, event: events.UploadEventArguments) -> None:
        self.message.clear()
        self._take(event.file.name, await event.file.read())
        self.upload.reset()
        await self._look()

    async def _look(self) -> None:
        """Shows the Run's network and the picture, as soon as there are both."""
        state = self.state
        state.scene = None
        self.all.set_visibility(False)
        opened, picture = state.opened, state.picture
        if opened is None:
            return
        if picture is None:
            await self._draw()
            return
        scene = await self.message.attempt(work, lambda: scene_of(opened, picture[1](opened)))
        if scene is None or state.opened is not opened or state.picture is not picture:
            return
        answer = await self.message.attempt(work, partial(answer_of, scene))
        if state.picture is not picture:
            return
        state.scene = scene
        names = scene.names
        layer = state.layer if state.layer in names else (names[0] if names else "")
        self._show_picture(scene, answer)
        self.saliency.clear()
        with self.saliency:
            saliency_panel(scene, self.message)
        self._show_layers(scene, layer)
        self.all.set_visibility(True)
        await self._walk(layer)

    def _show_picture(self, scene: Scene, answer: Answer | None) -> None:
        self.picture.clear()
        with self.picture:
            url = data_url(scene.colour)
            self.image = ui.interactive_image(url, sanitize=False).classes("cl-dots")
            self.image.style("max-width: 420px; cursor: default").props("data-test=picture")
            self.field = ui.label().props("data-test=field")
            name = self.state.picture[0] if self.state.picture else ""
            size = f"{scene.size[0]}×{scene.size[1]} px"
            ui.label(f"{name}, as the network reads it: {size}").classes("cl-soft")
            if answer is None:
                return
            facts(list(answer.facts))
            for pixels in answer.pictures:
                ui.html(f'<img src="{data_url(pixels)}" alt="" class="cl-said-of">', sanitize=False)

    def _show_layers(self, scene: Scene, layer: str) -> None:
        self.layers.clear()
        with self.layers:
            with ui.element("div").classes("cl-line"):
                back = ui.button("‹", on_click=lambda: self._step(-1))
                back.props('outline dense aria-label="Layer before"').classes("cl-step")
                self.choice = ui.select(
                    scene.names, label="Layer", value=layer, on_change=self._layer_chosen
                )
                self.choice.style("flex: 1; min-width: 140px").props("data-test=layer")
                on = ui.button("›", on_click=lambda: self._step(1))
                on.props('outline dense aria-label="Next layer"').classes("cl-step")
            self.shape = ui.label().classes("cl-soft").props("data-test=shape")
            self.maps = ui.interactive_image(on_mouse=self._map_clicked, sanitize=False)
            self.maps.classes("cl-dots").props("data-test=maps")
            with ui.element("div").classes("cl-line") as self.pages:
                before = ui.button("‹", on_click=lambda: self._turn(-1))
                before.props('outline dense aria-label="Maps before"').classes("cl-step")
                self.which = ui.label().classes("cl-soft")
                after = ui.button("›", on_click=lambda: self._turn(1))
                after.props('outline dense aria-label="Next maps"').classes("cl-step")
            heading("The map of one channel")
            self.one = ui.interactive_image(on_mouse=self._one_clicked, sanitize=False)
            self.one.classes("cl-dots").style("max-width: 420px").props("data-test=one")
            with ui.element("div").classes("cl-line"):
                self.places = [
                    ui.number(name, value=0, min=0, step=1, precision=0, on_change=self._typed)
                    .style("width: 80px")
                    .props(f"dense debounce=350 data-test=unit-{name}")
                    for name in ("c", "y", "x")
                ]
                self.value = ui.label().props("data-test=value")
            ui.label(
                "Click any pixel. Vermillion is above 0, blue below; all maps have one scale."
            ).classes("cl-soft")

    async def _layer_chosen(self, event: events.ValueChangeEventArguments[str | None]) -> None:
        if event.value and event.value != self.state.layer:
            await self._walk(event.value)

    def _step(self, by: int) -> None:
        scene = self.state.scene
        if scene is not None and self.state.layer in scene.names:
            place = scene.names.index(self.state.layer) + by
            if 0 <= place < len(scene.names):
                self.choice.set_value(scene.names[place])

    async def _walk(self, layer: str) -> None:
        """Shows the maps of a layer, and its strongest unit."""
        state, scene = self.state, self.state.scene
        if scene is None or not layer:
            return
        self.message.clear()
        state.layer = layer
        maps = await self.message.attempt(work, partial(maps_in, scene, layer))
        if maps is None or state.layer != layer or state.scene is not scene:
            return
        state.maps, state.sheet = maps, None
        self.shape.set_text(f"{layer} gives {'×'.join(map(str, maps.shape))}")
        await self._choose(strongest(maps))

    async def _choose(self, unit: tuple[int, ...]) -> None:
        """Shows one unit: in its map, on the picture, and its arithmetic."""
        state, scene, maps = self.state, self.state.scene, self.state.maps
        if scene is None or maps is None:
            return
        state.unit = inside(maps.shape, unit)
        state.turn += 1
        turn = state.turn
        for number, entry in enumerate(self.places):
            entry.set_visibility(number < len(state.unit))
            if number < len(state.unit):
                entry.max = maps.shape[number] - 1
                entry.set_value(state.unit[number])
        self.value.set_text(f"value {float(maps[state.unit]):.6g}")
        await self._show_sheet(page_of(maps.shape, state.unit[0]))
        if turn != state.turn:
            return
        self.field.set_text("working …")  # what stands there is of another unit
        self.image.set_content("")
        self.arithmetic.clear()
        await self._explain(turn, 1)

    async def _show_sheet(self, number: int) -> None:
        state, maps = self.state, self.state.maps
        if maps is None:
            return
        if state.sheet is None or page_of(maps.shape, state.sheet.first) != number:
            state.sheet = await self.message.attempt(work, partial(sheet_of, maps, number))
            if state.sheet is None or state.maps is not maps:
                return
            url = await aside(partial(data_url, state.sheet.pixels))
            self.maps.set_source(url)
        sheet = state.sheet
        count = num_pages(maps.shape)
        self.pages.set_visibility(count > 1)
        self.which.set_text(
            f"channels {sheet.first} to {sheet.first + sheet.count - 1} of {maps.shape[0]}"
        )
        self.one.set_source(data_url(sheet.map_of(state.unit[0])))
        self._mark()

    def _mark(self) -> None:
        """Frames the unit in its map and the map in the sheet."""
        sheet, unit = self.state.sheet, self.state.unit
        if sheet is None:
            return
        place = sheet.place_of((unit[0], 0, 0))
        height, width = sheet.size
        if place is None:
            self.maps.set_content("")
        else:
            rows, cols = (place[1], place[1] + height - 1), (place[0], place[0] + width - 1)
            self.maps.set_content(frame_svg(rows, cols, max(sheet.pixels.shape)))
        if len(unit) == 3:
            y, x = unit[1:]
            self.one.set_content(frame_svg((y, y), (x, x), max(sheet.size), "#111"))
        else:
            self.one.set_content("")

    async def _turn(self, by: int) -> None:
        sheet, maps = self.state.sheet, self.state.maps
        if sheet is not None and maps is not None:
            number = page_of(maps.shape, sheet.first) + by
            if 0 <= number < num_pages(maps.shape):
                await self._choose((first_on_page(maps.shape, number), *self.state.unit[1:]))

    async def _map_clicked(self, event: events.MouseEventArguments) -> None:
        sheet = self.state.sheet
        unit = sheet.unit_at(event.image_x, event.image_y) if sheet else None
        if unit is not None:
            await self._choose(unit)

    async def _one_clicked(self, event: events.MouseEventArguments) -> None:
        unit = self.state.unit
        if len(unit) == 3:
            await self._choose((unit[0], int(event.image_y), int(event.image_x)))

    async def _typed(self) -> None:
        values = [entry.value for entry in self.places[: len(self.state.unit)]]
        if all(value is not None for value in values):
            unit = tuple(int(value) for value in values)
            if unit != self.state.unit:
                await self._choose(unit)

    async def _explain(self, turn: int, depth: int) -> None:
        state, scene = self.state, self.state.scene
        if scene is None:
            return
        find = partial(explained, scene, state.layer, state.unit, depth)
        one = await self.message.attempt(work, find)
        if turn != state.turn:
            return  # another unit was chosen meanwhile
        self.arithmetic.clear()
        self.image.set_content("")
        if one is None:
            self.field.set_text("")
            return
        if one.rows is None or one.cols is None:
            self.field.set_text("It depends on nothing of the picture.")
        else:
            self.field.set_text(f"The unit sees {span_text(one.rows, one.cols)}")
            self.image.set_content(frame_svg(one.rows, one.cols, max(scene.size)))

        async def unfold() -> None:
            await self._explain(turn, depth + 1)

        goes_on = depth < DEEPEST and can_unfold(scene, one)
        with self.arithmetic:
            arithmetic_panel(scene, one, self.message, unfold if goes_on else None)


def _part(title: str) -> ui.element:
    """A panel whose content is made later."""
    with panel(title):
        return ui.element("div").style("display: contents")
