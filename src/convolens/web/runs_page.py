"""The page Runs: what has been trained, what trains now, and starting, stopping, removing it."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import events, ui

from convolens.web.charts import MOST_RUNS, chart_of, quantities_of, short_name, value_text
from convolens.web.folders import Folders
from convolens.web.frame import Message, heading, page, panel
from convolens.web.order_form import OrderForm
from convolens.web.shelf import Entry, Shelf
from convolens.web.training_card import TrainingCard
from convolens.web.trainings import Order, Training, Trainings
from convolens.web.worker import aside

EVERY_S = 1.5
_COLUMNS = (
    ("name", "Run", "left"),
    ("state", "State", "left"),
    ("data", "Data", "left"),
    ("model", "Network", "left"),
    ("epochs", "Epochs", "right"),
    ("best", "Best validation", "right"),
    ("test", "Test", "right"),
    ("seconds", "Seconds", "right"),
    ("changed", "Changed", "left"),
)
# A button, so that the keyboard can sort too: its click goes on to the cell.
_HEADER_CELL = """
<q-th :props="props"><button class="cl-sort" type="button">{{ props.col.label }}</button></q-th>"""
_TICK = """
<q-checkbox v-model="props.selected" dense :aria-label="'Choose ' + props.row.name"/>"""
_SHOWN = ("best", "test")  # columns sorted by a number and shown as a text


class RunsPage:
    """The page of one visitor.

    Args:
        folders: where the Runs are.
        shelf: what stands there.
        trainings: those that the app has started.
    """

    def __init__(self, folders: Folders, shelf: Shelf, trainings: Trainings) -> None:
        self.folders, self.shelf, self.trainings = folders, shelf, trainings
        self.entries: list[Entry] = []
        self.chosen: list[str] = []
        self.charts: dict[str, ui.echart] = {}
        self.cards: dict[Training, TrainingCard] = {}
        self.said: list[str] = []
        self.is_reading = False
        with page("/runs"):
            self.message = Message()
            with panel("Runs"):
                self._table()
                self._buttons()
                self.where = ui.label().classes("cl-soft")
            with panel("Curves of the chosen Runs"):
                self.hint = ui.label("Choose Runs in the table.").classes("cl-soft")
                self.plots = ui.element("div").classes("cl-even")
                self.last = ui.element("div").classes("cl-wide")
            self.now = ui.element("div").style("display: contents")
            OrderForm(self._start)

    def _table(self) -> None:
        columns = [
            {
                "name": name,
                "label": label,
                "field": name,
                "align": align,
                "sortable": True,
                **({":format": f"(value, row) => row.{name}_text"} if name in _SHOWN else {}),
            }
            for name, label, align in _COLUMNS
        ]
        self.table = ui.table(
            rows=[],
            columns=columns,
            row_key="key",
            selection="multiple",
            pagination=0,
            on_select=self._selected,
        )
        self.table.classes("cl-table").props(
            'flat dense hide-pagination no-data-label="There is no Run yet."'
        )
        self.table.style("max-height: 50vh").add_slot("header-cell", _HEADER_CELL)
        self.table.add_slot("body-selection", _TICK)

    def _buttons(self) -> None:
        with ui.element("div").classes("cl-line"):
            self.look = ui.button("Look", on_click=self._look)
            self.report = ui.button("Report", on_click=self._report)
            self.resume = ui.button("Go on", on_click=self._resume)
            self.stop = ui.button("Stop", on_click=self._stop)
            self.delete = ui.button("Delete", on_click=self._ask_to_delete, color="negative")
            for button in (self.look, self.report, self.resume, self.stop, self.delete):
                button.props("outline no-caps")

    async def begin(self) -> None:
        """Shows what there is, and then follows it."""
        await self._follow()
        ui.timer(EVERY_S, self._follow, immediate=False)

    async def _follow(self) -> None:
        if self.is_reading:
            return  # a folder on a slow disk takes longer than a beat
        self.is_reading = True
        try:
            entries = await aside(self.shelf.entries)
        finally:
            self.is_reading = False
        self.entries = entries
        names = {entry.name for entry in entries}
        self.chosen = [name for name in self.chosen if name in names]
        rows = [self._row(entry) for entry in entries]
        if rows != self.table.rows:
            self.table.rows = rows
            self.table.selected = [row for row in rows if row["key"] in self.chosen]
        roots = ", ".join(str(root.absolute()) for root in self.folders.runs)
        self.where.set_text(f"{len(rows)} in {roots}")
        self._show_trainings()
        self._show_curves()
        self._enable()

    def _row(self, entry: Entry) -> dict[str, Any]:
        training = self.trainings.running(entry.name)
        best, tested = entry.best, entry.tested
        changed = datetime.fromtimestamp(entry.changed).astimezone()
        return {
            "key": entry.name,
            "name": self._label(entry.name),
            "state": training.state if training else entry.state,
            "data": entry.data or entry.why,
            "model": entry.model,
            "epochs": len(entry.epochs),
            "best": best[1] if best else None,
            "best_text": f"{best[0]} {value_text(*best)}" if best else "–",
            "test": tested[1] if tested else None,
            "test_text": f"{tested[0]} {value_text(*tested)}" if tested else "–",
            "seconds": None if entry.seconds is None else round(entry.seconds, 1),
            "changed": f"{changed:%Y-%m-%d %H:%M:%S}",
        }

    def _label(self, name: str) -> str:
        """A Run's path, without the folder where there is only one."""
        roots = self.folders.runs
        if len(roots) == 1 and Path(name) != roots[0]:
            return str(Path(name).relative_to(roots[0]))
        return name

    def _selected(self, event: events.TableSelectionEventArguments) -> None:
        self.chosen = [row["key"] for row in event.selection]
        self._show_curves()
        self._enable()

    def _enable(self) -> None:
        chosen = [entry for entry in self.entries if entry.name in self.chosen]
        one = chosen[0] if len(chosen) == 1 else None
        running = [entry for entry in chosen if self.trainings.running(entry.name)]
        self.look.set_enabled(one is not None and one.state != "damaged")
        self.report.set_enabled(one is not None and one.report)
        self.resume.set_enabled(one is not None and one.state == "not complete" and not running)
        self.stop.set_enabled(bool(running))
        self.delete.set_enabled(bool(chosen) and not running)

    def _show_curves(self) -> None:
        chosen = [e for name in self.chosen for e in self.entries if e.name == name and e.epochs]
        self.hint.set_visibility(not chosen or len(chosen) > MOST_RUNS)
        if len(chosen) > MOST_RUNS:
            self.hint.set_text(f"The first {MOST_RUNS} of {len(chosen)} are shown.")
            chosen = chosen[:MOST_RUNS]
        elif not chosen:
            self.hint.set_text("Choose Runs in the table.")
        wanted = quantities_of(chosen)
        with self.plots:
            self.charts |= {n: _chart(chosen, n) for n in wanted if n not in self.charts}
        # A chart that is removed while it is still being made complains; hidden, it may be wanted.
        for name, chart in self.charts.items():
            chart.set_visibility(name in wanted)
            options = chart_of(chosen, name)
            if options != chart.options:
                chart.options.clear()
                chart.options.update(options)
                chart.update()
        self._show_last(chosen, wanted)

    def _show_last(self, chosen: list[Entry], wanted: list[str]) -> None:
        """The last epoch's numbers, for those who do not see the curves."""
        texts = []
        for entry in chosen:
            row = entry.epochs[-1]
            numbers = [
                f"{split} {name.replace('_', ' ')} {value_text(name, row[f'{split}_{name}'])}"
                for name in wanted
                for split in ("train", "val")
                if f"{split}_{name}" in row
            ]
            where = f"{short_name(entry.name)}, epoch {len(entry.epochs)}"
            texts.append(f"{where}: {', '.join(numbers)}")
        if texts != self.said:
            self.said = texts
            self.last.clear()
            with self.last:
                for text in texts:
                    ui.label(text).classes("cl-soft").props("data-test=last")

    def _show_trainings(self) -> None:
        for training in [t for t in self.cards if t not in self.trainings.all]:
            self.cards.pop(training).section.delete()
        for training in self.trainings.all:
            if training not in self.cards:
                with self.now:
                    self.cards[training] = TrainingCard(training, self._stop_one, self._forget)
            self.cards[training].refresh()

    async def _start(self, order: Order) -> None:
        await self._try(partial(self.trainings.start, order))
        await self._follow()

    async def _try(self, act: Callable[[], object]) -> None:
        """Does something; where it fails, a message at the top says why."""
        self.message.clear()
        await self.message.attempt(aside, act)
        if self.message.is_shown:
            ui.run_javascript("window.scrollTo({top: 0})")

    async def _stop(self) -> None:
        for name in self.chosen:
            if self.trainings.running(name):
                await self._stop_one(name)

    async def _stop_one(self, name: str) -> None:
        await self._try(partial(self.trainings.stop, name))
        await self._follow()

    async def _forget(self, training: Training) -> None:
        self.trainings.forget(training)
        await self._follow()

    async def _resume(self) -> None:
        if self.chosen:
            await self._try(partial(self.trainings.resume, self.chosen[0]))
            await self._follow()

    def _look(self) -> None:
        ui.navigate.to(f"/look?run={quote(self.chosen[0])}")

    def _report(self) -> None:
        ui.navigate.to(f"/report?run={quote(self.chosen[0])}", new_tab=True)

    async def _ask_to_delete(self) -> None:
        names = list(self.chosen)
        what = f"the Run {names[0]}" if len(names) == 1 else f"these {len(names)} Runs"
        with ui.dialog() as dialog, ui.card():
            heading(f"Delete {what}?")
            for name in names[:10] if len(names) > 1 else []:
                ui.label(name)
            if len(names) > 10:
                ui.label(f"… and {len(names) - 10} more")
            ui.label("Its weights, numbers and pictures are removed from the disk for good.")
            with ui.element("div").classes("cl-line"):
                cancel = ui.button("Cancel", on_click=lambda: dialog.submit(False))
                cancel.props("outline no-caps autofocus")
                sure = ui.button("Delete for good", on_click=lambda: dialog.submit(True))
                sure.props("no-caps outline color=negative")
        if await dialog:
            for name in names:
                if self.trainings.running(name):
                    self.message.show(f"{name} is training; stop it first")
                else:
                    await self._try(partial(self.folders.remove, name))
            await self._follow()
        dialog.delete()


def _chart(entries: list[Entry], name: str) -> ui.echart:
    chart = ui.echart(chart_of(entries, name), renderer="svg")
    chart.style("height: 300px; width: 100%")
    return chart.props(f'role=img aria-label="Curves of {name}; the last numbers stand below."')
