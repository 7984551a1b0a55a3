"""The page Design: type a network, and see every number of it."""

from dataclasses import dataclass, field
from functools import partial

from nicegui import events, ui

from convolens.analysis.table import How, how
from convolens.errors import ConvolensError
from convolens.models.registry import MODELS
from convolens.web.folders import Folders
from convolens.web.frame import Message, facts, heading, page, panel
from convolens.web.picture import Pixels, fitted
from convolens.web.sketch import OPTIMIZERS, Seen, Sketch, Words, seen_by, sketch_of
from convolens.web.unit_panel import UnitPanel
from convolens.web.worker import work

FIRST = "1x28x28 | conv 8 5x5 same | relu | pool 2 | conv 16 3x3 | relu | pool 2 | fc 10"
MOST_UPLOAD_BYTES = 24 * 2**20
_DEBOUNCE = "debounce=350"
# The boxes of the drawing have no names; the how-manieth was clicked says which layer it is.
_CLICKED = """(event) => {
  const svg = event.target.closest('svg'), box = event.target.closest('g:not(.step)');
  if (svg && box) emit([...svg.querySelectorAll('g:not(.step)')].indexOf(box));
}"""
_PICKED = """(event) => {
  const button = event.target.closest('button[data-layer]');
  if (button) emit(button.dataset.layer);
}"""
_NAME_CELL = """
<q-tr :props="props" :class="props.row.picked ? 'cl-picked' : ''">
  <q-td v-for="col in props.cols" :key="col.name" :props="props">
    <button v-if="col.name == 'c0'" class="cl-name" type="button" :data-layer="props.row.layer"
      :aria-label="'How the numbers of ' + col.value + ' come about'">{{ col.value }}</button>
    <template v-else>{{ col.value }}</template>
  </q-td>
</q-tr>"""


@dataclass(kw_only=True)
class State:
    """What one visitor has before them."""

    asked: Words = field(default_factory=lambda: Words(model=FIRST))
    shown: Words | None = None
    is_busy: bool = False
    sketch: Sketch | None = None
    layer: str = ""
    unit: tuple[int, ...] | None = None
    picture: bytes | None = None
    picture_name: str = "a picture drawn by code"
    pixels: Pixels | None = None


