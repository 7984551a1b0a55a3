import re

import pytest

from convolens.analysis.summarize import Graph
from convolens.errors import ConfigError, ShapeError
from convolens.models.registry import MODELS
from convolens.web.sketch import Sketch, Words, seen_by, size_of, sketch_of, unit_over
from convolens.workbench.field import field
from convolens.workbench.summary import summarize


@pytest.fixture(scope="module")
def lenet() -> Sketch:
    return sketch_of(Words(model="lenet5"))


def numbers(graph: Graph) -> list[tuple[object, ...]]:
    return [(row.name, row.output, row.params, row.macs) for row in graph.rows]


def test_it_has_the_numbers_of_summary(lenet: Sketch) -> None:
    graph = summarize("lenet5")
    assert lenet.graph.totals == graph.totals
    assert numbers(lenet.graph) == numbers(graph)
    assert len(lenet.lines.lines) == len(graph.rows)


def test_size_batch_and_optimizer_are_followed() -> None:
    words = Words(model="small_convnet" if "small_convnet" in MODELS else "resnet20")
    plain = sketch_of(words).graph
    more = sketch_of(Words(model=words.model, size="3x64x64", batch=4, optimizer="adam")).graph
    expected = summarize(words.model, (3, 64, 64), batch=4, optimizer="adam")
    assert more.totals == expected.totals != plain.totals


def test_each_box_of_the_drawing_has_its_layer(lenet: Sketch) -> None:
    assert lenet.svg.count("<g><title>") == len(lenet.drawn)
    assert lenet.drawn[0] == ""  # the input
    assert set(lenet.drawn[1:]) <= set(lenet.graph.by_name)
    for title, layer in zip(
        re.findall("<g><title>(.*?)</title>", lenet.svg), lenet.drawn, strict=True
    ):
        shape = "×".join(map(str, lenet.graph.by_name[layer].output)) if layer else "1×32×32"
        assert title.endswith(shape)


@pytest.mark.parametrize("unit", [(0, 0), (3, 7), (9, 9)])
def test_what_a_unit_sees_is_what_field_says(lenet: Sketch, unit: tuple[int, int]) -> None:
    seen, expected = seen_by(lenet, "conv2", unit), field("lenet5", "conv2", unit)
    assert (seen.rows, seen.cols, seen.textbook) == (
        expected.rows,
        expected.cols,
        expected.textbook,
    )


def test_the_middle_unit_is_the_first_to_be_shown(lenet: Sketch) -> None:
    assert seen_by(lenet, "conv1").unit == (14, 14)


def test_a_unit_outside_becomes_the_nearest(lenet: Sketch) -> None:
    assert seen_by(lenet, "conv1", (-5, 99)).unit == (0, 27)


def test_a_vector_sees_the_whole_picture(lenet: Sketch) -> None:
    seen = seen_by(lenet, lenet.graph.rows[-1].name, (3, 3))
    assert (seen.unit, seen.rows, seen.cols) == ((), (0, 31), (0, 31))


def test_the_unit_over_a_place_of_the_picture() -> None:
    assert unit_over((6, 28, 28), (32, 32), 0, 31.9) == (27, 0)
    assert unit_over((6, 28, 28), (32, 32), 40, -3) == (0, 27)
    assert unit_over((10,), (32, 32), 1, 1) is None


def test_every_unit_over_a_picture_can_be_reached() -> None:
    found = {unit_over((1, 7, 5), (28, 20), x, y) for x in range(20) for y in range(28)}
    assert found == {(y, x) for y in range(7) for x in range(5)}


def test_a_picture_that_is_too_large_is_not_shown() -> None:
    assert sketch_of(Words(model="3x4096x4096 | conv 8 3x3 | relu")).size == (4096, 4096)
    assert sketch_of(Words(model="3x4096x4097 | conv 8 3x3 | relu")).size is None
    assert sketch_of(Words(model="784 | fc 10")).size is None


def test_a_size_as_people_type_it() -> None:
    assert size_of(" 3 x 32 X 32 ") == (3, 32, 32)
    assert size_of("784") == (784,)
    for word in ("3x", "axb", "3x0x5", "-3x4", "1.5x2"):
        with pytest.raises(ConfigError, match="the input must be CxHxW such as 3x224x224"):
            size_of(word)


def test_wrong_words_are_errors() -> None:
    with pytest.raises(ConfigError, match="there is no network called 'lenet9'"):
        sketch_of(Words(model="lenet9"))
    with pytest.raises(ConfigError, match="batch must be from 1 to 1,000,000, received 0"):
        sketch_of(Words(model="lenet5", batch=0))
    with pytest.raises(ConfigError, match="optimizer must be one of sgd, momentum, adam"):
        sketch_of(Words(model="lenet5", optimizer="lion"))
    with pytest.raises(ShapeError):
        sketch_of(Words(model="lenet5", size="1x2x2"))
