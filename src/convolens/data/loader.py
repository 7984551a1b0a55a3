"""Batches of a split, in a given order, fetched ahead where the pictures lie on disk."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from convolens.data.base import MemoryPictures, Pictures, Split
from convolens.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some pictures of a split.

    Args:
        indices: (B,) their places in the split, for the targets and the names.
        pixels: uint8 (B, C, H, W).
        wait_s: how long the consumer waited for them [s].
    """

    indices: Tensor
    pixels: Tensor
    wait_s: float


def batches(
    split: Split, order: Tensor, batch_size: int, *, start: int = 0, prefetch: int = 2
) -> Iterator[Batch]:
    """Yields the pictures of a split batch by batch, ceil(len(order) / batch_size) in all.

    Args:
        order: (M,) places in the split, in the order in which they are to come.
        batch_size: pictures a batch; the last one holds what is left.
        start: how many batches to skip from the beginning (where an earlier pass had stopped).
        prefetch: how many batches may wait ready; pictures in memory need none.
    Raises:  DataError: when a picture cannot be read, and when the order leaves the split.
    """
    if batch_size < 1 or start < 0 or prefetch < 1:
        raise DataError(
            "expected batch_size >= 1, start >= 0 and prefetch >= 1, "
            f"received {batch_size}, {start} and {prefetch}"
        )
    if order.ndim != 1 or order.dtype != torch.int64:
        raise DataError(
            f"order must be int64 (M,), received {order.dtype} of shape {tuple(order.shape)}"
        )
    if len(order) and not 0 <= int(order.min()) <= int(order.max()) < len(split):
        raise DataError(
            f"order must stay within 0..{len(split) - 1}, "
            f"received {int(order.min())}..{int(order.max())}"
        )
    chunks = [order[i : i + batch_size] for i in range(start * batch_size, len(order), batch_size)]
    if isinstance(split.pictures, MemoryPictures):
        return _in_memory(split.pictures, chunks)
    return _ahead(split.pictures, chunks, prefetch)


def _in_memory(pictures: Pictures, chunks: list[Tensor]) -> Iterator[Batch]:
    for indices in chunks:
        began = time.perf_counter()
        pixels = pictures.batch(indices)
        yield Batch(indices=indices, pixels=pixels, wait_s=time.perf_counter() - began)


def _ahead(pictures: Pictures, chunks: list[Tensor], prefetch: int) -> Iterator[Batch]:
    ready: queue.Queue[Tensor | BaseException] = queue.Queue()
    room = threading.Semaphore(prefetch)
    stopped = threading.Event()

    def fetch() -> None:
        for indices in chunks:
            room.acquire()
            if stopped.is_set():
                return
            try:
                ready.put(pictures.batch(indices))
            except BaseException as error:  # raised where the batch was wanted
                ready.put(error)
                return

    thread = threading.Thread(target=fetch, name="convolens-loader", daemon=True)
    thread.start()
    try:
        for indices in chunks:
            began = time.perf_counter()
            fetched = ready.get()
            wait_s = time.perf_counter() - began
            room.release()
            if isinstance(fetched, BaseException):
                raise fetched
            yield Batch(indices=indices, pixels=fetched, wait_s=wait_s)
    finally:
        stopped.set()
        room.release()
        thread.join()
