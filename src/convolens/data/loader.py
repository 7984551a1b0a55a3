"""Batches of a split, in a given order, decoded ahead by threads where the pictures lie on disk."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from convolens.data.base import MemoryPictures, Pictures, Split
from convolens.data.files import Damaged, FilePictures, decoding_threads
from convolens.errors import DataError

Fetch = Callable[[Tensor], tuple[Tensor, Tensor]]

_MAX_PART = 8  # pictures that one thread decodes in one go


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some pictures of a split.

    Args:
        indices: (B,) their places in the split, for the targets and the names; where a picture
            was replaced, the place of the one that stands for it.
        pixels: uint8 (B, C, H, W).
        wait_s: how long the consumer waited for them [s].
    """

    indices: Tensor
    pixels: Tensor
    wait_s: float


def batches(
    split: Split,
    order: Tensor,
    batch_size: int,
    *,
    start: int = 0,
    prefetch: int = 2,
    damaged: Damaged = "replace",
) -> Iterator[Batch]:
    """Yields the pictures of a split batch by batch, ceil(len(order) / batch_size) in all.

    The batches depend on the arguments alone, not on the number of threads nor on what an earlier
    pass has met, so that `start` goes on exactly.

    Args:
        order: (M,) places in the split, in the order in which they are to come.
        batch_size: pictures a batch; the last one holds what is left.
        start: how many batches to skip from the beginning (where an earlier pass had stopped).
        prefetch: how many batches may wait ready; pictures in memory need none.
        damaged: what stands for a picture that turns out to be damaged: "replace" takes the next
            readable one of the split, for training; "drop" makes the batch smaller, for metrics.
            `new_problems` names them.
    Raises:  DataError: when a picture of a `strict` dataset is damaged, when many in a row cannot
             be read, and when the order leaves the split.
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
        return _at_once(split.pictures, chunks)
    fetch, workers = _fetching(split.pictures, damaged)
    if workers == 0:
        return _here(fetch, chunks)
    return _ahead(fetch, chunks, workers, prefetch)


def _fetching(pictures: Pictures, damaged: Damaged) -> tuple[Fetch, int]:
    if isinstance(pictures, FilePictures):
        return partial(pictures.fetch, damaged=damaged), pictures.num_workers
    return lambda indices: (indices, pictures.batch(indices)), 1


def _at_once(pictures: MemoryPictures, chunks: Sequence[Tensor]) -> Iterator[Batch]:
    for indices in chunks:
        began = time.perf_counter()
        pixels = pictures.batch(indices)
        yield Batch(indices=indices, pixels=pixels, wait_s=time.perf_counter() - began)


def _here(fetch: Fetch, chunks: Sequence[Tensor]) -> Iterator[Batch]:
    """Fetches in the thread of the consumer, who waits for all of it."""
    num_fetched = 0
    for indices in chunks:
        began = time.perf_counter()
        places, pixels = fetch(indices)
        num_fetched += len(places)
        if len(places):
            yield Batch(indices=places, pixels=pixels, wait_s=time.perf_counter() - began)
    _check_any(num_fetched, chunks)


def _ahead(fetch: Fetch, chunks: Sequence[Tensor], workers: int, prefetch: int) -> Iterator[Batch]:
    """Fetches batches in parts, which threads share, while the consumer is busy with earlier ones.

    A part belongs to its place in its batch whoever fetches it, so the number of threads changes
    nothing but the time.
    """
    pool = decoding_threads(workers)
    waiting: deque[list[Future[tuple[Tensor, Tensor]]]] = deque()
    upcoming = iter(chunks)
    num_fetched = 0

    def submit() -> None:
        for indices in islice(upcoming, 1):
            size = max(1, min(_MAX_PART, -(-len(indices) // workers)))
            waiting.append([pool.submit(fetch, part) for part in torch.split(indices, size)])

    try:
        for _ in range(prefetch):
            submit()
        while waiting:
            began = time.perf_counter()
            submit()
            parts = [future.result() for future in waiting.popleft()]
            places = torch.cat([places for places, _ in parts])
            num_fetched += len(places)
            if not len(places):
                continue
            pixels = torch.cat([pixels for _, pixels in parts])
            yield Batch(indices=places, pixels=pixels, wait_s=time.perf_counter() - began)
        _check_any(num_fetched, chunks)
    finally:
        pool.shutdown(cancel_futures=True)


def _check_any(num_fetched: int, chunks: Sequence[Tensor]) -> None:
    if chunks and not num_fetched:
        raise DataError(f"none of the {sum(map(len, chunks))} pictures can be read")
