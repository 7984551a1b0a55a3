import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.boxes import class_colour, draw_boxes, draw_misses
from convolens.visual.style import PAPER

NAMES = ("cat", "dog")
GREY = np.full((3, 100, 160), 128, np.uint8)


def boxes(*corners: tuple[float, ...]) -> np.ndarray:
    return np.array(corners, np.float32).reshape(-1, 4)


def labels(*found: int) -> np.ndarray:
    return np.array(found, np.int64)


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels == np.array(colour, np.uint8)).all(-1)


def test_a_box_stands_where_it_is_in_the_colour_of_its_class() -> None:
    figure = draw_boxes(GREY, boxes((10, 40, 60, 90)), labels(1), NAMES)
    rows, cols = np.nonzero(has(figure.pixels[:400], class_colour(1)))
    assert figure.pixels.shape[1] == 640  # four times as large
    assert (cols.min(), cols.max() + 1) == (40, 240)
    assert (rows.min(), rows.max() + 1) == (160 - 22, 360)  # with its name above
    assert figure.caption == "1 box: 1 dog."
    inside = figure.pixels[170:350, 50:230]
    assert has(inside, (128, 128, 128)).all()


def test_scores_are_written_and_the_legend_tells_the_colours() -> None:
    corners, found = boxes((10, 40, 60, 90), (80, 40, 120, 90)), labels(0, 1)
    plain = draw_boxes(GREY, corners, found, NAMES)
    scored = draw_boxes(GREY, corners, found, NAMES, np.array([0.9, 0.4]))
    assert has(scored.pixels, class_colour(0)).sum() > has(plain.pixels, class_colour(0)).sum()
    legend = plain.pixels[400:]
    assert has(legend, class_colour(0)).sum() == has(legend, class_colour(1)).sum() > 300
    assert plain.caption == "2 boxes: 1 cat, 1 dog."


def test_names_hide_none_of_the_others_in_a_crowd() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 90, (300, 2))
    crowd = np.concatenate([low, low + rng.uniform(2, 60, (300, 2))], 1)
    figure = draw_boxes(GREY, crowd, rng.integers(0, 2, 300), NAMES, rng.uniform(0, 1, 300))
    assert figure.caption.startswith("300 boxes: ")
    assert has(figure.pixels[:400], (128, 128, 128)).mean() > 0.3  # the picture can be seen
    assert figure.pixels.shape[1] == 640


@pytest.mark.parametrize("size", [(3, 20, 20), (1, 64, 48), (3, 300, 2000)])
def test_pictures_of_every_size_are_drawn(size: tuple[int, int, int]) -> None:
    pixels = np.zeros(size, np.uint8)
    odd = boxes((-5, -5, 9999, 9999), (3, 3, 3, 3), (7, 9, 2, 1), (0, 0, np.nan, 4))
    figure = draw_boxes(pixels, odd, labels(0, 1, 0, -1), NAMES)
    assert 600 <= max(figure.pixels.shape[:2]) <= 1400
    assert figure.caption == "3 boxes: 2 cat, 1 dog."


def test_no_boxes_is_a_picture_too() -> None:
    figure = draw_boxes(GREY, boxes(), labels(), NAMES)
    assert figure.caption == "No boxes."
    assert has(figure.pixels, (128, 128, 128)).all()


def flags(*values: int) -> np.ndarray:
    return np.array(values, bool)


def test_misses_stand_out_and_what_agrees_is_pale() -> None:
    truth = boxes((10, 10, 50, 50), (80, 20, 120, 60))
    found = boxes((12, 10, 50, 50), (10, 10, 50, 50), (100, 60, 140, 90))
    figure = draw_misses(
        *(GREY, truth, labels(0, 1)),
        *(found, labels(0, 0, 1), np.array([0.9, 0.8, 0.7]), NAMES),
        missed=flags(0, 1),
        wrong=flags(0, 1, 1),
    )
    assert figure.caption.endswith("In colour are 1 missed and 2 wrong, pale all others.")
    middle = figure.pixels.shape[1] // 2
    left, right = figure.pixels[:, :middle], figure.pixels[:, middle:]
    assert has(left, class_colour(1)).any()
    assert not has(left, class_colour(0)).any()
    assert has(right, class_colour(0)).any()
    assert has(right, class_colour(1)).any()
    assert has(figure.pixels, (170, 170, 170)).any()
    assert has(figure.pixels[:10], PAPER).all()


def test_where_nothing_is_found_all_is_missed() -> None:
    none = draw_misses(
        *(GREY, boxes((10, 10, 50, 50)), labels(0)),
        *(boxes(), labels(), np.zeros(0), NAMES),
        missed=flags(1),
        wrong=flags(),
    )
    assert none.caption.endswith("In colour are 1 missed and 0 wrong, pale all others.")


@pytest.mark.parametrize(
    ("corners", "found", "scores", "message"),
    [
        (np.zeros((2, 3)), labels(0, 0), None, r"boxes must be of shape \(M, 4\)"),
        (boxes((0, 0, 1, 1)), labels(0, 1), None, r"received \(1, 4\) and \(2,\)"),
        (boxes((0, 0, 1, 1)), labels(2), None, "a label must be below 2, .* received 2"),
        (boxes((0, 0, 1, 1)), labels(1), np.zeros(2), r"scores must be of shape \(1,\)"),
    ],
)
def test_wrong_shapes_are_named(
    corners: np.ndarray, found: np.ndarray, scores: np.ndarray | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        draw_boxes(GREY, corners, found, NAMES, scores)
    with pytest.raises(ShapeError, match="pixels must be uint8 of shape"):
        draw_boxes(GREY[0], boxes(), labels(), NAMES)