class DesignPage:
    """The page of one visitor.

    Args:
        folders: where Runs that may be named lie.
        model: a MODEL word to begin with.
    """

    def __init__(self, folders: Folders, model: str) -> None:
        self.folders = folders
        self.state = State(asked=Words(model=model or FIRST))
        self.width = Words.width_px
        with page("/"):
            self._inputs()
            with ui.element("div").classes("cl-two"):
                with ui.element("div").classes("cl-panel") as self.paper:
                    self.drawing = ui.html(sanitize=False).classes("cl-wide cl-drawing")
                    self.drawing.on("click", self._drawing_clicked, js_handler=_CLICKED)
                    self.totals = ui.element("div")
                    self.table = ui.table(rows=[], columns=[], row_key="layer", pagination=0)
                    self.table.classes("cl-table").props(
                        "flat dense virtual-scroll hide-pagination"
                    )
                    self.table.style("max-height: 62vh").add_slot("body", _NAME_CELL)
                    self.table.on("click", self._picked, js_handler=_PICKED)
                    self.remarks = ui.element("div").classes("cl-soft")
                with panel("A layer") as self.panel:
                    self.detail = ui.element("div").style("display: contents")
        with self.detail:
            ui.label("Choose a layer in the table or the drawing.").classes("cl-soft")

    def _inputs(self) -> None:
        state = self.state
        with ui.element("section").classes("cl-panel"):
            self.word = ui.input("Network, or its notation", value=state.asked.model)
            self.word.props(f"{_DEBOUNCE} autofocus autogrow spellcheck=false data-test=model")
            self.word.classes("w-full").style("width: 100%").on_value_change(self._typed)
            with ui.element("div").classes("cl-form"):
                self.choice = ui.select(list(MODELS), label="Choose a network", with_input=True)
                self.choice.on_value_change(self._chosen)
                self.size = ui.input("Input, CxHxW", placeholder="its own").props(_DEBOUNCE)
                self.size.on_value_change(self._typed)
                self.batch = ui.number("Batch", value=1, min=1, step=1, precision=0)
                self.batch.props(_DEBOUNCE).on_value_change(self._typed)
                self.optimizer = ui.select(list(OPTIMIZERS), label="Optimizer", value="sgd")
                self.optimizer.on_value_change(self._typed)
            self.message = Message()

    async def begin(self) -> None:
        """Draws the first network, as wide as the window is."""
        await ui.context.client.connected()
        width = await ui.run_javascript("window.innerWidth", timeout=10) or 1280  # it may be gone
        beside = 500 if width > 1000 else 40
        self.width = max(300.0, min(float(width), 1500.0) - beside)
        await self._typed()

    async def _chosen(self, event: events.ValueChangeEventArguments[str | None]) -> None:
        if event.value:
            self.size.set_value("")
            self.word.set_value(event.value)

    async def _typed(self) -> None:
        """Follows what is typed; while one network is worked on, only the last words wait."""
        state = self.state
        state.asked = Words(
            model=self.word.value or "",
            size=self.size.value or "",
            batch=int(self.batch.value or 1),
            optimizer=self.optimizer.value,
            width_px=self.width,
        )
        if state.is_busy:
            return
        state.is_busy = True
        self.paper.classes("cl-busy")
        try:
            while state.asked != state.shown:
                words = state.asked
                await self._sketch(words)
                state.shown = words
        finally:
            state.is_busy = False
            self.paper.classes(remove="cl-busy")

    async def _sketch(self, words: Words) -> None:
        try:
            self.folders.check_model(words.model)
            sketch = await work(partial(sketch_of, words))
        except ConvolensError as error:
            self.message.show(error)
            return
        self.message.clear()
        self.state.sketch, self.state.pixels = sketch, None
        self._show(sketch)
        if self.state.layer in sketch.graph.by_name:
            await self._explain()
        else:
            self.state.layer = ""
            self.detail.clear()
            with self.detail:
                ui.label("Choose a layer in the table or the drawing.").classes("cl-soft")

    def _show(self, sketch: Sketch) -> None:
        lines = sketch.lines
        self.drawing.set_content(sketch.svg)
        self.totals.clear()
        with self.totals:
            heading(lines.title)
            facts(list(lines.totals))
        self.table.columns = [
            {
                "name": f"c{number}",
                "field": f"c{number}",
                "label": column.title,
                "align": column.align,
            }
            for number, column in enumerate(lines.columns)
        ]
        self._rows(sketch)
        self.remarks.clear()
        with self.remarks:
            for remark in lines.remarks:
                ui.label(remark)

    def _rows(self, sketch: Sketch) -> None:
        self.table.rows = [
            {
                "layer": row.name,
                "picked": row.name == self.state.layer,
                **{f"c{number}": cell for number, cell in enumerate(line.cells)},
            }
            for row, line in zip(sketch.graph.rows, sketch.lines.lines, strict=True)
        ]

    async def _drawing_clicked(self, event: events.GenericEventArguments) -> None:
        sketch = self.state.sketch
        place = event.args if isinstance(event.args, int) else -1
        if sketch is not None and 0 <= place < len(sketch.drawn) and sketch.drawn[place]:
            await self._pick(sketch.drawn[place])

    async def _picked(self, event: events.GenericEventArguments) -> None:
        await self._pick(str(event.args))
        ui.run_javascript(f"getElement({self.panel.id}).scrollIntoView({{block: 'nearest'}})")

    async def _pick(self, layer: str) -> None:
        sketch = self.state.sketch
        if sketch is None or layer not in sketch.graph.by_name:
            return
        self.state.layer, self.state.unit = layer, None
        self._rows(sketch)
        await self._explain()

    async def _explain(self) -> None:
        """The arithmetic of the chosen layer, and what a unit of it sees."""
        state, sketch, layer = self.state, self.state.sketch, self.state.layer
        if sketch is None:
            return
        find = partial(_found, sketch, layer, state.unit)
        found = await self.message.attempt(work, find)
        if found is None or layer != state.layer or sketch is not state.sketch:
            return  # it failed, or another was chosen meanwhile
        if state.pixels is None and sketch.size is not None:
            fit = partial(fitted, state.picture, state.picture_name, sketch.size)
            state.pixels = await self.message.attempt(work, fit)
        one, seen = found
        self.detail.clear()
        with self.detail:
            given = " and ".join("×".join(map(str, shape)) for shape in one.volumes[0])
            result = "×".join(map(str, one.volumes[1]))
            with ui.element("h2"):
                ui.label(f"{layer}: {one.kind}").props("data-test=layer")
            ui.label(f"{given} → {result}" if given else result)
            steps = [
                (s.what, f"{s.arithmetic} = {s.value}" if s.arithmetic else s.value)
                for s in one.steps
            ]
            facts(steps)
            heading("What a unit sees")
            UnitPanel(sketch, layer, seen, state.pixels, self.message, self._moved)
            if sketch.size is None:
                return
            upload = ui.upload(
                label="Drop another picture",
                auto_upload=True,
                max_file_size=MOST_UPLOAD_BYTES,
                on_upload=self._uploaded,
                on_rejected=lambda: self.message.show("this is no picture of at most 24 MiB"),
            )
            upload.props("accept=image/* flat")

    def _moved(self, unit: tuple[int, ...]) -> None:
        self.state.unit = unit

    async def _uploaded(self, event: events.UploadEventArguments) -> None:
        state, sketch = self.state, self.state.sketch
        if sketch is None or sketch.size is None:
            return
        self.message.clear()
        content, name = await event.file.read(), event.file.name
        pixels = await self.message.attempt(work, partial(fitted, content, name, sketch.size))
        if pixels is not None:
            state.picture, state.picture_name, state.pixels = content, name, pixels
            await self._explain()


def _found(sketch: Sketch, layer: str, unit: tuple[int, ...] | None) -> tuple[How, Seen]:
    """The arithmetic of a layer, and what one of its units sees."""
    one = next(each for each in how(sketch.graph, layer) if each.name == layer)
    return one, seen_by(sketch, layer, unit)
