import ctypes
import platform
import shutil
from pathlib import Path

import pytest

from convolens.nn.kernels.build import (
    COMPILERS,
    compile_sources,
    half_precision,
    lend_threads,
    load_library,
    why_unavailable,
)

# The widths of vectors that other processors have, as far as this one can run them.
NARROWER = {"native": None, "avx2": "-march=haswell", "sse2": "-march=x86-64"}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("kernels")
    reason = why_unavailable(folder)
    if reason:
        pytest.skip(reason)
    return load_library(folder)


@pytest.fixture(scope="session", params=NARROWER)
def each_library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ctypes.CDLL:
    """The kernels as this machine compiles them, and as narrower processors would run them."""
    flag = NARROWER[request.param]
    if flag is None:
        native: ctypes.CDLL = request.getfixturevalue("library")
        return native
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs a C compiler on x86-64")
    target: Path = tmp_path_factory.mktemp(request.param) / "kernels.so"
    reason = compile_sources(compiler, target, flag)
    if reason is not None:
        pytest.skip(reason)
    narrow = ctypes.CDLL(str(target))
    lend_threads(narrow)
    return narrow


@pytest.fixture(scope="session", params=["float16", "bfloat16"])
def half_library(
    request: pytest.FixtureRequest, library: ctypes.CDLL, tmp_path_factory: pytest.TempPathFactory
) -> ctypes.CDLL:
    """The kernels of one kind of half precision, as far as this processor has it."""
    own = half_precision(library)
    if own == request.param:
        return library
    if own is None or request.param == "float16":
        pytest.skip(f"this processor has no products of {request.param}")
    # One that has float16, which is preferred, may have both.
    target: Path = tmp_path_factory.mktemp("half") / "kernels.so"
    compiler = next(filter(None, map(shutil.which, COMPILERS)))
    if reason := compile_sources(compiler, target, "-march=native", "-mno-avx512fp16"):
        pytest.skip(reason)
    other = ctypes.CDLL(str(target))
    lend_threads(other)
    if half_precision(other) != request.param:
        pytest.skip(f"this processor has no products of {request.param}")
    return other
