"""Pictures as a page shows them: encoded beside the pages, and addressed by their content."""

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.data.drawing import draw_scene
from convolens.data.picture import PictureFormat, decode_as

Pixels = NDArray[np.uint8]
_SAMPLE_PX, _SAMPLE_SEED, _SAMPLE_LABEL = 224, 5, 0


def data_url(pixels: Pixels) -> str:
    """A picture as an address that needs no server.

    Shape: uint8 (H, W, 3)
    """
    return f"data:image/png;base64,{base64.b64encode(_png(pixels)).decode()}"


def fitted(content: bytes | None, name: str, size: tuple[int, int]) -> Pixels:
    """A picture that a person gave, or one drawn by code, as a network of that size reads it.

    Shape: -> uint8 (H, W, 3)
    Raises:
        DataError: when it is no picture.
    """
    form = PictureFormat(channels=3, size=size)
    tensor, _ = decode_as(sample_bytes() if content is None else content, name, form)
    return tensor.permute(1, 2, 0).numpy()


def sample_bytes() -> bytes:
    """A picture drawn by code, for those who have none at hand, as a PNG file."""
    generator = np.random.default_rng(_SAMPLE_SEED)
    scene = draw_scene(generator, _SAMPLE_LABEL, channels=3, size=(_SAMPLE_PX, _SAMPLE_PX))
    return _png(scene.pixels.transpose(1, 2, 0))


def _png(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()
