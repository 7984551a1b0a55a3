import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convolens.errors import ConvolensError, RunError
from convolens.workbench.gathered import Lacking, tried
from convolens.workbench.report import report, report_at_end
from convolens.workbench.run import Run
from convolens.workbench.train import train

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ALL = (
    "In short",
    "What was trained, and how to repeat it",
    "The network",
    "Training",
    "The test",
    "What it looks at",
    "Machine, plan and time",
)


class Reader(HTMLParser):
    """The texts of a page's headings, warnings and commands, and its pictures' descriptions."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {"h1": [], "h2": [], "h3": [], "warning": [], "pre": []}
        self.alts: list[str] = []
        self.inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.inside = tag if tag in self.found else None
        if tag == "p" and given.get("class") == "warning":
            self.inside = "warning"
        if self.inside:
            self.found[self.inside].append("")
        if tag == "img":
            self.alts.append(given["alt"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[self.inside][-1] += data


def read(path: Path) -> Reader:
    reader = Reader(path.read_text(encoding="utf-8"))
    assert tuple(reader.found["h2"]) == ALL
    return reader


@pytest.fixture
def run(digits_run: Run, tmp_path: Path) -> Run:
    """A copy, which a test may damage."""
    return Run.open(shutil.copytree(digits_run.path, tmp_path / "moved" / "elsewhere"))


def test_a_whole_run_lacks_nothing(run: Run) -> None:
    path = report(run)
    assert path == run.path / "report.html"
    assert path.stat().st_size < 5_000_000
    page = read(path)
    assert page.found["warning"] == []
    assert page.found["h1"] == ["lenet5 on digits"]
    command = "convolens train digits --model lenet5 --epochs 4 --set plan.precision=float32"
    assert page.found["pre"][0] == command
    names = [alt.split(".")[0] for alt in page.alts]
    assert names[:4] == ["Curves", "Confusion", "Calibration", "Mistakes"]
    assert names[4:8] == ["Filters", "Patches", "Patches", "Flow"]
    assert names[-1] == "Embedding pca"
    assert names.count("Saliency") == 3
    assert names.count("Feature maps") == 3
    text = path.read_text(encoding="utf-8")
    accuracy = run.test["metrics"]["accuracy"]
    assert f"<dt>test accuracy</dt><dd>{100 * accuracy:.2f} %</dd>" in text
    assert "<dt>params</dt><dd>61,706</dd>" in text
    assert "with adam: gradients 241 KiB, optimizer state 482 KiB" in text
    assert "At the end of training" not in text  # repeated here, the test came out the same


def test_the_file_can_be_written_elsewhere(run: Run, tmp_path: Path) -> None:
    assert report(run.path, out=tmp_path / "mail.html") == tmp_path / "mail.html"
    assert not (run.path / "report.html").exists()
    with pytest.raises(RunError, match=r"no/such/x\.html cannot be written"):
        report(run, out=tmp_path / "no" / "such" / "x.html")


def test_the_end_of_training_is_told_where_it_is_or_why_there_is_none(run: Run) -> None:
    notes: list[str] = []
    path = run.path / "report.html"
    assert report_at_end(run, None, lambda event: notes.append(event.text)) == path
    assert notes == [f"The report is {path}; open it in a browser."]
    path.unlink()
    path.mkdir()
    assert report_at_end(run, None, lambda event: notes.append(event.text)) is None
    assert notes[1].startswith(f"the report could not be written: {path} cannot be written")


DAMAGES: dict[str, tuple[Callable[[Run], object], str]] = {
    "no metrics": (lambda run: run.folder.metrics_file.unlink(), "metrics.csv cannot be read"),
    "metrics that are no numbers": (
        lambda run: run.folder.metrics_file.write_text("epoch\nfirst\n"),
        "metrics.csv is damaged",
    ),
    "no environment": (lambda run: run.folder.env_file.unlink(), "env.json is missing"),
    "half an environment": (
        lambda run: run.folder.env_file.write_text("{"),
        "env.json is damaged: line 1",
    ),
    "a list of an environment": (
        lambda run: run.folder.env_file.write_text("[]"),
        "env.json is damaged: it is no object",
    ),
    "no weights": (
        lambda run: shutil.rmtree(run.path / "weights"),
        "best.safetensors is missing",
    ),
    "half a figure": (
        lambda run: (run.folder.figures / "filters.png").write_bytes(b"\x89PNG"),
        "figures/filters.png is not a whole PNG",
    ),
    "not complete": (
        lambda run: run.folder.test_file.unlink(),
        "The training is not complete; this is the test of its best weights",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_a_damaged_run_lacks_is_named(name: str, run: Run) -> None:
    damage, message = DAMAGES[name]
    damage(run)
    warnings = read(report(run.path)).found["warning"]
    assert any(message in warning for warning in warnings), warnings


def test_a_training_that_is_not_complete_says_so(run: Run) -> None:
    run.folder.test_file.unlink()
    text = report(run).read_text(encoding="utf-8")
    assert "This training is not complete: 4 of 4 epochs are done." in text


def test_what_is_no_run_has_no_report(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RunError, match="is not a Run"):
        report(tmp_path)
    run.folder.config_file.write_text("{}")
    with pytest.raises(RunError, match="is damaged"):
        report(run.path)
    assert not (run.path / "report.html").exists()


def test_other_weights_than_those_tested_are_noticed(run: Run) -> None:
    tree = json.loads(run.folder.test_file.read_text())
    tree["metrics"]["accuracy"] = 0.125
    run.folder.test_file.write_text(json.dumps(tree))
    (warning,) = read(report(run.path)).found["warning"]
    assert warning.startswith("At the end of training the accuracy was 12.50 %; repeated")


NETWORK = """
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x), inplace=True).mean((2, 3)))
"""


@pytest.fixture
def own(stripes: Path, tmp_path: Path) -> Run:
    """A Run of a folder with names that HTML must escape, and a network of the user's."""
    (stripes / "down").rename(stripes / "<b>down")
    (tmp_path / "net.py").write_text(NETWORK)
    model = f"{tmp_path / 'net.py'}:Net"
    settings = ["data.image_size=24", "plan=reference"]
    return train(str(stripes), model=model, epochs=1, out=tmp_path / "runs", settings=settings)


