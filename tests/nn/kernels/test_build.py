import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convolens.errors import UnavailableError
from convolens.nn.kernels import build
from convolens.nn.kernels.build import load_library, why_unavailable
from convolens.nn.kernels.conv_pool import conv_pool, stock_conv_pool

SOURCE = Path(__file__).parents[3] / "src"
USE = """
import sys
from pathlib import Path
from convolens.nn.kernels.build import load_library
sys.stdout.write(str(load_library(Path(sys.argv[1])).convolens_lanes()))
"""


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Each test looks for a library as a new process would."""
    build._find.cache_clear()


def works(folder: Path) -> bool:
    x, weight = torch.randn(2, 1, 8, 8), torch.randn(4, 1, 3, 3)
    out = conv_pool(x, weight, None, load_library(folder))
    return torch.allclose(out, stock_conv_pool(x, weight, None), atol=1e-5)


def test_without_a_compiler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    reason = why_unavailable(tmp_path)
    assert reason == "no C compiler was found: none of gcc, cc, clang is on the PATH"
    with pytest.raises(UnavailableError, match="no C compiler was found") as caught:
        load_library(tmp_path)
    assert caught.value.hint == "PyTorch's own operations are used instead."
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "bin" / "gcc"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho 'cannot find header' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(compiler.parent))
    cache = tmp_path / "cache"
    assert why_unavailable(cache) == f"the C compiler {compiler} failed: cannot find header"
    assert list(cache.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(library: object, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    reason = why_unavailable(blocked / "cache")
    assert reason is not None
    assert reason.startswith(f"the compiled kernels cannot be kept in {blocked / 'cache'}: ")


def test_is_built_once_and_rebuilt_when_damaged(library: object, tmp_path: Path) -> None:
    assert works(tmp_path)
    (built,) = tmp_path.iterdir()
    whole, first = built.read_bytes(), built.stat().st_mtime_ns
    build._find.cache_clear()
    assert works(tmp_path)
    assert built.stat().st_mtime_ns == first
    # A new file, as a damaged disk would show it; the one in use must not change under our feet.
    built.unlink()
    built.write_bytes(whole[: len(whole) // 2])
    build._find.cache_clear()
    assert works(tmp_path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [whole]


def test_two_processes_may_build_at_once(library: object, tmp_path: Path) -> None:
    command = [sys.executable, "-c", USE, str(tmp_path)]
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=SOURCE
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0] != ""
    assert all(path.suffix == ".so" for path in tmp_path.iterdir())


def test_other_sources_have_another_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = "/bin/true"
    key = build._key(compiler)
    assert build._key(compiler) == key
    monkeypatch.setattr(build, "_processor", lambda: "another")
    assert build._key(compiler) != key
