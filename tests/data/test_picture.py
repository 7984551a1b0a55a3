import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from convolens.data import picture as picture_module
from convolens.data.picture import (
    PictureFormat,
    fit_picture,
    fit_pixels,
    fit_with_inversion,
    picture_header,
    read_picture,
)
from convolens.errors import DataError

INK = PictureFormat(channels=1, size=(28, 28), fit="pad", background=0)
PHOTO = PictureFormat(channels=3, size=(16, 16))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def digit(size: int = 28) -> np.ndarray:
    """A light bar with soft edges on black."""
    pixels = np.zeros((size, size), np.uint8)
    pixels[size // 5 : -size // 5, size // 2 - size // 10 : size // 2 + size // 10] = 230
    pixels[size // 5, :-8] = 90
    return pixels


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("1", "L"),
        ("L", "L"),
        ("LA", "LA"),
        ("P", "RGB"),
        ("RGB", "RGB"),
        ("RGBA", "RGBA"),
        ("CMYK", "RGB"),
        ("YCbCr", "RGB"),
    ],
)
def test_a_mode_becomes_the_mode_that_pillow_converts_it_to(
    tmp_path: Path, mode: str, kept: str
) -> None:
    picture = Image.fromarray(noise(9, 7, 3)).convert("RGBA" if mode == "RGBA" else "RGB")
    picture = picture.convert(mode)
    path = tmp_path / "picture.tif"
    picture.save(path)
    read = read_picture(path)
    assert read.mode == kept
    assert np.array_equal(np.asarray(read), np.asarray(picture.convert(kept)))


def test_transparency_of_a_palette_is_kept(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((0, 0), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    read = read_picture(tmp_path / "p.png")
    assert read.mode == "RGBA"
    assert read.getpixel((0, 0)) == (0, 255, 0, 255)
    assert read.getpixel((1, 1)) == (255, 0, 0, 0)


def test_a_transparent_grey_value_is_kept(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 7).save(tmp_path / "l.png", transparency=7)
    assert read_picture(tmp_path / "l.png").getpixel((0, 0)) == (7, 0)


def test_sixteen_bits_are_divided_by_257(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.asarray(read_picture(tmp_path / "deep.png")).tolist() == [[0, 0, 1, 1, 128, 255]]
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "deep.tif")
    assert np.asarray(read_picture(tmp_path / "deep.tif")).tolist() == [[0, 0, 1, 1, 128, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 20.0, 255.0], [0, 20, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([3000.0, 3000.0, 3000.0], [0, 0, 0]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
    ],
)
def test_floats_are_scaled_by_their_range(
    tmp_path: Path, values: list[float], expected: list[int]
) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "f.tif")
    assert np.asarray(read_picture(tmp_path / "f.tif")).tolist() == [expected]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_applied(tmp_path: Path, orientation: int) -> None:
    picture = Image.fromarray(noise(8, 16, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as oracle:
        upright = ImageOps.exif_transpose(oracle)
    read = read_picture(tmp_path / "turned.png")
    assert read.size == ((8, 16) if orientation >= 5 else (16, 8))
    assert np.array_equal(np.asarray(read), np.asarray(upright))


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "a.gif").convert("RGB").getpixel((2, 2)) == (255, 0, 0)


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels by its header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def jpeg() -> bytes:
    buffer = BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty (0 bytes)"),
        (b"this is a shopping list", "is not a picture, or its beginning is damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
        (jpeg()[:-500], "is damaged: image file is truncated"),
        (jpeg()[:30], "is "),
        (bomb(), "has more pixels than the limit of 89,478,485"),
    ],
)
def test_what_is_no_whole_picture_is_named_in_one_line(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path} {reason}")
    assert "\n" not in str(caught.value)


def test_a_bomb_below_the_limit_of_pillow_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(noise(20, 20)).save(tmp_path / "large.png")
    monkeypatch.setattr(picture_module, "MAX_PIXELS", 399)
    with pytest.raises(DataError, match="has 20 x 20 pixels, more than the limit of 399"):
        read_picture(tmp_path / "large.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"picture not found: .*none\.png"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(DataError, match="expected a picture, received a folder: "):
        read_picture(tmp_path)


def test_every_flipped_byte_gives_a_picture_or_a_data_error() -> None:
    whole = bytearray(jpeg())
    generator = np.random.default_rng(0)
    refused = 0
    for place in generator.integers(0, len(whole), 150):
        damaged = bytes(whole[:place]) + bytes([whole[place] ^ 0xFF]) + bytes(whole[place + 1 :])
        try:
            picture_module.decode_picture(damaged, "x")
        except DataError:
            refused += 1
    assert 0 < refused < 150


def test_the_header_gives_mode_and_size(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 16)).save(tmp_path / "x.png")
    assert picture_header(tmp_path / "x.png", "x") == ("L", (8, 16))


def test_a_picture_of_the_datasets_size_is_unchanged() -> None:
    pixels = digit()
    assert np.array_equal(fit_picture(Image.fromarray(pixels), INK)[0].numpy(), pixels)
    photo = noise(16, 16, 3)
    fitted = fit_picture(Image.fromarray(photo), PHOTO)
    assert np.array_equal(fitted.permute(1, 2, 0).numpy(), photo)


@given(
    h=st.integers(1, 70),
    w=st.integers(1, 70),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["crop", "pad", "stretch"]),
)
def test_any_size_fits_and_an_even_picture_stays_even(
    h: int, w: int, channels: int, fit: picture_module.Fit
) -> None:
    shown_as = PictureFormat(channels=channels, size=(9, 13), fit=fit)
    fitted = fit_picture(Image.new("RGB", (w, h), (90, 90, 90)), shown_as)
    assert fitted.shape == (channels, 9, 13)
    assert fitted.dtype == torch.uint8
    values = set(fitted.flatten().tolist())
    assert 90 in values
    assert values <= ({0, 90} if fit == "pad" else {90})


def test_crop_keeps_the_centre_and_pad_keeps_all() -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    crop = fit_picture(Image.fromarray(wide), PictureFormat(channels=1, size=(10, 10)))
    assert crop.eq(200).all()
    pad = fit_picture(Image.fromarray(wide), PictureFormat(channels=1, size=(30, 30), fit="pad"))
    assert np.array_equal(pad[0, 10:20].numpy(), wide)
    assert not pad[0, :10].any()
    assert not pad[0, 20:].any()


def test_resizing_agrees_with_pillow() -> None:
    pixels = noise(40, 40, 3)
    shown_as = PictureFormat(channels=3, size=(16, 16), fit="stretch")
    oracle = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC)
    ours = fit_picture(Image.fromarray(pixels), shown_as).permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - np.asarray(oracle)).max() <= 1


