import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden anew, to be read by you"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with a file of tests/golden, which `--update-golden` writes."""

    def compare(name: str, text: str) -> None:
        if request.config.getoption("--update-golden"):
            (GOLDEN / name).write_text(text, encoding="utf-8")
        assert text == (GOLDEN / name).read_text(encoding="utf-8"), name

    return compare


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The tests' networks are so small that a second thread costs more than it brings."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache folder of the tests' own, for their processes too."""
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True, scope="session")
def no_reports() -> Iterator[None]:
    """A report takes longer than the trainings of these tests; those about it switch it on."""
    from convolens.workbench import report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "report_at_end", lambda *_: None)
        yield


Start = Callable[..., BaseProcess]
# Each process begins as a copy of one that has imported everything already: importing PyTorch
# anew would take longer than the trainings of these tests.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["convolens.workbench.train", "convolens.cli", "sklearn.datasets"])
RUN_CODE = """
import os
for number in (1, 2):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
os.environ |= environment
exec(code)
"""
TRAIN_CODE = "from convolens.cli import main; main(['train', *words])"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs a piece of code with the given names in a process of its own; it ends with the test.

    What it prints is added to the file `log`.
    """
    begun: list[BaseProcess] = []

    def start(
        code: str, *, log: Path | None = None, environment: dict[str, str] | None = None, **names
    ) -> BaseProcess:
        names |= {"code": code, "log": str(log or tmp_path / "log")}
        names |= {"environment": environment or {}}
        begun.append(PROCESSES.Process(target=exec, args=(RUN_CODE, names)))
        begun[-1].start()
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.join()


@pytest.fixture
def start_training(start: Start) -> Start:
    """Starts `convolens train WORDS`, as (*words, log=…, environment=…)."""
    return lambda *words, **options: start(TRAIN_CODE, words=[*map(str, words)], **options)
