from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convolens.errors import DataError, ShapeError
from convolens.visual import Figure, worst_mistakes
from convolens.visual.mistakes import percent, sized
from convolens.visual.tiles import enlarge

RNG = np.random.default_rng(0)
NAMES = ["cat", "dog", "a class whose name is far too long for one small picture"]


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def draw(pictures: np.ndarray, names: list[str] | None = None, **changed: Any) -> Figure:
    count = len(pictures)
    values = {
        "true": np.arange(count) % 2,
        "predicted": 1 - np.arange(count) % 2,
        "probability": np.linspace(0.98, 0.5, count),
        **changed,
    }
    return worst_mistakes(
        pictures, values["true"], values["predicted"], values["probability"], NAMES, names
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 7, 25])
def test_every_picture_stands_in_the_grid_with_its_own_pixels_in_reading_order(
    count: int, channels: int, places_of: Callable[..., list[tuple[int, int]]]
) -> None:
    pictures = noise(count, channels, 28, 28)
    pixels = draw(pictures).pixels
    rgb = np.broadcast_to(pictures, (count, 3, 28, 28)).transpose(0, 2, 3, 1)
    found = [places_of(tile, pixels) for tile in enlarge(rgb, 7)]
    assert all(len(places) == 1 for places in found)
    assert [places[0] for places in found] == sorted(places[0] for places in found)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((8, 8), (200, 200)),
        ((28, 28), (196, 196)),
        ((224, 224), (224, 224)),
        ((200, 100), (200, 100)),
        ((1024, 512), (256, 128)),
        ((3000, 1), (256, 1)),
        ((1, 1), (200, 200)),
    ],
)
def test_small_pictures_grow_by_a_whole_factor_and_large_ones_shrink(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert sized(noise(1, 1, *size)).shape == (1, *expected, 3)


def test_a_large_picture_is_the_mean_of_its_blocks() -> None:
    picture = noise(1, 3, 512, 512)
    blocks = picture.reshape(3, 256, 2, 256, 2).astype(float).mean(axis=(2, 4))
    assert np.abs(sized(picture)[0] - blocks.transpose(1, 2, 0)).max() <= 1.0


def test_no_mistakes_is_said() -> None:
    empty = np.zeros(0, int)
    figure = draw(noise(0, 1, 28, 28), true=empty, predicted=empty)
    assert figure.caption == "There are no mistakes."
    assert (figure.pixels < 255).any(), "words are seen"


def test_the_caption_names_the_worst() -> None:
    assert draw(noise(2, 1, 8, 8)).caption == (
        "The 2 mistakes of greatest confidence: cat → dog, 98 %."
    )
    assert draw(noise(130, 1, 8, 8)).caption.startswith("The first 100 of 130 mistakes")


def test_long_names_get_lines_of_their_own_and_stay_in_the_picture() -> None:
    pictures = noise(4, 1, 28, 28)
    short, long = draw(pictures), draw(pictures, true=np.full(4, 2), names=["n" * 200] * 4)
    assert long.pixels.shape[0] > short.pixels.shape[0]
    assert long.pixels.shape[1] == short.pixels.shape[1]
    assert (long.pixels[:, -20:] == 255).all()


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.0, "0 %"), (0.984, "98 %"), (0.98999, "99 %"), (0.9917, "99.2 %"), (0.99999, "> 99.9 %"),
     (1.0, "> 99.9 %")],
)  # fmt: skip
def test_a_probability_never_reads_as_certainty(probability: float, words: str) -> None:
    assert percent(probability) == words


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"pictures": noise(2, 2, 8, 8)}, ShapeError, r"C 1 or 3, received uint8.*\(2, 2, 8, 8\)"),
        ({"pictures": noise(2, 1, 8, 8) / 255}, ShapeError, "received float64 of shape"),
        ({"pictures": noise(8, 8)}, ShapeError, r"received uint8 of shape \(8, 8\)"),
        ({"true": np.zeros(3, int)}, ShapeError, r"true must have shape \(2,\).*received \(3,\)"),
        ({"names": ["a"]}, ShapeError, "names must be 2 for 2 pictures, received 1"),
        ({"predicted": np.array([0, 3])}, DataError, "predicted label must be from 0 to 2.*3$"),
        ({"true": np.array([-1, 0])}, DataError, "a true label must be from 0 to 2.*received -1"),
        ({"probability": np.array([0.5, 1.5])}, DataError, "from 0 to 1, received 1.5"),
        ({"probability": np.array([np.nan, 0.5])}, DataError, "from 0 to 1, received nan"),
    ],
)
def test_what_does_not_fit_is_refused(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"pictures": noise(2, 1, 8, 8), **changed}
    with pytest.raises(error, match=message):
        draw(**arguments)
