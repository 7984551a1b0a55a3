"""The app in a real browser: what a person types, clicks and drops, and what they then read."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError

import pytest

from convolens.analysis.explanation import text_of
from convolens.analysis.table import how
from convolens.web.picture import sample_bytes
from convolens.workbench.explain import explain
from convolens.workbench.field import field
from convolens.workbench.run import Run
from convolens.workbench.summary import summarize

pytest.importorskip("nicegui", reason="the app is an extra: pip install 'convolens[web]'")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium on this machine", allow_module_level=True)
WAIT_MS = 60_000  # a loaded machine is slow; the tests go on as soon as they can


class Server:
    """The app in a process of its own, with its folder of Runs."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        # Beneath a test NiceGUI serves its own way, and pytest says so in the environment.
        env = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        words = ["app", "runs", "--no-browser", "--port", str(self.port)]
        self.log = (runs.parent / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "convolens", *words],
            cwd=runs.parent,
            env=env,
            stderr=self.log,
        )

    def wait(self) -> None:
        until(self._answers, 120)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.said()
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except OSError:
            return False
        return True

    def said(self) -> str:
        return (self.runs.parent / "log").read_text()

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()


def until(true: Callable[[], bool], seconds: float = WAIT_MS / 1000) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("app")
    for name in ("first", "second"):
        shutil.copytree(trained / "first", folder / "runs" / name)
    (folder / "runs/bad").mkdir()
    (folder / "runs/bad/config.json").write_text("{")
    (folder / "runs/first/report.html").write_text("<p>the report</p><script>alert(1)</script>")
    (folder / "drawn.png").write_bytes(sample_bytes())
    one = Server(folder / "runs")
    try:
        one.wait()
        yield one
    finally:
        one.close()
    assert "Traceback" not in one.said()
    assert one.said().startswith(f"convolens app: {one.url}  (Ctrl-C ends it)\n")


