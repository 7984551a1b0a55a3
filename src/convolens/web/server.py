"""The app: its three pages, its guard, and the server that answers on one address."""

import logging
import socket

from fastapi import HTTPException
from fastapi.responses import HTMLResponse
from nicegui import app, ui

from convolens.errors import ConvolensError, UnavailableError
from convolens.web.design_page import DesignPage
from convolens.web.folders import Folders
from convolens.web.frame import STYLE
from convolens.web.guard import Guard
from convolens.web.look_page import LookPage
from convolens.web.runs_page import RunsPage
from convolens.web.shelf import Shelf
from convolens.web.trainings import Trainings

FIRST_PORT, NUM_PORTS = 8080, 20
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" '
    'rx="3" fill="#0072b2"/><path d="M3 3h6v6H3zM7 7h6v6H7z" fill="none" stroke="#fff"/></svg>'
)
_GONE = "Client has been deleted"
# A report is shown as what it is, a document: whoever wrote it, no script of it runs here.
_REPORT_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; "
    "style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
}


def serve(folders: Folders, *, host: str, port: int, open_browser: bool) -> None:
    """Serves the app until it is interrupted; trainings that it started are then stopped and saved.

    Args:
        folders: what it may read.
        host, port: where it listens.
        open_browser: whether to open it in the user's browser.
    """
    # A visitor may leave while a network works for them; what it finds has nowhere to go then.
    logging.getLogger("nicegui").addFilter(lambda record: _GONE not in record.getMessage())
    trainings = Trainings(folders)
    _add_pages(folders, trainings)
    ui.add_css(STYLE, shared=True)
    app.add_middleware(Guard, host=host)
    app.on_shutdown(trainings.close)
    ui.run(
        host=host,
        port=port,
        title="convolens",
        favicon=ICON,
        dark=None,
        language="en-US",
        reload=False,
        show=open_browser,
        tailwind=False,
        show_welcome_message=False,
        uvicorn_logging_level="error",
    )


def _add_pages(folders: Folders, trainings: Trainings) -> None:
    shelf = Shelf(folders)

    @ui.page("/")
    async def design(model: str = "") -> None:
        await DesignPage(folders, model).begin()

    @ui.page("/runs")
    async def runs() -> None:
        await RunsPage(folders, shelf, trainings).begin()

    @ui.page("/look")
    async def look(run: str = "") -> None:
        await LookPage(folders, run).begin()

    @app.get("/report")
    def report(run: str) -> HTMLResponse:
        try:
            page = (folders.run(run) / "report.html").read_text(encoding="utf-8")
        except (ConvolensError, OSError, ValueError) as error:
            raise HTTPException(404, f"there is no report of {run}") from error
        return HTMLResponse(page, headers=_REPORT_HEADERS)


def free_port(host: str, port: int | None) -> int:
    """The port that is asked for, or the first free one from 8080 on.

    Raises:
        UnavailableError: when it is taken, or the address is not this machine's.
    """
    wanted = range(FIRST_PORT, FIRST_PORT + NUM_PORTS) if port is None else (port,)
    reason = ""
    for number in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, number))
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                return int(probe.getsockname()[1])
    ports = f"{wanted[0]}" if len(wanted) == 1 else f"{wanted[0]} to {wanted[-1]}"
    raise UnavailableError(
        f"the app cannot listen on {host}, port {ports}: {reason}", "Choose another --port."
    )