def test_grey_is_the_grey_of_pillow() -> None:
    pixels = noise(32, 32, 3)
    ours = fit_picture(Image.fromarray(pixels), PictureFormat(channels=1, size=(32, 32)))
    assert np.array_equal(ours[0].numpy(), np.asarray(Image.fromarray(pixels).convert("L")))


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (14, 20)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_batch_and_a_single_picture_are_treated_alike(
    size: tuple[int, int], fit: picture_module.Fit
) -> None:
    photos = torch.from_numpy(noise(20, 3, 24, 28))
    for channels in (1, 3):
        shown_as = PictureFormat(channels=channels, size=size, fit=fit)
        batch = fit_pixels(photos, shown_as)
        for photo, fitted in zip(photos, batch, strict=True):
            picture = Image.fromarray(photo.permute(1, 2, 0).contiguous().numpy())
            assert torch.equal(fit_picture(picture, shown_as), fitted)


def test_transparent_photographs_lie_on_white() -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((0, 0), (10, 20, 30, 255))
    picture.putpixel((1, 0), (0, 0, 0, 51))
    fitted = fit_picture(picture, PictureFormat(channels=3, size=(4, 4)))
    assert fitted[:, 0, 0].tolist() == [10, 20, 30]
    assert fitted[:, 0, 1].tolist() == [204, 204, 204]
    assert fitted[:, 3, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size", [28, 280])
@pytest.mark.parametrize("channels", [1, 3])
def test_black_on_white_becomes_white_on_black(size: int, channels: int) -> None:
    shown_as = PictureFormat(channels=channels, size=(28, 28), fit="pad", background=0)
    light = Image.fromarray(digit(size))
    expected, inverted = fit_with_inversion(light, shown_as)
    assert not inverted
    fitted, inverted = fit_with_inversion(ImageOps.invert(light), shown_as)
    assert inverted
    # The rounding of a resampling differs by one between a picture and its negative.
    assert (fitted.int() - expected.int()).abs().max() <= (0 if size == 28 else 1)


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_a_transparent_ground_is_light_on_dark(ink: int) -> None:
    alpha = digit()
    bands = np.stack((np.full_like(alpha, ink), alpha), axis=-1)
    fitted, inverted = fit_with_inversion(Image.fromarray(bands, "LA"), INK)
    assert np.array_equal(fitted[0].numpy(), alpha)
    assert inverted == (ink == 0)


def test_a_small_light_thing_that_fills_the_border_is_not_inverted() -> None:
    bag = np.full((28, 28), 200, np.uint8)
    bag[0, 0] = 0
    assert fit_with_inversion(Image.fromarray(bag), INK)[1] is False


def test_photographs_are_never_inverted() -> None:
    white = Image.new("L", (20, 20), 255)
    assert fit_with_inversion(white, PictureFormat(channels=1, size=(20, 20)))[1] is False
