"""What all pages have: the heading with the way to the others, the look, and messages."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from nicegui import ui

from convolens.errors import ConvolensError

T = TypeVar("T")
PAGES = {"/": "Design", "/runs": "Runs", "/look": "Look"}
# Quasar's own colours are too pale for small text on white, and too dark on black.
STYLE = """
:root { --soft: #5f6670; --line: #d9dde3; --panel: #fff; --mark: #0072b2; --bad: #a63c00; }
.body--dark { --soft: #a9b0ba; --line: #3a4048; --panel: #1c2025; --mark: #6cb8e6; --bad: #ff9a5c; }
body { background: #f6f7f9; } .body--dark { background: #121417; }
.nicegui-content { padding: 0; align-items: stretch; gap: 0; }
.cl-head { display: flex; flex-wrap: wrap; gap: 4px 20px; align-items: center; width: 100%;
  padding: 8px 16px; background: var(--panel); border-bottom: 1px solid var(--line); }
.cl-head h1 { font-size: 1.05rem; line-height: 1.6; font-weight: 700; margin: 0; }
.cl-head nav { display: flex; gap: 4px; }
.cl-head a { padding: 6px 10px; border-radius: 6px; color: inherit; text-decoration: none; }
.cl-head a:hover { background: var(--line); }
.cl-head a[aria-current] { color: var(--mark); font-weight: 700;
  box-shadow: inset 0 -2px var(--mark); border-radius: 0; }
.cl-main { display: flex; flex-direction: column; gap: 12px; padding: 16px; width: 100%;
  max-width: 1500px; margin: 0 auto; min-width: 0; }
.cl-two { display: grid; grid-template-columns: minmax(0, 1fr) 440px; gap: 12px; width: 100%;
  align-items: start; }
.cl-even { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px;
  width: 100%; align-items: start; }
.cl-panel { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px; display: flex; flex-direction: column; gap: 8px; min-width: 0; width: 100%; }
.cl-panel h2 { font-size: 1rem; line-height: 1.4; font-weight: 700; margin: 0; }
.cl-line { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; width: 100%; }
.cl-look { display: grid; grid-template: "picture layer" auto "units layer" auto
  "units speaks" 1fr / minmax(0, 1fr) minmax(0, 1fr); gap: 12px; width: 100%; align-items: start; }
.cl-look > :nth-child(1) { grid-area: picture; } .cl-look > :nth-child(2) { grid-area: layer; }
.cl-look > :nth-child(3) { grid-area: units; } .cl-look > :nth-child(4) { grid-area: speaks; }
.cl-form { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px;
  width: 100%; }
.cl-said-of { width: 100%; max-width: 420px; image-rendering: pixelated; }
.cl-figure { width: 100%; max-width: 640px; }
.cl-soft { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.cl-wide { overflow-x: auto; width: 100%; }
.cl-said { color: var(--bad); font-weight: 600; white-space: pre-wrap; overflow-wrap: anywhere; }
.cl-said:empty { display: none; }
.cl-text { font: 12px/1.5 "DejaVu Sans Mono", ui-monospace, Menlo, Consolas, monospace;
  white-space: pre; overflow: auto; margin: 0; width: 100%; max-height: 460px; }
.cl-dots img { image-rendering: pixelated; } .cl-dots { width: 100%; cursor: crosshair; }
.cl-facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 14px;
  margin: 0; font-variant-numeric: tabular-nums; }
.cl-facts dt { color: var(--soft); } .cl-facts dd { margin: 0; overflow-wrap: anywhere; }
.cl-busy { opacity: .45; transition: opacity .2s .25s; }
.cl-drawing svg { max-width: none; } .cl-drawing g:not(.step) { cursor: pointer; }
.cl-table { width: 100%; } .cl-table .q-table th { font-weight: 700; }
.cl-table .q-table td, .cl-table .q-table th { padding: 2px 8px; }
.cl-table thead tr th { position: sticky; top: 0; z-index: 1; background: var(--panel); }
.cl-table tr.cl-picked td { background: color-mix(in srgb, var(--mark) 22%, transparent); }
.cl-name { background: none; border: 0; padding: 3px 0; font: inherit; color: var(--mark);
  cursor: pointer; text-align: left; text-decoration: underline; text-underline-offset: 2px; }
.cl-step { min-width: 40px; font-size: 1.2rem; }
.cl-sort { background: none; border: 0; padding: 2px 0; font: inherit; color: inherit;
  cursor: pointer; }
.q-table__card, .q-table--dark { background: transparent; }
/* An element's own style carries these, and Quasar's rules are important: so is this one. */
.body--dark { --q-primary: #6cb8e6 !important; --q-negative: #ff9a5c !important; }
.q-uploader { width: 100%; max-height: none; } .q-uploader__list { min-height: 0; padding: 0; }
.q-uploader { border: 1px dashed var(--soft); }
.q-uploader, .q-uploader__header { background: transparent; color: inherit; }
.q-uploader__header::before { display: none; }
.q-uploader__title { font-weight: 400; } .q-uploader__subtitle { display: none; }
.q-uploader__list:empty { display: none; }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 1px; }
@media (max-width: 1000px) {
  .cl-two, .cl-even { grid-template-columns: minmax(0, 1fr); }
  .cl-look { grid-template: "picture" "layer" "units" "speaks" / minmax(0, 1fr); }
}
@media (max-width: 500px) { .cl-main { padding: 8px; } .cl-panel { padding: 8px; } }
"""


class Message:
    """A line that says what went wrong, and one that says that something is worked on.

    A screen reader reads both out.
    """

    def __init__(self) -> None:
        self._label = ui.label().classes("cl-said").props("role=alert")
        self._busy = ui.label("working …").classes("cl-soft").props("role=status")
        self._busy.set_visibility(False)

    def show(self, error: ConvolensError | str) -> None:
        """Shows an error, with what to do about it."""
        self._label.set_text(str(error))

    @property
    def is_shown(self) -> bool:
        """Whether something is wrong."""
        return bool(self._label.text)

    def clear(self) -> None:
        """Nothing is wrong any more."""
        self._label.set_text("")

    async def attempt(
        self, runner: Callable[[Callable[[], T]], Awaitable[T]], function: Callable[[], T]
    ) -> T | None:
        """What a function gives, run by `work` or `aside`; nothing, with its error, if it fails."""
        self._busy.set_visibility(True)
        try:
            return await runner(function)
        except ConvolensError as error:
            self.show(error)
            return None
        finally:
            self._busy.set_visibility(False)


@contextmanager
def page(path: str) -> Iterator[None]:
    """The frame of a page; inside, its own content is made."""
    ui.colors(primary="#0072b2", negative="#a63c00")
    ui.page_title(f"{PAGES[path]} · convolens")
    with ui.element("header").classes("cl-head"):
        with ui.element("h1"):
            ui.label("convolens")
        with ui.element("nav").props('aria-label="Pages"'):
            for target, name in PAGES.items():
                link = ui.link(name, target)
                if target == path:
                    link.props("aria-current=page")
    with ui.element("main").classes("cl-main"):
        yield


@contextmanager
def panel(title: str) -> Iterator[ui.element]:
    """A framed part of a page, with a heading."""
    with ui.element("section").classes("cl-panel") as section:
        heading(title)
        yield section


def heading(text: str) -> ui.label:
    """A heading of a part."""
    with ui.element("h2"):
        return ui.label(text)


def facts(items: list[tuple[str, str]]) -> None:
    """Names and values, one below the other."""
    with ui.element("dl").classes("cl-facts"):
        for name, value in items:
            with ui.element("dt"):
                ui.label(name)
            with ui.element("dd"):
                ui.label(value)


def span_text(rows: tuple[int, int], cols: tuple[int, int]) -> str:
    """A rectangle of pixels in words.

    Example:
        >>> span_text((0, 4), (2, 6))
        'rows 0 to 4, columns 2 to 6: 5×5 px'
    """
    size = f"{rows[1] - rows[0] + 1}×{cols[1] - cols[0] + 1} px"
    return f"rows {rows[0]} to {rows[1]}, columns {cols[0]} to {cols[1]}: {size}"


def frame_svg(
    rows: tuple[int, int], cols: tuple[int, int], side: float, colour: str = "#d55e00"
) -> str:
    """A rectangle over a picture, whose longer side is `side`, seen on any ground."""
    x, y = cols[0], rows[0]
    box = f'x="{x}" y="{y}" width="{cols[1] - x + 1}" height="{rows[1] - y + 1}" fill="none"'
    return (
        f'<rect {box} stroke="white" stroke-width="{side / 80:.3f}"/>'
        f'<rect {box} stroke="{colour}" stroke-width="{side / 140:.3f}"/>'
    )
