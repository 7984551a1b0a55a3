"""Text on pictures: measured, shortened, and never a crash, whatever characters a name has."""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from convolens.visual.style import INK, Colour

Anchor = Literal["l", "m", "r"]

ARROW = "→"
# Letters are drawn larger and reduced: at their own size their spacing is rounded to whole pixels.
_OVERSAMPLING = 4
_LINE_HEIGHT = 1.6
_BASELINE = 0.8 + 0.35  # capitals, 0.7 em tall, then stand in the middle of the line
# Pillow's own font has little more than ASCII; these are tried, in this order, for the rest.
_OWN_FONT = ""
_FONTS = (
    _OWN_FONT,
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "malgun.ttf",
)
_NO_CHARACTER = "\uffff"
_UNKNOWN = "?"

Run = tuple[str, str]


def write(
    image: Image.Image,
    xy: tuple[float, float],
    text: str,
    *,
    size: int,
    colour: Colour = INK,
    anchor: Anchor = "l",
) -> None:
    """Writes one line with its left end, middle or right end at xy, vertically centred on it."""
    ink = _ink(text, size)
    x = xy[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor] * measure(text, size)
    image.paste(colour, (round(x), round(xy[1] - ink.height / 2)), ink)


def write_upwards(
    image: Image.Image, xy: tuple[float, float], text: str, *, size: int, colour: Colour = INK
) -> None:
    """Writes one line that runs upwards from xy, horizontally centred on it."""
    ink = _ink(text, size).transpose(Image.Transpose.ROTATE_90)
    image.paste(colour, (round(xy[0] - ink.width / 2), round(xy[1]) - ink.height), ink)


def measure(text: str, size: int) -> float:
    """The width of one line [px]."""
    return sum(_width(run, size * _OVERSAMPLING) for run in _runs(text)) / _OVERSAMPLING


def shorten(text: str, size: int, most_px: float) -> str:
    """Cuts a line to a width: its middle goes, as names of one family differ at their ends.

    Example:
        >>> shorten("cat", 24, 200)
        'cat'
        >>> shorten("catamaran", 24, 0)
        'c…'
    """
    if measure(text, size) <= most_px:
        return text
    for kept in range(len(text) - 1, 1, -1):
        tail = kept // 2
        short = f"{text[: kept - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"
        if measure(short, size) <= most_px:
            return short
    return f"{text[:1]}…"


def class_labels(class_names: Sequence[str]) -> list[str]:
    """The names as they can be drawn here, "#3" for a name in a script that no font here has.

    Example:
        >>> class_labels(["cat", "two words", ""])
        ['cat', 'two words', '#2']
    """
    labels = []
    for index, name in enumerate(class_names):
        clean = "".join(piece for _, piece in _runs(name)).strip()
        lost = clean.count(_UNKNOWN) - name.count(_UNKNOWN)
        labels.append(clean if 2 * lost < len(clean) else f"#{index}")
    return labels


@lru_cache(maxsize=4096)
def _ink(text: str, size: int) -> Image.Image:
    """The letters of one line, white on black."""
    big = size * _OVERSAMPLING
    runs = _runs(text)
    # Whole pixels after reducing, and one more on the right for letters that lean over.
    width = int(sum(_width(run, big) for run in runs) / _OVERSAMPLING) + 2
    ink = Image.new("L", (width * _OVERSAMPLING, int(size * _LINE_HEIGHT) * _OVERSAMPLING))
    draw = ImageDraw.Draw(ink)
    x = 0.0
    for font, piece in runs:
        if piece == ARROW:
            _draw_arrow(draw, x, big)
        else:
            draw.text((x, big * _BASELINE), piece, font=_font(font, big), fill=255, anchor="ls")
        x += _width((font, piece), big)
    return ink.reduce(_OVERSAMPLING)


def _draw_arrow(draw: ImageDraw.ImageDraw, left: float, em: int) -> None:
    y, tip, head, stroke = em * 0.87, left + em * 0.92, em * 0.2, max(4, em // 13)
    draw.line([(left + em * 0.08, y), (tip, y)], fill=255, width=stroke)
    wings = [(tip - head, y - head), (tip, y), (tip - head, y + head)]
    draw.line(wings, fill=255, width=stroke, joint="curve")


def _width(run: Run, size: int) -> float:
    font, piece = run
    return float(size) if piece == ARROW else _font(font, size).getlength(piece)


@lru_cache(maxsize=8192)
def _runs(text: str) -> tuple[Run, ...]:
    """The text as (font, piece) pairs; an arrow is a piece of its own, as we draw it ourselves."""
    # A folder's name may hold bytes that are no text; Python carries them as lone surrogates.
    whole = text.encode("utf-8", "replace").decode("utf-8")
    line = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", whole))
    runs: list[Run] = []
    for character in line:
        font, drawn = _drawable(character)
        if unicodedata.combining(character) and runs:
            font, drawn = runs[-1][0], character
        if runs and runs[-1][0] == font and ARROW not in (drawn, runs[-1][1]):
            runs[-1] = (font, runs[-1][1] + drawn)
        else:
            runs.append((font, drawn))
    return tuple(runs)


@cache
def _drawable(character: str) -> Run:
    """The first font that has this character; else its bare letter; else a question mark."""
    if character.isascii() or character == ARROW:
        return _OWN_FONT, character
    for font in _FONTS:
        if _exists(font) and _has(font, character):
            return font, character
    bare = unicodedata.normalize("NFKD", character)[0]
    return _OWN_FONT, bare if bare.isascii() else _UNKNOWN


def _has(font: str, character: str) -> bool:
    return _shape(font, character) != _shape(font, _NO_CHARACTER)


@cache
def _shape(font: str, character: str) -> bytes:
    ink = Image.new("L", (48, 48))
    ImageDraw.Draw(ink).text((8, 40), character, font=_font(font, 24), fill=255, anchor="ls")
    return ink.tobytes()


@cache
def _exists(font: str) -> bool:
    try:
        _font(font, 24)
    except OSError:
        return False
    return True


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    if name != _OWN_FONT:
        return ImageFont.truetype(name, size)
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType")
    return font
