"""Compiles the C sources of this folder with the system's compiler, once for each machine."""

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from convolens.errors import UnavailableError

FOLDER = Path(__file__).parent
# gcc first: it is the compiler that PyTorch's own threads (libgomp) come from.
COMPILERS = ("gcc", "cc", "clang")
FLAGS = (
    "-std=c11",
    "-O3",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",  # lets comparisons become masks; NaN is still exact
    "-ffp-contract=fast",
    "-Wno-psabi",
)
NATIVE = ("-march=native", "-mcpu=native")  # the second where Clang does not know the first
TIMEOUT_S = 60

Half = Literal["float16", "bfloat16"]
_HALVES: tuple[Half | None, ...] = (None, "float16", "bfloat16")  # as simd.h numbers them


def load_library(cache_folder: Path) -> ctypes.CDLL:
    """Returns the compiled kernels, compiling them if this machine has not done so before.

    Args:
        cache_folder: where the compiled file is kept; it can be made again at any time.
    Raises:
        UnavailableError: when there is no compiler, it fails, or the file cannot be written.
    """
    found = _find(cache_folder.absolute())
    if isinstance(found, str):
        raise UnavailableError(found, "PyTorch's own operations are used instead.")
    return found


def why_unavailable(cache_folder: Path) -> str | None:
    """Says in one sentence why the kernels cannot be used here; None when they can."""
    found = _find(cache_folder.absolute())
    return found if isinstance(found, str) else None


def half_precision(library: ctypes.CDLL) -> Half | None:
    """Of which numbers of two bytes this processor takes twice as many products at a time."""
    return _HALVES[int(library.convolens_half())]


@cache
def kernels_version() -> str:
    """Changes whenever the kernels do, or where they are used."""
    contents = (path.read_bytes() for path in sorted(FOLDER.glob("*.*")) if path.is_file())
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]


@cache
def _find(cache_folder: Path) -> ctypes.CDLL | str:
    """The library, or why there is none; asked once by each process."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return f"no C compiler was found: none of {', '.join(COMPILERS)} is on the PATH"
    try:
        stem = f"kernels-{_key(compiler)}"
        library = _load_built(cache_folder, stem) or _build(compiler, cache_folder, stem)
    except subprocess.TimeoutExpired:
        return f"the C compiler {compiler} did not finish within {TIMEOUT_S} s"
    except OSError as error:
        return f"the compiled kernels cannot be kept in {cache_folder}: {error.strerror or error}"
    if isinstance(library, ctypes.CDLL):
        lend_threads(library)
    return library


def _key(compiler: str) -> str:
    """Changes whenever the same commands might give another machine code."""
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, timeout=TIMEOUT_S, check=False
    )
    parts = [version.stdout, " ".join(FLAGS).encode(), _processor().encode()]
    parts += [path.read_bytes() for path in sorted(FOLDER.glob("*.[ch]"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    """The instructions that this processor knows, as far as the system tells."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        kinds = ("model name", "flags", "Features")
        return "\n".join(sorted({line for line in lines if line.startswith(kinds)}))
    return f"{platform.machine()} {platform.processor()}"


def _load_built(cache_folder: Path, stem: str) -> ctypes.CDLL | None:
    """The file kept from an earlier time, if it is whole: its name ends in its own checksum."""
    for path in sorted(cache_folder.glob(f"{stem}-*.so")):
        if path.name == _name(stem, path):
            with suppress(OSError):
                return ctypes.CDLL(str(path))
        with suppress(OSError):
            path.unlink()
    return None


def _name(stem: str, path: Path) -> str:
    return f"{stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.so"


def _build(compiler: str, cache_folder: Path, stem: str) -> ctypes.CDLL | str:
    """Compiles beside the final place and renames, so that two processes may do so at once."""
    cache_folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    with tempfile.TemporaryDirectory(prefix=".kernels-", dir=cache_folder) as workshop:
        unnamed = Path(workshop) / "kernels.so"
        for native in NATIVE:
            reason = compile_sources(compiler, unnamed, native)
            if reason is None:
                path = cache_folder / _name(stem, unnamed)
                unnamed.replace(path)
                return ctypes.CDLL(str(path))
            reasons.append(reason)
    return f"the C compiler {compiler} failed: {reasons[0]}"


def compile_sources(compiler: str, target: Path, *flags: str) -> str | None:
    """Makes a library of the C files; says why, in a line, where the compiler could not."""
    done = subprocess.run(
        [compiler, *FLAGS, *flags, "-o", str(target), *map(str, sorted(FOLDER.glob("*.c")))],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.strip().splitlines()), f"exit status {done.returncode}")


def lend_threads(library: ctypes.CDLL) -> None:
    """Lets the kernels run on the threads of PyTorch's OpenMP, so that no second pool competes."""
    candidates: list[str | None] = [None]  # what is loaded for everyone
    candidates += map(str, sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*")))
    for name in candidates:
        with suppress(OSError, AttributeError):
            runtime = ctypes.CDLL(name)
            entries = (runtime.GOMP_parallel, runtime.omp_get_thread_num)
            library.convolens_use_threads(*(ctypes.cast(e, ctypes.c_void_p) for e in entries))
            return
