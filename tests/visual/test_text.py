import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convolens.visual import text
from convolens.visual.style import INK
from convolens.visual.text import class_labels, measure, shorten, write, write_upwards


def ink_of(line: str, anchor: text.Anchor = "l", size: int = 24) -> np.ndarray:
    """Where a line, written at the middle of a picture, is not white."""
    image = Image.new("RGB", (800, 80), "white")
    write(image, (400, 40), line, size=size, anchor=anchor)
    return (np.asarray(image) < 255).any(axis=2)


def test_anchors_put_the_left_end_middle_and_right_end_at_the_point() -> None:
    line, width = "HHH", measure("HHH", 24)
    ends = {}
    for anchor in ("l", "m", "r"):
        across = np.flatnonzero(ink_of(line, anchor).any(axis=0))
        ends[anchor] = (across[0], across[-1])
    assert 400 <= ends["l"][0] <= 404
    assert 396 <= ends["r"][1] <= 400
    assert abs(sum(ends["m"]) / 2 - 400) <= 1.5
    assert ends["l"][0] - ends["r"][0] == pytest.approx(width, abs=1)


def test_capitals_stand_in_the_middle_of_their_line() -> None:
    down = np.flatnonzero(ink_of("H", size=40).any(axis=1))
    assert abs((down[0] + down[-1]) / 2 - 40) <= 2


def test_an_arrow_is_drawn_with_its_tip_at_the_right() -> None:
    ink = ink_of("→", size=40)
    across = np.flatnonzero(ink.any(axis=0))
    heights = ink.sum(axis=0)[across[0] : across[-1] + 1]
    assert measure("→", 40) == 40
    assert 30 <= len(heights) <= 40
    assert heights.argmax() > len(heights) / 2, "the wings are at the right"
    assert heights[: len(heights) // 2].max() <= 6, "the shaft is thin"


def test_upright_text_is_the_same_ink_turned() -> None:
    image = Image.new("RGB", (80, 400), "white")
    write_upwards(image, (40, 300), "abc", size=24)
    upright = (np.asarray(image) < 255).any(axis=2)
    turned = np.rot90(ink_of("abc"))
    rows, columns = np.argwhere(upright), np.argwhere(turned)
    assert np.array_equal(rows - rows.min(axis=0), columns - columns.min(axis=0))
    assert upright[300:].sum() == 0, "it runs upwards from its point"


def test_text_is_written_in_the_colour_asked_for() -> None:
    image = Image.new("RGB", (100, 60), "white")
    write(image, (10, 30), "MM", size=40)
    assert tuple(np.asarray(image).reshape(-1, 3).min(axis=0)) == INK


@settings(max_examples=40, deadline=None)
@given(line=st.text(max_size=40), room=st.integers(0, 400))
def test_a_shortened_line_fits_or_is_one_letter(line: str, room: int) -> None:
    short = shorten(line, 20, room)
    assert measure(short, 20) <= room or len(short) <= 2
    if measure(line, 20) <= room:
        assert short == line


def test_a_long_name_keeps_both_its_ends() -> None:
    name = "Pascal class number 17"
    short = shorten(name, 20, measure(name, 20) * 0.7)
    head, tail = short.split("…")
    assert len(head) >= 4
    assert len(tail) >= 4
    assert name.startswith(head)
    assert name.endswith(tail)


@pytest.mark.parametrize(
    "name",
    ["犬", "собака", "कुत्ता", "🐕", "é̂", "\u202eabc", "a\nb\tc", "\udce9", "\x00", "\u0301", ""],
)
def test_any_name_is_drawn_without_a_crash(name: str) -> None:
    image = Image.new("RGB", (200, 60), "white")
    write(image, (10, 30), name, size=24)
    (label,) = class_labels([name])
    assert measure(label, 24) > 0, "every class has a label that is seen"


def test_names_that_no_font_has_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_FONTS", (text._OWN_FONT,))
    for cache in (text._runs, text._drawable, text._ink):
        cache.cache_clear()
    try:
        assert class_labels(["お", "café", "犬 dog", "つき", "?"]) == [
            "#0", "cafe", "? dog", "#3", "?"
        ]  # fmt: skip
    finally:
        for cache in (text._runs, text._drawable, text._ink):
            cache.cache_clear()


def test_a_system_font_that_is_absent_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_FONTS", ("there-is-no-such-font.ttf",))
    text._drawable.cache_clear()
    try:
        assert text._drawable("ü") == (text._OWN_FONT, "u")
    finally:
        text._drawable.cache_clear()
