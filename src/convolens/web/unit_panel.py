"""What a unit of a layer sees, on the page Design: numbers, and a frame on a picture."""

from collections.abc import Callable
from functools import partial

from nicegui import events, ui

from convolens.web.frame import Message, frame_svg, span_text
from convolens.web.picture import Pixels, data_url
from convolens.web.sketch import Seen, Sketch, seen_by, unit_over
from convolens.web.worker import work


class UnitPanel:
    """The units of one layer; another is chosen by typing its place, or on the picture.

    Args:
        sketch, layer: whose units.
        seen: what the first of them sees.
        pixels: the picture as the network reads it; None where it reads none.
        message: where errors are shown.
        moved: is told the unit that is shown.
    """

    def __init__(
        self,
        sketch: Sketch,
        layer: str,
        seen: Seen,
        pixels: Pixels | None,
        message: Message,
        moved: Callable[[tuple[int, ...]], None],
    ) -> None:
        self.sketch, self.layer, self.unit = sketch, layer, seen.unit
        self.message, self.moved = message, moved
        if sketch.size is None or pixels is None:
            ui.label("This network reads no picture that could be shown.").classes("cl-soft")
            return
        self.side = max(sketch.size)
        self.text = ui.label().props("data-test=field")
        if seen.textbook is not None:
            size, stride = (
                "×".join(map(str, n)) for n in (seen.textbook.size, seen.textbook.stride)
            )
            note = f"{size} px where no border cuts it, in steps of {stride} px"
            ui.label(note).classes("cl-soft")
        self._inputs(sketch.graph.by_name[layer].output[1:])
        self.image = ui.interactive_image(data_url(pixels), on_mouse=self._clicked, sanitize=False)
        self.image.classes("cl-dots").props("data-test=picture")
        ui.label("Click the picture, and the unit above that place is shown.").classes("cl-soft")
        self._show(seen)

    def _inputs(self, space: tuple[int, ...]) -> None:
        self.entries: list[ui.number] = []
        if not self.unit:
            ui.label("A unit of a vector stands at no place.").classes("cl-soft")
            return
        with ui.element("div").classes("cl-line"):
            for name, value, side in zip(("y", "x"), self.unit, space, strict=True):
                entry = ui.number(
                    name,
                    value=value,
                    min=0,
                    max=side - 1,
                    step=1,
                    precision=0,
                    on_change=self._typed,
                )
                entry.style("width: 90px").props(f"debounce=350 dense data-test=unit-{name}")
                self.entries.append(entry)
            ui.label(f"of {space[0]}×{space[1]}").classes("cl-soft")

    def _show(self, seen: Seen) -> None:
        if seen.rows is None or seen.cols is None:
            self.text.set_text("It sees nothing of the picture.")
            self.image.set_content("")
        else:
            self.text.set_text(f"It sees {span_text(seen.rows, seen.cols)}")
            self.image.set_content(frame_svg(seen.rows, seen.cols, self.side))

    async def _typed(self) -> None:
        values = [entry.value for entry in self.entries]
        if all(value is not None for value in values):
            await self._move(tuple(int(value) for value in values))

    async def _clicked(self, event: events.MouseEventArguments) -> None:
        size = self.sketch.size
        if size is None:
            return
        output = self.sketch.graph.by_name[self.layer].output
        unit = unit_over(output, size, event.image_x, event.image_y)
        if unit is not None:
            await self._move(unit)

    async def _move(self, unit: tuple[int, ...]) -> None:
        if unit == self.unit:
            return
        self.unit = unit
        seen = await self.message.attempt(work, partial(seen_by, self.sketch, self.layer, unit))
        if seen is None or unit != self.unit:
            return  # another was chosen meanwhile
        self.unit = seen.unit  # the nearest, for one that is not there
        for entry, value in zip(self.entries, seen.unit, strict=True):
            entry.set_value(value)
        self._show(seen)
        self.moved(seen.unit)
