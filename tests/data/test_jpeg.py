import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convolens.data import jpeg
from convolens.data.jpeg import JPEG_START, decode_jpeg, jpeg_header
from convolens.data.picture import (
    MAX_PIXELS,
    PictureFormat,
    decode_as,
    decode_picture,
    fit_picture,
    read_as,
)
from convolens.errors import DataError

FORMAT = PictureFormat(channels=3, size=(16, 16))
ORIENTATION = 0x0112


@pytest.fixture
def fresh_decoder() -> Iterator[None]:
    jpeg._decoder.cache_clear()
    yield
    jpeg._decoder.cache_clear()


@pytest.fixture
def fast() -> None:
    if jpeg._decoder() is None:
        pytest.skip("torchvision's library is not here, or decodes otherwise than Pillow")


def picture(mode: str = "RGB", size: tuple[int, int] = (45, 37)) -> Image.Image:
    """A smooth picture with some noise, (width, height) as Pillow has it."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    noise = generator.integers(0, 9, (*size[::-1], 3))
    return Image.fromarray((np.asarray(smooth) * 0.9 + noise).astype(np.uint8)).convert(mode)


def content(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data: bytes, format: PictureFormat = FORMAT) -> torch.Tensor:
    return fit_picture(decode_picture(data, "x"), format)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_the_pixels_are_those_of_pillow(mode: str, progressive: bool, subsampling: int) -> None:
    data = content(picture(mode), quality=80, progressive=progressive, subsampling=subsampling)
    pixels = decode_jpeg(data, MAX_PIXELS)
    assert pixels is not None
    with Image.open(io.BytesIO(data)) as image:
        expected = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    assert np.array_equal(pixels.numpy(), expected)
    for channels in (1, 3):
        format = PictureFormat(channels=channels, size=(16, 16))
        assert torch.equal(decode_as(data, "x", format)[0], by_pillow(data, format))


@pytest.mark.usefixtures("fast")
def test_real_photographs_are_decoded_as_pillow_decodes_them(real_data: Path) -> None:
    for path in sorted((real_data / "photos").glob("*.jpg")):
        data = path.read_bytes()
        assert decode_jpeg(data, MAX_PIXELS) is not None
        for size in (64, 224):  # not eight times smaller, so that nothing is decoded in part
            format = PictureFormat(channels=3, size=(size, size))
            assert torch.equal(decode_as(path, "x", format)[0], by_pillow(data, format))


def test_what_is_out_of_the_ordinary_is_left_to_pillow() -> None:
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    upright = Image.Exif()
    upright[ORIENTATION] = 1
    plain = content(picture())
    odd = [
        content(picture("CMYK")),
        content(picture(), exif=turned),
        plain[:-40],
        plain[:30],
        JPEG_START,
        JPEG_START + b"\xe1",
    ]
    for data in odd:
        assert decode_jpeg(data, MAX_PIXELS) is None
    assert decode_jpeg(plain, 45 * 37 - 1) is None
    for data in (*odd[:2], content(picture(), exif=upright)):
        assert torch.equal(decode_as(data, "x", FORMAT)[0], by_pillow(data))
    assert decode_picture(odd[1], "x").size == (37, 45)
    for data in odd[2:]:
        with pytest.raises(DataError, match=r"^x is (damaged|not a picture)"):
            decode_as(data, "x", FORMAT)


@given(st.binary(max_size=60))
def test_any_bytes_have_a_header_or_none(data: bytes) -> None:
    header = jpeg_header(JPEG_START + data)
    assert header is None or (header.height < 1 << 16 and header.width < 1 << 16)


@pytest.mark.usefixtures("fresh_decoder")
def test_without_torchvisions_library_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(picture())
    expected = decode_as(data, "x", FORMAT)[0]
    jpeg._decoder.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert decode_jpeg(data, MAX_PIXELS) is None
    assert torch.equal(decode_as(data, "x", FORMAT)[0], expected)


@pytest.mark.usefixtures("fast")
def test_a_library_that_decodes_to_other_pixels_is_not_used() -> None:
    decoder = jpeg._decoder()
    assert decoder is not None
    assert jpeg._agrees_with_pillow(decoder)
    assert not jpeg._agrees_with_pillow(lambda *given: decoder(*given) // 2 * 2)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_much_larger_jpeg_is_decoded_at_part_of_its_size(
    tmp_path: Path, orientation: int
) -> None:
    notes = Image.Exif()
    notes[ORIENTATION] = orientation
    path = tmp_path / "large.jpg"
    picture(size=(320, 256)).save(path, quality=90, exif=notes)
    for size, shrink in ((33, 1), (32, 4), (17, 4), (16, 8)):
        format = PictureFormat(channels=3, size=(size, size))
        shown, inverted = read_as(path, format)
        assert not inverted
        exact = by_pillow(path.read_bytes(), format)
        error = (shown.float() - exact.float()).square().mean().sqrt()
        assert error == 0 if shrink == 1 else 0 < error < 2.5
        part = decode_picture(path, "x", shrink=shrink)
        assert torch.equal(shown, fit_picture(part, format))
        assert max(part.size) == 320 // shrink
        assert (part.width > part.height) == (orientation == 1)
