"""JPEG pictures decoded by torchvision's library, to the pixels that Pillow gives.

Pillow keeps four bytes a pixel and copies them twice; the same libjpeg called from torchvision
takes three fifths of the time. Only its compiled part is loaded, since importing torchvision takes
seconds. Where that part is missing, or has another libjpeg that decodes to other pixels, or a file
is out of the ordinary, the answer is None and Pillow decodes.
"""

import importlib.util
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

JPEG_START = b"\xff\xd8\xff"
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive
_NO_LENGTH = frozenset({0x01, 0xD8, 0xD9, 0xDA, 0xFF, *range(0xD0, 0xD8)})
_NOTES = 0xE1  # Exif or XMP, which may say that the picture lies on its side
_ORIENTATION = 0x0112

_Decoder = Callable[[Tensor, int, bool], Tensor]


class JpegHeader(NamedTuple):
    """Size [px] of a JPEG; whether it is grey or RGB of 8 bits; whether a camera left notes."""

    height: int
    width: int
    is_plain: bool
    has_notes: bool


def decode_jpeg(content: bytes, max_pixels: int) -> Tensor | None:
    """Decodes a grey or RGB JPEG that stands upright.

    Args:
        content: the whole file.
        max_pixels: a larger picture is left to Pillow, which says what is wrong with it.
    Shape:   -> uint8 (1 or 3, h, w).
    Returns: the pixels, or None where Pillow must decide.
    """
    header = jpeg_header(content)
    decoder = _decoder()
    if header is None or decoder is None or header.height * header.width > max_pixels:
        return None
    if not header.is_plain or (header.has_notes and _turned(content)):
        return None
    try:
        return decoder(torch.frombuffer(bytearray(content), dtype=torch.uint8), 0, False)
    except RuntimeError:  # damaged
        return None


def jpeg_header(content: bytes) -> JpegHeader | None:
    """Reads what stands before the pixels of a JPEG; None where it is out of the ordinary."""
    place, has_notes = len(JPEG_START) - 1, False
    while place + 10 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _FRAMES:
            return JpegHeader(
                height=int.from_bytes(content[place + 5 : place + 7]),
                width=int.from_bytes(content[place + 7 : place + 9]),
                is_plain=content[place + 4] == 8 and content[place + 9] in (1, 3),
                has_notes=has_notes,
            )
        if marker in _NO_LENGTH:
            return None
        has_notes = has_notes or marker == _NOTES
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return None


def _turned(content: bytes) -> bool:
    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as image:
            return bool(image.getexif().get(_ORIENTATION, 1) != 1)
    except Exception:  # damaged notes of the camera; Pillow's path knows what to do
        return True


@cache
def _decoder() -> _Decoder | None:
    """The compiled function, where it is there and agrees with Pillow."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    libraries = sorted(Path(spec.origin).parent.glob("image*.*"))
    try:
        torch.ops.load_library(libraries[0])  # type: ignore[no-untyped-call]
        decoder: _Decoder = torch.ops.image.decode_jpeg
        return decoder if _agrees_with_pillow(decoder) else None
    except (OSError, RuntimeError, AttributeError, IndexError):
        return None


def _agrees_with_pillow(decoder: _Decoder) -> bool:
    noise = np.random.default_rng(0).integers(0, 256, (41, 39, 3), dtype=np.uint8)
    for quality, subsampling, progressive in ((75, 2, False), (90, 0, True)):
        file = BytesIO()
        Image.fromarray(noise).save(
            file, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive
        )
        decoded = decoder(torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8), 0, False)
        if not np.array_equal(decoded.permute(1, 2, 0).numpy(), np.asarray(Image.open(file))):
            return False
    return True