@pytest.fixture(scope="module")
def browser() -> Iterator["api.Browser"]:
    with api.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu"]
        api.expect.set_options(timeout=WAIT_MS)
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: "api.Browser", server: Server) -> Iterator["api.Page"]:
    """A page that may say nothing in its console, and ask nobody else for anything."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    one = context.new_page()
    one.set_default_timeout(WAIT_MS)
    heard: list[str] = []
    own = (server.url, server.url.replace("http", "ws"), "data:", "blob:")
    one.on("console", lambda m: heard.append(m.text) if m.type in ("error", "warning") else None)
    one.on("pageerror", lambda error: heard.append(str(error)))
    one.on("request", lambda r: None if r.url.startswith(own) else heard.append(r.url))
    one.on("websocket", lambda w: None if w.url.startswith(own) else heard.append(w.url))
    yield one
    context.close()
    assert heard == []


def facts(page: "api.Page", around: str) -> dict[str, str]:
    """The names and values that stand on a page."""
    names = page.locator(f"{around} dt").all_inner_texts()
    return dict(zip(names, page.locator(f"{around} dd").all_inner_texts(), strict=True))


def read(page: "api.Page", what: str, text: str | re.Pattern[str]) -> None:
    api.expect(page.locator(f"[data-test={what}]")).to_have_text(text, timeout=WAIT_MS)


def opened(page: "api.Page", path: str) -> "api.Page":
    page.goto(path)
    return page


def row_of(page: "api.Page", name: str) -> "api.Locator":
    """The line of a Run in the table."""
    return page.locator("tbody tr", has=page.get_by_role("cell", name=name, exact=True))


NOTATION = "3x40x40 | conv 12 5x5 /2 p2 | relu | maxpool 3x3 /2 | conv 24 3x3 | relu | fc 7"


def test_type_a_network_and_read_its_numbers(page: "api.Page") -> None:
    opened(page, "/").fill("input[data-test=model], textarea[data-test=model]", NOTATION)
    graph = summarize(NOTATION)
    read_total = page.locator(".cl-two dd").first
    api.expect(read_total).to_have_text(f"{graph.totals.params:,}")
    assert facts(page, ".cl-two")["MACs"].startswith(f"{graph.totals.macs:,}")
    rows = page.locator(".cl-table tr:has(button.cl-name)").all()
    assert [row.locator("button").inner_text() for row in rows] == [r.name for r in graph.rows]
    outputs = [row.locator("td").nth(2).inner_text().replace(",", "") for row in rows]
    assert outputs == ["×".join(map(str, row.output)) for row in graph.rows]
    assert page.locator(".cl-drawing svg g:not(.step)").count() >= 5


def test_a_wrong_word_is_an_error_on_the_page(page: "api.Page") -> None:
    box = "input[data-test=model], textarea[data-test=model]"
    opened(page, "/").fill(box, "lenet9")
    message = page.locator("[role=alert]")
    api.expect(message).to_contain_text("there is no network called 'lenet9'")
    page.fill(box, "net.py:Net")
    api.expect(message).to_contain_text("the app runs no files")
    page.fill(box, "lenet5")
    api.expect(message).to_be_empty()
    api.expect(page.locator(".cl-two dd").first).to_have_text("61,706")


def test_a_layer_its_arithmetic_and_its_field(page: "api.Page") -> None:
    opened(page, "/?model=lenet5").wait_for_selector("text=61,706")
    button = page.get_by_role("button", name="How the numbers of conv2 come about")
    button.focus()
    page.keyboard.press("Enter")
    read(page, "layer", "conv2: Conv2d")
    (expected,) = how(summarize("lenet5"), "conv2")
    shown = facts(page, "section.cl-panel:has([data-test=layer])")
    assert shown == {
        s.what: f"{s.arithmetic} = {s.value}" if s.arithmetic else s.value for s in expected.steps
    }
    page.fill("[data-test=unit-y]", "0")
    page.fill("[data-test=unit-x]", "9")
    seen = field("lenet5", "conv2", (0, 9))
    (top, bottom), (left, right) = seen.rows, seen.cols
    text = f"rows {top} to {bottom}, columns {left} to {right}: 14×14 px"
    read(page, "field", f"It sees {text}")
    picture = page.locator("[data-test=picture]")
    box = picture.bounding_box()
    assert box is not None
    picture.click(position={"x": box["width"] * 0.99, "y": box["height"] * 0.99})
    (top, bottom), (left, right) = field("lenet5", "conv2", (9, 9)).rows, (18, 31)
    read(page, "field", f"It sees rows {top} to {bottom}, columns {left} to {right}: 14×14 px")


def test_a_click_on_the_drawing_chooses_its_layer(page: "api.Page") -> None:
    opened(page, "/?model=lenet5").wait_for_selector("text=61,706")
    page.locator(".cl-drawing svg g:not(.step)").nth(1).click()
    read(page, "layer", re.compile("^(conv1|act1): "))


def test_the_runs_their_order_and_their_curves(page: "api.Page", server: Server) -> None:
    opened(page, "/runs").wait_for_selector("td:has-text('second')")
    run = Run.open(server.runs / "first")
    cells = row_of(page, "first").locator("td").all_inner_texts()
    assert cells[2:6] == ["complete", "digits", "lenet5", "1"]
    assert cells[7] == f"accuracy {100 * run.test['metrics']['accuracy']:.2f} %"
    for label, order in (("Run", ["bad", "first", "second"]), ("Run", ["second", "first", "bad"])):
        page.get_by_role("button", name=label, exact=True).click()
        names = page.locator("tbody td:nth-child(2)")
        api.expect(names).to_have_text(order)
    for name in ("first", "second"):
        row_of(page, name).get_by_role("checkbox").click()
    last = run.rows[-1]
    losses = f"train loss {last['train_loss']:.4g}, val loss {last['val_loss']:.4g}"
    expected = f"first, epoch 1: {losses}"
    api.expect(page.locator("[data-test=last]").first).to_contain_text(expected)
    api.expect(page.locator("[data-test=last]")).to_have_count(2)
    assert page.locator(".nicegui-echart svg").count() >= 2


def test_a_damaged_run_says_so(page: "api.Page") -> None:
    row = row_of(opened(page, "/runs"), "bad")
    api.expect(row).to_contain_text("damaged")
    api.expect(row).to_contain_text("config.json is damaged: line 1")
    opened(page, "/look?run=runs/bad")
    api.expect(page.locator("[role=alert]")).to_contain_text("config.json is damaged")


def test_start_a_training_follow_it_and_stop_it(page: "api.Page", server: Server) -> None:
    opened(page, "/runs")
    page.get_by_label("Network or notation").fill("1x32x32 | fc 10")
    page.get_by_label("Epochs").fill("100000")
    page.get_by_label("Name").fill("live")
    page.get_by_role("button", name="Start").click()
    row = row_of(page, "live")
    api.expect(row).to_contain_text("training")
    read(page, "training", re.compile("^training, epoch [1-9]"))
    page.get_by_role("button", name="Stop and save").click()
    read(page, "training", re.compile("^stopped"))
    api.expect(row).to_contain_text("not complete")
    run = Run.open(server.runs / "live")
    assert 0 < len(run.rows) < 100_000
    assert any(run.folder.state.iterdir())  # from which it can go on
    api.expect(row.locator("td").nth(5)).to_have_text(str(len(run.rows)))
    row.get_by_role("checkbox").click()
    api.expect(page.get_by_role("button", name="Go on")).to_be_enabled()


def test_a_wrong_order_is_an_error_on_the_page(page: "api.Page") -> None:
    opened(page, "/runs").get_by_label("Data", exact=True).fill("/etc")
    page.get_by_role("button", name="Start").click()
    api.expect(page.locator("[role=alert]")).to_contain_text("/etc is no dataset's name")


def test_a_run_is_deleted_after_a_question(page: "api.Page", server: Server) -> None:
    shutil.copytree(server.runs / "first", server.runs / "old")
    row_of(opened(page, "/runs"), "old").get_by_role("checkbox").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    api.expect(page.get_by_role("dialog")).to_have_count(0)
    assert (server.runs / "old").exists()
    page.get_by_role("button", name="Delete").click()
    api.expect(page.get_by_role("dialog")).to_contain_text("Delete the Run runs/old?")
    page.get_by_role("button", name="Delete for good").click()
    api.expect(row_of(page, "old")).to_have_count(0)
    assert not (server.runs / "old").exists()
    assert (server.runs / "first").exists()


def drop(page: "api.Page", name: str, content: bytes) -> None:
    """Drops a file on the place for it, as the browser does."""
    given = page.evaluate_handle(
        """([name, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'}));
          return data;
        }""",
        [name, list(content)],
    )
    page.dispatch_event(".q-uploader", "dragover", {"dataTransfer": given})
    page.dispatch_event(".q-uploader__dnd", "drop", {"dataTransfer": given})


def test_drop_a_picture_and_click_a_pixel(page: "api.Page", server: Server) -> None:
    opened(page, "/look?run=runs/first")
    read(page, "arithmetic", re.compile("^conv1, unit"))
    file = server.runs.parent / "drawn.png"
    drop(page, "dropped.png", file.read_bytes())
    page.wait_for_selector("text=dropped.png, as the network reads it: 32×32 px")
    (expected,) = Run.open(server.runs / "first").predict(file)
    shown = facts(page, "section:has([data-test=picture])")
    assert list(shown) == [label for label, _ in expected.labels]
    api.expect(page.locator("[data-test=maps] img")).to_be_visible()
    box = page.locator("[data-test=maps]").bounding_box()
    assert box is not None
    # Six maps of 28×28, three in a row, with a line of a pixel between them: 86×57 pixels.
    place = {"x": (29 + 5.5) / 86 * box["width"], "y": (29 + 20.5) / 57 * box["height"]}
    page.locator("[data-test=maps]").click(position=place)
    one = explain(server.runs / "first", file, layer="conv1", unit=(4, 20, 5))
    text = text_of(one)
    arithmetic = page.locator("[data-test=arithmetic]")
    api.expect(arithmetic).to_contain_text("conv1, unit (4, 20, 5)")
    assert arithmetic.text_content() == text
    read(page, "value", f"value {one.network:.6g}")
    read(page, "field", "The unit sees rows 20 to 24, columns 5 to 9: 5×5 px")
    frame = page.locator("[data-test=picture] svg rect").first
    corner = [frame.get_attribute(key) for key in ("x", "y", "width", "height")]
    assert corner == ["5", "20", "5", "5"]


def test_walk_the_layers_type_a_unit_and_ask_for_saliency(page: "api.Page", server: Server) -> None:
    opened(page, "/look?run=runs/first")
    read(page, "shape", "conv1 gives 6×28×28")
    page.get_by_role("button", name="Next layer").click()
    read(page, "shape", "act1 gives 6×28×28")
    for key, value in (("c", "3"), ("y", "1"), ("x", "27")):
        page.fill(f"[data-test=unit-{key}]", value)
    api.expect(page.locator("[data-test=arithmetic]")).to_contain_text("act1, unit (3, 1, 27)")
    arithmetic = page.locator("[data-test=arithmetic]")
    unfold = page.get_by_role("button", name="Unfold the strongest terms")
    api.expect(unfold).to_have_count(0)  # it reads the picture itself
    page.get_by_role("button", name="Next layer").click()
    read(page, "shape", "pool1 gives 6×14×14")
    unfold.click()
    api.expect(arithmetic).to_contain_text("1. of its strongest terms:")
    page.get_by_text("As a picture").click()
    page.wait_for_selector(".q-expansion-item img")
    page.locator("[data-test=saliency]").click()
    page.wait_for_selector("[data-test=spoken]")
    page.get_by_role("button", name="Next test picture").click()
    page.wait_for_selector("text=/, class \\d, as the network reads it/")
    read(page, "shape", "pool1 gives 6×14×14")  # where one was


def test_a_damaged_picture_is_an_error_and_the_page_goes_on(page: "api.Page") -> None:
    opened(page, "/look?run=runs/first")
    read(page, "shape", "conv1 gives 6×28×28")
    drop(page, "cut.png", sample_bytes()[:3000])
    api.expect(page.locator("[role=alert]")).to_contain_text("cut.png is damaged")
    drop(page, "whole.png", sample_bytes())
    page.wait_for_selector("text=whole.png, as the network reads it")
    api.expect(page.locator("[role=alert]")).to_be_empty()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_no_page_is_wider_than_the_window(page: "api.Page", scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    for path, ready in (
        ("/", ".cl-drawing svg"),
        ("/runs", "tbody td"),
        ("/look?run=runs/first", "[data-test=arithmetic]"),
    ):
        opened(page, path).wait_for_selector(ready)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.body.classList.contains('body--dark')") == (scheme == "dark")


def status(server: Server, path: str, headers: dict[str, str], method: str = "GET") -> int:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


def test_foreign_sites_are_refused_on_every_way_in(server: Server) -> None:
    own = f"127.0.0.1:{server.port}"
    evil = {"Host": "evil.example"}
    foreign = {"Host": own, "Origin": "http://evil.example"}
    for path in ("/", "/runs", "/look", "/report?run=runs/first", "/_nicegui_ws/socket.io/?EIO=4"):
        assert status(server, path, evil) == 403
        assert status(server, path, foreign) == 403
    assert status(server, SOCKET, UPGRADE | {"Host": own, "Origin": f"http://{own}"}) == 101
    assert status(server, SOCKET, UPGRADE | foreign) == 403
    assert status(server, SOCKET, UPGRADE | evil) == 403


def test_long_uploads_are_not_read(server: Server) -> None:
    headers = {"Host": f"127.0.0.1:{server.port}", "Content-Length": str(10**9)}
    assert status(server, "/_nicegui/client/x/upload/1", headers, "POST") == 413


def test_a_report_is_shown_without_its_scripts(page: "api.Page", server: Server) -> None:
    answer = urllib.request.urlopen(f"{server.url}/report?run=runs/first")
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    answer.close()


@pytest.mark.parametrize("run", ["../log", "runs/../../x", "/etc", "runs/bad", "runs/none", ""])
def test_nothing_else_is_shown_as_a_report(server: Server, run: str) -> None:
    with pytest.raises(HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{server.url}/report?run={run}")
    assert json.loads(refused.value.read())["detail"] == f"there is no report of {run}"
    refused.value.close()
