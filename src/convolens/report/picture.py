"""Figures as small PNG files, so that a report with photographs can be mailed."""

from io import BytesIO

from PIL import Image

from convolens.errors import DataError
from convolens.report.parts import Picture
from convolens.visual.figure import Figure

MOST_BYTES = 240_000  # of one picture; a dozen of them, in base64, stay below 4 MB
LARGEST_PX = 2400
_PER_PIXEL = 2  # figures have twice the pixels that they take on the page


def picture(figure: Figure, *, look_for: str = "") -> Picture:
    """A Figure as a part of a report.

    Args:
        look_for: what a reader should look for, where the caption does not say so.
    """
    image = Image.fromarray(figure.pixels)
    return _fitted(image, figure.name, figure.caption, look_for)


def picture_of_file(data: bytes, where: str, name: str, caption: str, look_for: str) -> Picture:
    """A PNG file as a part of a report, encoded anew.

    Raises:
        DataError: when it is no whole PNG.
    """
    try:
        with Image.open(BytesIO(data), formats=("PNG",)) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where} is not a whole PNG: {error}") from error
    return _fitted(image, name, caption, look_for)


def _fitted(image: Image.Image, name: str, caption: str, look_for: str) -> Picture:
    width, height = image.size
    size = (max(1, width // _PER_PIXEL), max(1, height // _PER_PIXEL))
    words = name.replace("-", " ")
    return Picture(
        png=small_png(image),
        size=size,
        alt=f"{words[:1].upper()}{words[1:]}. {caption}",
        caption=caption,
        look_for=look_for,
    )


def small_png(image: Image.Image, most_bytes: int = MOST_BYTES) -> bytes:
    """A PNG of at most so many bytes: exact where it can be, else of 256 colours, else smaller.

    Args:
        image: RGB.
    """
    longest = max(image.size)
    if longest > LARGEST_PX:
        image = _resized(image, LARGEST_PX / longest)
    data = _encoded(image)
    while len(data) > most_bytes:
        coarse = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        data = _encoded(coarse)
        # A palette's size follows the area, so the root of the excess is the side that fits.
        factor = 0.97 * (most_bytes / len(data)) ** 0.5
        if len(data) <= most_bytes or min(image.size) <= 1:
            break
        image = _resized(image, min(factor, 0.9))
    return data


def _resized(image: Image.Image, factor: float) -> Image.Image:
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _encoded(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
