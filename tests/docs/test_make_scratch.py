import doctest
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "scratch.md"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("make_scratch", DOCS / "make_scratch.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_of_the_page_comes_from_the_script(script: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert script.with_tables(page) == page
    assert page.count("<!-- end -->") == len(script.TABLES)


def test_a_table_that_is_missing_is_named(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="needs one table 'shapes', it has 0"):
        script.with_tables("no table")


def test_every_example_of_the_page_is_true() -> None:
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 25
    assert failed == 0


def test_the_page_shows_every_picture_and_each_is_small() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(images/scratch/(.+?)\.png\)", page)
    files = {path.stem: path for path in (DOCS / "images" / "scratch").iterdir()}
    assert sorted(shown) == sorted(files)
    for path in files.values():
        assert path.stat().st_size < 150_000, path.name
        with Image.open(path) as image:
            assert image.width <= 800, f"{path.name} would be too small to read on a phone"


def test_the_gradients_of_the_surfaces_are_those_of_the_surfaces(script: ModuleType) -> None:
    h = 1e-5
    for surface, gradient in (
        (script.bowl, script.bowl_gradient),
        (script.saddle, script.saddle_gradient),
    ):
        for p in np.random.default_rng(0).normal(size=(20, 2)):
            numerical = [
                (surface(*(p + step)) - surface(*(p - step))) / (2 * h) for step in h * np.eye(2)
            ]
            assert np.allclose(gradient(p), numerical, atol=1e-8)


def test_what_the_page_says_of_the_paths_is_so(script: ModuleType) -> None:
    paths = script.walks()
    steps = np.diff(paths["bowl"]["SGD"][:, 1])
    assert (steps[1:] * steps[:-1] < 0).all(), "zigzag"
    lowest = {k: p[:, 1].min() for k, p in paths["bowl"].items()}
    assert min(lowest["AdaGrad"], lowest["RMSprop"]) > -0.02, "nearly straight"
    assert lowest["momentum"] < lowest["Adam"] < -0.5, "Adam overshoots less"
    left = {k: np.flatnonzero(np.abs(p[:, 1]) > 0.5)[0] for k, p in paths["saddle"].items()}
    assert left["SGD"] > left["momentum"] > max(left[k] for k in ("AdaGrad", "RMSprop", "Adam"))
    ends = {k: script.saddle(*p[-1]) for k, p in paths["saddle"].items()}
    assert max(ends, key=ends.__getitem__) == "AdaGrad", "it slows down"
    last = {k: np.abs(np.diff(p[-10:, 1])) for k, p in paths["saddle"].items()}
    assert last["RMSprop"].min() > 3 * max(v.max() for k, v in last.items() if k != "RMSprop")
    width = {k: script.bowl(*p[-50:].T).mean() for k, p in paths["noise"].items()}
    assert width["SGD"] > width["momentum"] > width["RMSprop"] > width["Adam"] > width["AdaGrad"]


def test_what_the_page_says_of_initial_weights_is_so(script: ModuleType) -> None:
    sigmoid, relu = script.spreads()
    at_the_ends = [np.mean((x < 0.05) | (x > 0.95)) for x in sigmoid["std 1"]]
    assert min(at_the_ends) > 0.5
    assert np.abs(sigmoid["std 0.01"][-1] - 0.5).max() < 0.1
    stds = {name: np.array([x.std() for x in layers]) for name, layers in relu.items()}
    assert (stds["std 0.01"][:-1] / stds["std 0.01"][1:] > 10).all()
    assert (np.diff(stds["Xavier"]) < 0).all()
    assert stds["He"].max() / stds["He"].min() < 1.5
