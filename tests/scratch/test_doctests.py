import doctest
import importlib
from pathlib import Path

import pytest

import convolens.scratch

FILES = sorted(Path(convolens.scratch.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_the_examples_give_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"convolens.scratch.{name}")).failed == 0


@pytest.mark.parametrize("name", ["im2col", "conv2d", "fft", "winograd"])
def test_the_worked_example_is_among_them(name: str) -> None:
    """4×4 input, 3×3 filter, first sum 15."""
    module = importlib.import_module(f"convolens.scratch.{name}")
    wanted = [e.want for test in doctest.DocTestFinder().find(module) for e in test.examples]
    assert any("[15., 16.]" in want for want in wanted)
