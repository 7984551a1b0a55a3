"""Many picture files, decoded by threads: all at once, or by the batch."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convolens.data.picture import PictureFormat, decode_picture, fit_picture
from convolens.errors import DataError

Source = Path | bytes

_CHUNK = 16
# Below this size [bytes] a picture is decoded so fast that threads only wait for one another.
_WORTH_THREADS_BYTES = 8192


@dataclass(frozen=True)
class FilePictures:
    """Pictures that stay on disk and are decoded each time a batch wants them."""

    paths: tuple[Path, ...]
    format: PictureFormat

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at these indices (B,), as uint8 (B, C, H, W).

        Raises: DataError: when a picture can no longer be read.
        """
        chosen = [self.paths[i] for i in indices.tolist()]
        pixels, errors = decode_all(chosen, [str(path) for path in chosen], self.format)
        if errors:
            raise errors[min(errors)]
        return pixels

    def select(self, indices: Tensor) -> "FilePictures":
        return FilePictures(tuple(self.paths[i] for i in indices.tolist()), self.format)


def decode_all(
    sources: Sequence[Source], wheres: Sequence[str], format: PictureFormat
) -> tuple[Tensor, dict[int, DataError]]:
    """Decodes pictures into one uint8 tensor (N, C, H, W), threaded where that is faster.

    Args:
        sources: files, or their contents.
        wheres: a name for each, to be used in errors.
    Returns: the pixels, and the error of each picture that could not be read, by its place.
    """
    pixels = torch.zeros(len(sources), format.channels, *format.size, dtype=torch.uint8)
    return pixels, _each(sources, wheres, format, pixels.numpy())


def check_all(
    sources: Sequence[Source], wheres: Sequence[str], format: PictureFormat
) -> dict[int, DataError]:
    """Decodes pictures and keeps none: the error of each that cannot be read, by its place."""
    return _each(sources, wheres, format, None)


def _each(
    sources: Sequence[Source],
    wheres: Sequence[str],
    format: PictureFormat,
    pixels: NDArray[np.uint8] | None,
) -> dict[int, DataError]:
    def decode(places: range) -> dict[int, DataError]:
        errors = {}
        for place in places:
            try:
                array = fit_picture(decode_picture(sources[place], wheres[place]), format)
            except DataError as error:
                errors[place] = error
                continue
            if pixels is not None:
                pixels[place] = array.numpy()
        return errors

    count = len(sources)
    if not _worth_threads(sources):
        return decode(range(count))
    chunks = [range(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        found = list(pool.map(decode, chunks))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt need not wait for all that is queued
    return {place: error for errors in found for place, error in errors.items()}


def _worth_threads(sources: Sequence[Source]) -> bool:
    sample = sources[:: max(1, len(sources) // 32)]
    sizes = [len(source) if isinstance(source, bytes) else _size(source) for source in sample]
    return len(sources) > 1 and sum(sizes) / len(sizes) >= _WORTH_THREADS_BYTES


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
