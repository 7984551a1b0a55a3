"""Where the bytes of a picture are: a file, a part of a file, or memory."""

import stat
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

from convolens.errors import DataError


class Region(NamedTuple):
    """A run of bytes in a file, such as one member of a tar."""

    path: str
    offset: int
    num_bytes: int


Source = Path | str | bytes | Region


def open_source(source: Source, where: str) -> IO[bytes]:
    """Opens a source for reading from its first byte.

    Args:
        where: the name to be used in an error.
    Raises: DataError: when it is missing, empty, no regular file, or ends too early.
    """
    if isinstance(source, Region):
        return BytesIO(_read_region(source, where))
    if isinstance(source, bytes):
        if not source:
            raise DataError(f"{where} is empty (0 bytes)")
        return BytesIO(source)
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"expected a picture, received a folder: {where}")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"expected a picture, received something that is no file: {where}")
        if status.st_size == 0:
            raise DataError(f"{where} is empty (0 bytes)")
        return path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"picture not found: {where}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{where} cannot be opened: {reason(error)}") from error


def source_bytes(source: Source) -> int:
    """The length of a source [bytes]; 0 where that cannot be told."""
    if isinstance(source, Region):
        return source.num_bytes
    if isinstance(source, bytes):
        return len(source)
    try:
        return Path(source).stat().st_size
    except OSError:
        return 0


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")


def _read_region(region: Region, where: str) -> bytes:
    if not region.num_bytes:
        raise DataError(f"{where} is empty (0 bytes)")
    try:
        with Path(region.path).open("rb", buffering=0) as file:
            file.seek(region.offset)
            content = file.read(region.num_bytes)
    except OSError as error:
        raise DataError(f"{region.path} cannot be read: {reason(error)}") from error
    if len(content) < region.num_bytes:
        raise DataError(f"{where} is damaged: {region.path} ends within it")
    return content