def test_a_folder_and_a_network_of_the_users(own: Run) -> None:
    page = read(report(own))
    assert page.found["warning"] == []
    assert page.found["pre"][0].startswith(f"convolens train {own.config.data.name} --model ")
    text = (own.path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;down" in text
    assert "<b>down" not in text


def test_pictures_and_networks_that_are_gone_are_named(own: Run) -> None:
    shutil.rmtree(own.config.data.name)
    page = read(report(own))
    assert len(page.found["warning"]) == 2  # of the test, and of feature maps and saliency
    assert all("there is no folder or archive at" in w for w in page.found["warning"])
    Path(own.config.model.name.partition(":")[0]).unlink()
    page = read(report(own.path))
    assert len(page.found["warning"]) == 3
    assert all("there is no file" in warning for warning in page.found["warning"])
    assert page.alts[0].startswith("Curves.")


def test_pictures_full_of_colours_stay_below_five_megabytes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        for i in range(40):
            path = tmp_path / "noise" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (96, 96, 3), np.uint8)).save(path)
    settings = ["data.image_size=96", "plan=reference", "data.val_fraction=0"]
    run = train(
        str(tmp_path / "noise"),
        model="3x96x96 | conv 64 7x7 /2 | relu | conv 64 3x3 | relu | avgpool 40x40 | fc 2",
        epochs=1,
        out=tmp_path,
        name="run",
        settings=settings,
    )
    path = report(run)
    # The network leaves pixels unread, which is a warning; but all that is to be shown is shown.
    assert not any("could not be made" in warning for warning in read(path).found["warning"])
    assert 1_000_000 < path.stat().st_size < 5_000_000


def test_any_error_becomes_one_line() -> None:
    def broken() -> None:
        raise ValueError("first\nsecond")

    def ours() -> None:
        raise ConvolensError("what", "hint")

    assert tried(broken) == Lacking("ValueError: first second")
    assert tried(ours) == Lacking("what hint")
    assert tried(lambda: 3) == 3


class Proxy(BaseHTTPRequestHandler):
    """Answers for one page, and writes down whatever else a browser asks for, anywhere."""

    page = b""
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        is_page = self.path == "http://run.test/report.html"
        self.send_response(200 if is_page else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if is_page:
            self.wfile.write(self.page)

    def do_CONNECT(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[[str], tuple[list[str], str]]]:
    """Opens a page in Chromium: what it asked for, and what its console said."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def browse(page: str) -> tuple[list[str], str]:
        Proxy.page, Proxy.asked = page.encode(), []
        words = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'chromium'}",
            f"--proxy-server=127.0.0.1:{server.server_port}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            "http://run.test/report.html",
        ]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as browser:
            try:
                _, said = browser.communicate(timeout=120)
            finally:
                with contextlib.suppress(ProcessLookupError):  # its children, if any are left
                    os.killpg(browser.pid, signal.SIGKILL)
        own = re.compile(r"google|gstatic|gvt1")  # what Chromium asks for by itself
        console = "\n".join(line for line in said.splitlines() if "CONSOLE" in line)
        return [url for url in Proxy.asked if not own.search(url)], console

    yield browse
    server.shutdown()
    server.server_close()


def test_a_browser_asks_for_nothing_else_and_complains_of_nothing(
    run: Run, browse: Callable[[str], tuple[list[str], str]]
) -> None:
    page = report(run).read_text(encoding="utf-8")
    assert browse(page) == (["http://run.test/report.html"], "")
    # The same eyes do see a request and an error.
    bad = "<img src='http://elsewhere.test/x.png'><script>nothing.at.all()</script>"
    asked, console = browse(page.replace("Content-Security-Policy", "x").replace("<main>", bad))
    assert "http://elsewhere.test/x.png" in asked
    assert "nothing is not defined" in console
