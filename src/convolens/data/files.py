"""Many picture files, decoded by threads: all at once, or as they are wanted."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import torch
from torch import Tensor

from convolens.data.base import Pictures, Problem
from convolens.data.picture import PictureFormat, decode_as
from convolens.data.source import Source, source_bytes
from convolens.errors import DataError

Report = Callable[[int, int], None]
Damaged = Literal["replace", "drop"]

_CHUNK = 16
# Below this size [bytes] a picture is decoded so fast that threads only wait for one another.
_WORTH_THREADS_BYTES = 8192
_MAX_WORKERS = 16
_MAX_TRIES = 100  # pictures in a row; a disk that has gone away is no damaged picture


class ProblemLog:
    """What turned out to be unreadable while pictures were streamed; shared by threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: dict[str, Problem] = {}
        self._taken: set[str] = set()

    def add(self, problem: Problem) -> None:
        with self._lock:
            self._found[problem.where] = problem

    def take(self) -> tuple[Problem, ...]:
        """The problems that were not taken before, sorted by place."""
        with self._lock:
            new = sorted(self._found.keys() - self._taken)
            self._taken.update(new)
            return tuple(self._found[where] for where in new)


@dataclass(frozen=True, kw_only=True, eq=False)
class FilePictures:
    """Pictures that stay where they are and are decoded each time a batch wants them.

    Which of them are damaged turns out only then.

    Args:
        sources: where each is.
        names: a name for each, relative to `where`.
        where: the folder or archive; with a name, what a person knows a picture by.
        workers: threads that decode ahead; 0 decodes when a batch is asked for, -1 chooses.
        strict: raise for a damaged picture.
        log: the damaged pictures that were met.
    """

    sources: Sequence[Source]
    names: Sequence[str]
    where: str
    format: PictureFormat
    workers: int = -1
    strict: bool = False
    log: ProblemLog = field(default_factory=ProblemLog)

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def num_workers(self) -> int:
        """The number of threads, after the choice."""
        if self.workers >= 0:
            return self.workers
        return most_workers() if _worth_threads(self.sources) else 1

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at these indices (B,), as uint8 (B, C, H, W), damaged ones replaced."""
        parts = torch.split(indices, _CHUNK)
        if len(parts) < 2 or not _worth_threads(self.sources):
            return self.fetch(indices, "replace")[1]
        with decoding_threads(most_workers()) as pool:
            return torch.cat([p for _, p in pool.map(lambda i: self.fetch(i, "replace"), parts)])

    def fetch(self, indices: Tensor, damaged: Damaged) -> tuple[Tensor, Tensor]:
        """Decodes the pictures at these indices (B,), in the thread that asks.

        Args:
            damaged: "replace" takes the next readable picture of the split instead, the first
                after the last; "drop" leaves it out.
        Returns: the places of the pictures, and the pictures, uint8 (B', C, H, W).
        Raises:  DataError: when one is damaged and `strict` is set, and when many in a row are.
        """
        places: list[int] = []
        pixels: list[Tensor] = []
        for wanted in indices.tolist():
            tries = min(_MAX_TRIES, len(self)) if damaged == "replace" else 1
            found = self._first_readable(wanted, tries)
            if found is not None:
                places.append(found[0])
                pixels.append(found[1])
            elif damaged == "replace":
                raise DataError(
                    f"{tries} pictures in a row cannot be read, from {self._name(wanted)} on"
                )
        empty = torch.empty(0, self.format.channels, *self.format.size, dtype=torch.uint8)
        return torch.tensor(places, dtype=torch.int64), torch.stack(pixels) if pixels else empty

    def select(self, indices: Tensor) -> "FilePictures":
        places = indices.tolist()
        return FilePictures(
            sources=[self.sources[i] for i in places],
            names=[self.names[i] for i in places],
            where=self.where,
            format=self.format,
            workers=self.workers,
            strict=self.strict,
            log=self.log,
        )

    def _first_readable(self, wanted: int, tries: int) -> tuple[int, Tensor] | None:
        for step in range(tries):
            place = (wanted + step) % len(self)
            where = self._name(place)
            try:
                return place, decode_as(self.sources[place], where, self.format)[0]
            except DataError as error:
                if self.strict:
                    raise
                self.log.add(problem_of(where, error))
        return None

    def _name(self, place: int) -> str:
        return f"{self.where}/{self.names[place]}"


def new_problems(pictures: Pictures) -> tuple[Problem, ...]:
    """The damaged pictures that were met since the last call; none for pictures in memory.

    All splits of a Dataset share what was met.
    """
    return pictures.log.take() if isinstance(pictures, FilePictures) else ()


def problem_of(where: str, error: DataError) -> Problem:
    """A DataError about a picture as a Problem."""
    return Problem(where=where, why=error.message.removeprefix(where).strip())


def decode_all(
    sources: Sequence[Source],
    wheres: Sequence[str],
    format: PictureFormat,
    report: Callable[[int], None] | None = None,
) -> tuple[Tensor, dict[int, DataError]]:
    """Decodes pictures into one uint8 tensor (N, C, H, W), threaded where that is faster.

    Args:
        wheres: a name for each, to be used in errors.
        report: is told how many are done, now and then.
    Returns: the pixels, and the error of each picture that could not be read, by its place.
    """
    pixels = torch.zeros(len(sources), format.channels, *format.size, dtype=torch.uint8)
    array = pixels.numpy()  # torch would use threads of its own for the copies

    def decode(places: range) -> dict[int, DataError]:
        errors = {}
        for place in places:
            try:
                array[place] = decode_as(sources[place], wheres[place], format)[0].numpy()
            except DataError as error:
                errors[place] = error
        return errors

    found: dict[int, DataError] = {}
    chunks = [range(i, min(i + _CHUNK, len(sources))) for i in range(0, len(sources), _CHUNK)]
    for chunk, errors in zip(chunks, _mapped(decode, chunks, sources), strict=True):
        found |= errors
        if report is not None:
            report(chunk.stop)
    return pixels, found


def _mapped(
    decode: Callable[[range], dict[int, DataError]],
    chunks: Sequence[range],
    sources: Sequence[Source],
) -> Iterator[dict[int, DataError]]:
    if len(sources) < 2 or not _worth_threads(sources):
        yield from map(decode, chunks)
        return
    pool = decoding_threads(most_workers())
    try:
        yield from pool.map(decode, chunks)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt need not wait for all that is queued


def decoding_threads(count: int) -> ThreadPoolExecutor:
    """Threads that decode one picture each at a time."""
    return ThreadPoolExecutor(
        count,
        thread_name_prefix="convolens-loader",
        # Each would otherwise bring its own team of threads to every operation of PyTorch. The
        # number belongs to the thread that sets it: the one that trains keeps its own.
        initializer=torch.set_num_threads,
        initargs=(1,),
    )


def most_workers() -> int:
    """As many threads as there are processors for this process, and 16 at most."""
    if hasattr(os, "sched_getaffinity"):
        return min(_MAX_WORKERS, len(os.sched_getaffinity(0)))
    return min(_MAX_WORKERS, os.cpu_count() or 1)


def _worth_threads(sources: Sequence[Source]) -> bool:
    sizes = [source_bytes(source) for source in sources[:: max(1, len(sources) // 32)]]
    return sum(sizes) >= _WORTH_THREADS_BYTES * max(1, len(sizes))
