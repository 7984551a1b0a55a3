import re
from xml.etree import ElementTree

import pytest

from convolens.errors import ShapeError
from convolens.visual.layout import Lane, Volume, lay_out
from convolens.visual.network import draw_network

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(svg: str) -> list[tuple[str, float, float, float, float]]:
    """Every text with its rectangle, as wide as DejaVu Sans makes it at most."""
    from PIL import ImageFont

    found = []
    for group in ElementTree.fromstring(svg).iter():
        size = 10 if group.get("class") == "step" else 11
        for node in group.findall(f"{SVG}text"):
            x, y, text = float(node.get("x")), float(node.get("y")), node.text or ""
            wide = ImageFont.load_default(size).getlength(text) * 1.1
            found.append((text, x - wide / 2, y - size * 0.8, x + wide / 2, y + size * 0.25))
    return found


def overlaps(svg: str) -> list[tuple[str, str]]:
    texts = texts_of(svg)
    return [
        (a[0], b[0])
        for i, a in enumerate(texts)
        for b in texts[i + 1 :]
        if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
    ]


def front_of(svg: str, label: str) -> tuple[float, float]:
    """Thickness and height of the front of the box of this label."""
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None and (title.text or "").startswith(f"{label}:"):
            points = group.find(f"{SVG}polygon").get("points").split()
            (x0, y0), _, (x1, y1), _ = [tuple(map(float, p.split(","))) for p in points]
            return x1 - x0, y1 - y0
    raise LookupError(label)


CHAIN = [
    Volume(shape=(3, 64, 64), label="input", role="input"),
    Volume(shape=(32, 32, 32), label="a"),
    Volume(shape=(128, 8, 8), label="b"),
    Volume(shape=(10,), label="fc", role="linear"),
]


def test_sizes_follow_the_shapes() -> None:
    svg = draw_network(CHAIN)
    fronts = [front_of(svg, label) for label in ("input", "a", "b")]
    assert [height for _, height in fronts] == sorted([h for _, h in fronts], reverse=True)
    assert [thick for thick, _ in fronts] == sorted(thick for thick, _ in fronts)


def test_a_chain_has_an_arrow_for_each_step_and_every_label() -> None:
    svg = draw_network(CHAIN, title="a & b")
    assert svg.count('class="head"') == 3
    assert [text for text, *_ in texts_of(svg)] == [
        *("input", "3×64×64", "a", "32×32×32", "b", "128×8×8", "fc", "10"),
    ]
    assert ElementTree.fromstring(svg).find(f"{SVG}title").text == "a & b"


def test_rows_stay_within_the_width_and_nothing_leaves_the_picture() -> None:
    volumes = [Volume(shape=(8, 16, 16), label=f"layer {i}") for i in range(40)]
    svg = draw_network(volumes, width_px=500)
    root = ElementTree.fromstring(svg)
    width, height = float(root.get("width")), float(root.get("height"))
    assert width <= 500
    for _, x0, y0, x1, y1 in texts_of(svg):
        assert x0 >= 0
        assert x1 <= width
        assert y0 >= 0
        assert y1 <= height
    assert not overlaps(svg)


def test_rows_are_filled_evenly() -> None:
    volumes = [Volume(shape=(8, 16, 16), label="conv") for _ in range(13)]
    layout = lay_out(volumes, width=1000, margin=10)
    lengths = [len(row.places) for row in layout.rows]
    assert sum(lengths) == 13
    assert max(lengths) - min(lengths) <= 1


def test_lanes_and_repeats_are_written_out() -> None:
    lanes = (Lane(), Lane(steps=("1×1, 64", "3×3, 64"), times=6))
    block = Volume(shape=(64, 8, 8), label="Dense", role="block", times=3, lanes=lanes)
    svg = draw_network([CHAIN[0], block])
    words = [text for text, *_ in texts_of(svg)]
    assert {"Dense ×3", "1×1, 64", "3×3, 64 (×6)"} <= set(words)
    assert not overlaps(svg)


def test_an_arc_in_one_row_and_letters_between_two() -> None:
    volumes = [Volume(shape=(8, 16, 16), label=f"v{i}") for i in range(6)]
    volumes.append(Volume(shape=(16, 16, 16), label="cat", role="join", reads=(1, 5)))
    assert len(re.findall(r'd="M[\d.]+ [\d.]+V[\d.]+q', draw_network(volumes))) == 1
    narrow = draw_network(volumes, width_px=300)
    assert [text for text, *_ in texts_of(narrow)].count("a") == 2
    assert not overlaps(narrow)


def test_nested_arcs_do_not_meet() -> None:
    volumes = [Volume(shape=(8, 16, 16), label=f"v{i}") for i in range(6)]
    for number, source in enumerate((4, 3, 2, 1)):
        volumes.append(Volume(shape=(8, 16, 16), label="cat", reads=(source, 5 + number)))
    arcs = lay_out(volumes, width=2000, margin=10).arcs
    assert sorted(arc.level for arc in arcs) == [0, 1, 2, 3]


def test_labels_are_escaped() -> None:
    svg = draw_network([Volume(shape=(1, 4, 4), label="<b>&")])
    assert next(text for text, *_ in texts_of(svg)) == "<b>&"


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ShapeError, match="needs one volume or more"):
        draw_network([])
