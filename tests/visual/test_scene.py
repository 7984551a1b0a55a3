from xml.etree import ElementTree

import numpy as np

from convolens.visual.scene import Inset, Rectangle, Scene, Stroke, Words

RED = (200, 0, 0)
NAMES = {"s": "http://www.w3.org/2000/svg"}
INSET = np.full((4, 6, 3), 77, np.uint8)
SCENE = Scene(
    width=60,
    height=40,
    shapes=[
        Rectangle(left=10, top=5, width=20, height=10, fill=RED, outline=(0, 0, 9), stroke_px=2),
        Stroke(begin=(0, 30), end=(59, 30), colour=(0, 0, 255)),
        Inset(left=40, top=20, pixels=INSET),
        Words(at=(5, 36), text="a < b √", size=12),
    ],
)


def test_pixels_are_where_they_were_put() -> None:
    pixels = SCENE.pixels()
    assert pixels.shape == (40, 60, 3)
    assert np.argwhere((pixels == RED).all(axis=2)).tolist() == [
        [y, x] for y in range(7, 13) for x in range(12, 28)
    ]
    assert (pixels[5, 10:30] == (0, 0, 9)).all()
    assert np.array_equal(pixels[20:24, 40:46], INSET)
    assert (pixels[0] == 255).all()


def test_svg_has_the_same_shapes() -> None:
    root = ElementTree.fromstring(SCENE.svg("a & b"))
    assert root.get("viewBox") == "0 0 60 40"
    assert root.findtext("s:title", namespaces=NAMES) == "a & b"
    box = root.findall("s:rect", NAMES)[1]
    assert [box.get(key) for key in ("x", "y", "width", "height")] == ["11", "6", "18", "8"]
    assert box.get("fill") == "#c80000"
    assert root.findtext("s:text", namespaces=NAMES) == "a < b √"
    assert root.find("s:image", NAMES) is not None
    assert root.find("s:line", NAMES) is not None


def test_an_inset_is_drawn_at_the_size_that_is_asked_for() -> None:
    checks = np.indices((2, 2)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) * 255
    inset = Inset(left=3, top=1, pixels=checks, size=(8, 8))
    scene = Scene(width=12, height=10, shapes=[inset])
    expected = checks.repeat(4, 0).repeat(4, 1)
    assert np.array_equal(scene.pixels()[1:9, 3:11], expected)
    (image,) = ElementTree.fromstring(scene.svg("")).findall("s:image", NAMES)
    assert (image.get("width"), image.get("height")) == ("8", "8")
    assert image.get("style") == "image-rendering:pixelated"
    smooth = Scene(width=9, height=9, shapes=[Inset(left=0, top=0, pixels=checks, size=(5, 5))])
    assert len(np.unique(smooth.pixels()[:5, :5])) > 2
    assert "pixelated" not in smooth.svg("")
