import threading
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convolens.data.base import MemoryPictures, Split
from convolens.data.loader import batches
from convolens.errors import DataError

PIXELS = torch.arange(23, dtype=torch.uint8).reshape(-1, 1, 1, 1)


@dataclass(frozen=True)
class SlowPictures:
    """Pictures that are not in memory; one of them may be broken."""

    pixels: Tensor
    broken: int = -1

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Tensor) -> Tensor:
        if self.broken in indices.tolist():
            raise DataError("b.jpg is damaged")
        return self.pixels[indices]

    def select(self, indices: Tensor) -> "SlowPictures":
        return SlowPictures(self.pixels[indices])


def split(pictures: MemoryPictures | SlowPictures) -> Split:
    names = [str(i) for i in range(len(pictures))]
    return Split(pictures=pictures, targets={"label": torch.zeros(len(names))}, names=names)


def loader_threads() -> int:
    return sum(thread.name.startswith("convolens-loader") for thread in threading.enumerate())


@given(
    count=st.integers(0, 23), size=st.integers(1, 30), start=st.integers(0, 5), slow=st.booleans()
)
def test_the_order_is_kept_and_the_last_batch_holds_the_rest(
    count: int, size: int, start: int, slow: bool
) -> None:
    order = torch.randperm(23, generator=torch.Generator().manual_seed(count))[:count]
    pictures = SlowPictures(PIXELS) if slow else MemoryPictures(PIXELS)
    found = list(batches(split(pictures), order, size, start=start))
    expected = list(torch.split(order, size))[start:] if count else []
    assert [batch.indices.tolist() for batch in found] == [chunk.tolist() for chunk in expected]
    for batch in found:
        assert torch.equal(batch.pixels.flatten().long(), batch.indices)
        assert batch.wait_s >= 0
    assert loader_threads() == 0


def test_an_error_reaches_the_consumer_after_the_batches_before_it() -> None:
    loader = batches(split(SlowPictures(PIXELS, broken=7)), torch.arange(23), 4, prefetch=1)
    assert next(loader).indices.tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"b\.jpg is damaged"):
        next(loader)
    assert loader_threads() == 0


def test_the_thread_ends_when_the_consumer_stops_or_fails() -> None:
    loader = batches(split(SlowPictures(PIXELS)), torch.arange(23), 2)
    next(loader)
    assert loader_threads() == 1
    loader.close()  # type: ignore[attr-defined]
    assert loader_threads() == 0

    def consume() -> None:
        for _ in batches(split(SlowPictures(PIXELS)), torch.arange(23), 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert loader_threads() == 0


def test_no_more_than_prefetch_batches_wait() -> None:
    fetched: list[int] = []

    class Counted(SlowPictures):
        def batch(self, indices: Tensor) -> Tensor:
            fetched.append(1)
            return super().batch(indices)

    loader = batches(split(Counted(PIXELS)), torch.arange(23), 1, prefetch=2)
    next(loader)
    for _ in range(200):
        if len(fetched) == 3:
            break
        threading.Event().wait(0.01)
    threading.Event().wait(0.05)
    assert len(fetched) == 3  # one handed over, two ready
    loader.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("order", "options", "message"),
    [
        (torch.arange(3), {"batch_size": 0}, "expected batch_size >= 1"),
        (torch.arange(3), {"batch_size": 1, "prefetch": 0}, "prefetch >= 1"),
        (torch.tensor([23]), {"batch_size": 1}, r"order must stay within 0\.\.22"),
        (torch.tensor([-1]), {"batch_size": 1}, r"order must stay within 0\.\.22"),
        (torch.zeros(3), {"batch_size": 1}, "order must be int64"),
    ],
)
def test_wrong_arguments_are_named_at_once(
    order: Tensor, options: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        batches(split(MemoryPictures(PIXELS)), order, **options)
