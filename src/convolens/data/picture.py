"""Pictures as people have them, made into the arrays that a network reads."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from convolens.data.jpeg import JPEG_START, decode_jpeg, jpeg_header
from convolens.data.source import Source, open_source, reason
from convolens.errors import DataError

Fit = Literal["crop", "pad", "stretch"]
Area = tuple[int, int, int, int]  # top, left, rows, columns [px]

MAX_PIXELS = 89_478_485  # Pillow's own limit, here an error: a quarter of a GiB as RGB

# Only formats that Pillow decodes itself, so that no picture can start another program.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "DIB", "AVIF", "JPEG2000")

_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """How a picture of any size and colour becomes an array (C, H, W).

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (H, W) [px].
        fit: "crop" scales the picture until it covers the size and cuts the centre out; "pad"
            scales it until it fits inside and fills the rest; "stretch" ignores its proportions.
        background: for ink on an even ground (digits, letters), the grey value of that ground;
            None for photographs.
    """

    channels: int
    size: tuple[int, int]
    fit: Fit = "crop"
    background: int | None = None


def read_picture(path: str | Path) -> Image.Image:
    """Reads one picture from a file, upright and with 8 bits a channel.

    The orientation noted by a camera is applied. Palettes, CMYK and the like become RGB; 16-bit
    grey is divided by 257; other grey numbers are taken as 0..1 or 0..255 where they lie within,
    and stretched from least to greatest otherwise. Of an animation, the first frame is read.

    Returns: a picture of mode L, LA, RGB or RGBA.
    Raises:  DataError: when there is no such file, or it is not a whole picture, or it has more
             than MAX_PIXELS pixels.
    """
    return decode_picture(Path(path), str(path))


def read_as(path: str | Path, format: PictureFormat) -> tuple[Tensor, bool]:
    """Reads one picture from a file as the datasets of this format show it.

    Returns: uint8 (C, H, W); True when dark and light were exchanged (`fit_with_inversion`).
    Raises:  DataError: as `read_picture`.
    """
    return decode_as(Path(path), str(path), format)


def decode_as(source: Source, where: str, format: PictureFormat) -> tuple[Tensor, bool]:
    """Does what `read_as` does, for any source: decodes and fits, the fast way where there is one.

    A JPEG of at least eight times the format's size is decoded at a quarter or an eighth of its
    own, which leaves twice the format's size or more for the scaling that follows.

    Args:
        where: the name to be used in an error.
    """
    shrink = 1
    if format.background is None:  # sets of ink are small, and may want inverting
        with open_source(source, where) as file:
            start = file.read(len(JPEG_START))
            content = start + file.read() if start == JPEG_START else b""
        if content:
            source = content
            shrink = _shrink(content, format)
            if shrink == 1 and (pixels := decode_jpeg(content, MAX_PIXELS)) is not None:
                return fit_pixels(pixels[None], format)[0], False
    return fit_with_inversion(decode_picture(source, where, shrink=shrink), format)


def _shrink(content: bytes, format: PictureFormat) -> int:
    header = jpeg_header(content)
    if header is None:
        return 1
    ratio = min(header.height, header.width) / max(format.size)
    return next(
        (
            part
            for part in (8, 4)
            # Rounding up to whole blocks would move a padded picture against its targets.
            if ratio >= 2 * part
            and (format.fit == "crop" or not (header.height % part or header.width % part))
        ),
        1,
    )


def decode_picture(source: Source, where: str, *, shrink: int = 1) -> Image.Image:
    """Does what `read_picture` does, for a file or for the bytes of one.

    Args:
        source: the file, or its content.
        where: the name to be used in an error.
        shrink: 4 or 8 decodes a JPEG at that part of its size.
    """
    with open_source(source, where) as file:
        image = _open_image(file, where)
        try:
            if shrink > 1:
                image.draft(None, (image.width // shrink, image.height // shrink))
            image.load()
            return _eight_bits(_upright(image))
        except Exception as error:  # decoders of damaged files raise errors of every kind
            raise DataError(f"{where} is damaged: {reason(error)}") from error


def decode_mask(source: Source, where: str) -> Tensor:
    """The numbers that a mask's pixels are stored as: places in a palette, grey values or colours.

    Shape:  -> (h, w), or uint8 (h, w, 3) for colours
    Raises: DataError: as `read_picture`.
    """
    with open_source(source, where) as file:
        image = _open_image(file, where)
        try:
            image.load()
            image = _upright(image)
            if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBA", "RGBX", "RGBa"):
                image = image.convert("RGB")
            values = np.array(image)
        except Exception as error:  # as above
            raise DataError(f"{where} is damaged: {reason(error)}") from error
    grey = values[..., 0] if image.mode in ("LA", "La", "PA") else values
    return torch.from_numpy(grey.astype(np.uint8 if grey.dtype == np.bool_ else grey.dtype))


def picture_header(source: Source, where: str) -> tuple[str, tuple[int, int]]:
    """Reads the mode and the size (height, width) of a picture turned upright, not its pixels.

    Raises: DataError: as `read_picture`, as far as the header tells.
    """
    with open_source(source, where) as file:
        image = _open_image(file, where)
        size = (image.height, image.width)
        return image.mode, size[::-1] if _turn(image) in _SIDEWAYS else size


def fit_picture(picture: Image.Image, format: PictureFormat) -> Tensor:
    """Makes a picture of any size and colour into an array of the given format.

    Shape:   -> uint8 (C, H, W).
    Example:
        >>> digit = Image.new("L", (20, 10), color=255)
        >>> fit_picture(digit, PictureFormat(channels=1, size=(28, 28))).shape
        torch.Size([1, 28, 28])
    """
    return fit_with_inversion(picture, format)[0]


def fit_with_inversion(picture: Image.Image, format: PictureFormat) -> tuple[Tensor, bool]:
    """Does what `fit_picture` does, and says whether dark and light were exchanged.

    That happens only in formats with a background: people draw black on white, and many sets of
    digits are white on black, so a picture whose border shows the opposite ground is inverted.

    Returns: uint8 (C, H, W); True when it was inverted.
    """
    image = _eight_bits(picture)
    ground = 255 if format.background is None else _contrasting_ground(image)
    pixels = _tensor(_composite(image, ground))
    inverted = False
    if format.background is not None:
        pixels = _grey(pixels)
        inverted = _on_opposite_ground(pixels[0, 0], format)
        if inverted:
            pixels = 255 - pixels
    return fit_pixels(pixels, format)[0], inverted


def fit_pixels(pixels: Tensor, format: PictureFormat) -> Tensor:
    """Does what `fit_picture` does for many opaque pictures of one size, inverting none.

    Shape: uint8 (N, 1 or 3, h, w) -> uint8 (N, C, H, W).
    """
    if pixels.shape[1] == 3 and (format.channels == 1 or format.background is not None):
        pixels = _grey(pixels)
    if tuple(pixels.shape[2:]) != format.size:
        pixels = _resize(pixels, format)
    if pixels.shape[1] != format.channels:
        pixels = pixels.expand(-1, format.channels, -1, -1)
    return pixels.contiguous()


def fitted_areas(size: tuple[int, int], format: PictureFormat) -> tuple[Area, Area]:
    """Which part of a picture is shown, and where it stands in the format.

    Args:
        size: (h, w) of the picture [px].
    Returns: (top, left, rows, columns) in the picture and (top, left, rows, columns) in the format;
        the one is scaled to the other, and what the other leaves of the format is filled.
    Example:
        >>> fitted_areas((480, 640), PictureFormat(channels=3, size=(256, 320), fit="pad"))
        ((0, 0, 480, 640), (8, 0, 240, 320))
    """
    (h, w), (H, W) = size, format.size
    if format.fit == "crop":
        scale = max(H / h, W / w)
        rows, cols = _side(H / scale, h), _side(W / scale, w)
        return ((h - rows) // 2, (w - cols) // 2, rows, cols), (0, 0, H, W)
    if format.fit == "pad":
        scale = min(H / h, W / w)
        rows, cols = _side(h * scale, H), _side(w * scale, W)
        return (0, 0, h, w), ((H - rows) // 2, (W - cols) // 2, rows, cols)
    return (0, 0, h, w), (0, 0, H, W)


def _resize(pixels: Tensor, format: PictureFormat) -> Tensor:
    h, w = pixels.shape[2:]
    cut, place = fitted_areas((h, w), format)
    top, left, rows, cols = cut
    pixels = pixels[:, :, top : top + rows, left : left + cols]
    top, left, rows, cols = place
    pixels = _interpolate(pixels, (rows, cols))
    if (rows, cols) == format.size:
        return pixels
    padding = (left, format.size[1] - cols - left, top, format.size[0] - rows - top)
    return F.pad(pixels, padding, value=format.background or 0)


def _side(length: float, longest: int) -> int:
    return min(max(1, math.floor(length + 0.5)), longest)


def _interpolate(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(pixels.shape[2:]) == size:
        return pixels
    return F.interpolate(pixels, size=size, mode="bicubic", antialias=True)


def _grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R 601 in the integers that Pillow uses, so that both give the same grey."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.to(torch.int32).unbind(1)
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.to(torch.uint8).unsqueeze(1)


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """An array (h, w) or (h, w, C) as a tensor (1, C, h, w)."""
    stacked = pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]
    return torch.from_numpy(stacked)


def _on_opposite_ground(grey: Tensor, format: PictureFormat) -> bool:
    """Whether the border of a picture (h, w) is nearer to 255 - background than to background."""
    background = format.background or 0
    values = grey.to(torch.float32)
    distance = (values - (255 - background)).abs() - (values - background).abs()
    border = torch.cat((distance[0], distance[-1], distance[:, 0], distance[:, -1]))
    if border.median() >= 0:
        return False
    h, w = grey.shape
    if h > format.size[0] or w > format.size[1]:
        return True
    # As small as the dataset's own: a coat or a bag may fill a border, but not all four corners.
    return bool(distance[0, 0] < 0 and distance[0, -1] < 0) and bool(
        distance[-1, 0] < 0 and distance[-1, -1] < 0
    )


def _contrasting_ground(image: Image.Image) -> int:
    """White below dark ink and black below light ink, for pictures with transparency."""
    if image.mode not in ("LA", "RGBA"):
        return 255
    grey, alpha = (np.asarray(band, np.float64) for band in image.convert("LA").split())
    weight = alpha.sum()
    return 0 if weight > 0 and (grey * alpha).sum() / weight >= 128 else 255


def _composite(image: Image.Image, ground: int) -> NDArray[np.uint8]:
    """The pixels of a picture over an even ground, (h, w) or (h, w, 3)."""
    pixels = np.array(image)
    if image.mode not in ("LA", "RGBA"):
        return pixels
    alpha = pixels[..., -1:].astype(np.int32)
    blended = (pixels[..., :-1] * alpha + ground * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8).squeeze(-1) if image.mode == "LA" else blended.astype(np.uint8)


def _open_image(file: IO[bytes], where: str) -> Image.Image:
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(f"{where} is not a picture, or its beginning is damaged") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where} has more pixels than the limit of {MAX_PIXELS:,}") from error
    except Exception as error:  # as above
        raise DataError(f"{where} is damaged: {reason(error)}") from error
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{where} has {image.width} x {image.height} pixels, more than the limit of "
            f"{MAX_PIXELS:,}"
        )
    return image


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_turn(image))
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> int:
    """How the camera was held, 1 to 8; 1 is upright."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged notes of the camera; the pixels are sound
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Any picture as one of mode L, LA, RGB or RGBA."""
    mode = image.mode
    if mode in ("LA", "RGBA"):
        return image
    if mode in ("L", "RGB"):
        return image.convert(mode + "A") if "transparency" in image.info else image
    if mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype("u1"))
    if mode in ("I", "F"):
        return Image.fromarray(_scaled(np.asarray(image).astype(np.float64), mode))
    if mode == "La":
        return image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if mode == "1" else "RGB")


def _scaled(values: NDArray[np.float64], mode: str) -> NDArray[np.uint8]:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if mode == "I" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif mode == "F" and low >= 0 and high <= 255:
        low, high = 0.0, (1.0 if high <= 1 else 255.0)
    span = max(high - low, 1e-12)
    scaled = np.nan_to_num((values - low) / span, nan=0.0, posinf=1.0, neginf=0.0)
    return np.floor(scaled * 255 + 0.5).astype(np.uint8)
