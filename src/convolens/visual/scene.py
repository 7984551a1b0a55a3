"""A drawing as a list of shapes, from which both pixels and SVG are made."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from convolens.visual.figure import Pixels
from convolens.visual.style import INK, PAPER, Colour
from convolens.visual.text import write

# Pillow's own font has little more than Latin letters.
_SPELLED = {"√": "sqrt", "∞": "inf", "≤": "<=", "Σ": "sum of", "−": "-"}
_CRISP = 3  # an enlargement from which single pixels are meant to be seen
_ANCHORS = {"l": "start", "m": "middle", "r": "end"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """A rectangle [px], filled, outlined or both."""

    left: int
    top: int
    width: int
    height: int
    fill: Colour | None = None
    outline: Colour | None = None
    stroke_px: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """A straight line [px]."""

    begin: tuple[int, int]
    end: tuple[int, int]
    colour: Colour
    stroke_px: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A line of text, vertically centred on its place [px]."""

    at: tuple[int, int]
    text: str
    size: int
    colour: Colour = INK
    anchor: Literal["l", "m", "r"] = "l"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inset:
    """A picture (H, W, 3).

    Args:
        size: width and height to which it is drawn [px]; None is its own. Small ones that are
            much enlarged keep their pixels' edges.
    """

    left: int
    top: int
    pixels: Pixels
    size: tuple[int, int] | None = None

    @property
    def is_crisp(self) -> bool:
        return self.size is not None and self.size[1] >= _CRISP * self.pixels.shape[0]


Shape = Rectangle | Stroke | Words | Inset


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Shapes, the later ones above the earlier.

    Args:
        width, height: of the whole drawing [px].
    """

    width: int
    height: int
    shapes: Sequence[Shape]

    def pixels(self) -> Pixels:
        """The drawing as (height, width, 3)."""
        image = Image.new("RGB", (self.width, self.height), PAPER)
        draw = ImageDraw.Draw(image)
        for shape in self.shapes:
            if isinstance(shape, Rectangle):
                right, bottom = shape.left + shape.width - 1, shape.top + shape.height - 1
                box = (shape.left, shape.top, right, bottom)
                draw.rectangle(box, shape.fill, shape.outline, shape.stroke_px)
            elif isinstance(shape, Stroke):
                draw.line([shape.begin, shape.end], shape.colour, shape.stroke_px)
            elif isinstance(shape, Words):
                text = _spelled(shape.text)
                at, size, colour = shape.at, shape.size, shape.colour
                write(image, at, text, size=size, colour=colour, anchor=shape.anchor)
            else:
                image.paste(_drawn(shape), (shape.left, shape.top))
        return np.asarray(image)

    def svg(self, title: str) -> str:
        """The drawing as an SVG document, at half its pixels, as on a 2x screen.

        Args:
            title: for people who cannot see it.
        """
        size = f'width="{self.width / 2:g}" height="{self.height / 2:g}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {self.width} {self.height}" role="img" '
            'font-family="DejaVu Sans, system-ui, Roboto, sans-serif">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{self.width}" height="{self.height}" fill="{_hex(PAPER)}"/>',
            *map(_svg, self.shapes),
            "</svg>\n",
        ]
        return "\n".join(parts)


def _svg(shape: Shape) -> str:
    if isinstance(shape, Rectangle):
        fill = "none" if shape.fill is None else _hex(shape.fill)
        inset = 0.0
        line = ""
        if shape.outline is not None:  # SVG draws half of a line outside of the rectangle
            inset = shape.stroke_px / 2
            line = f' stroke="{_hex(shape.outline)}" stroke-width="{shape.stroke_px}"'
        return (
            f'<rect x="{shape.left + inset:g}" y="{shape.top + inset:g}" '
            f'width="{shape.width - 2 * inset:g}" height="{shape.height - 2 * inset:g}" '
            f'fill="{fill}"{line}/>'
        )
    if isinstance(shape, Stroke):
        (x0, y0), (x1, y1) = shape.begin, shape.end
        line = f'stroke="{_hex(shape.colour)}" stroke-width="{shape.stroke_px}"'
        return f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" {line}/>'
    if isinstance(shape, Words):
        x, y = shape.at
        look = f'font-size="{shape.size}" fill="{_hex(shape.colour)}"'
        place = f'x="{x}" y="{y + shape.size * 0.35:g}" text-anchor="{_ANCHORS[shape.anchor]}"'
        return f"<text {place} {look}>{escape(shape.text)}</text>"
    width, height = shape.size or (shape.pixels.shape[1], shape.pixels.shape[0])
    look = ' preserveAspectRatio="none"' if shape.size else ""
    look += ' style="image-rendering:pixelated"' if shape.is_crisp else ""
    buffer = BytesIO()
    Image.fromarray(shape.pixels).save(buffer, "PNG")
    data = b64encode(buffer.getvalue()).decode("ascii")
    place = f'x="{shape.left}" y="{shape.top}" width="{width}" height="{height}"'
    return f'<image {place}{look} href="data:image/png;base64,{data}"/>'


def _drawn(inset: Inset) -> Image.Image:
    image = Image.fromarray(inset.pixels)
    if inset.size is None or inset.size == image.size:
        return image
    smooth = Image.Resampling.BOX if inset.size < image.size else Image.Resampling.BICUBIC
    return image.resize(inset.size, Image.Resampling.NEAREST if inset.is_crisp else smooth)


def _spelled(text: str) -> str:
    for sign, word in _SPELLED.items():
        text = text.replace(sign, word)
    return text


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
