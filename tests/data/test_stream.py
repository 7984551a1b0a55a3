"""Pictures that do not fit in memory: what training gets, whatever the threads, damage and time."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convolens.data import files
from convolens.data.base import Problem, Split
from convolens.data.files import FilePictures, new_problems
from convolens.data.folder import Reading, load_folder
from convolens.data.loader import Batch, batches
from convolens.errors import DataError

Write = Callable[..., Path]
NAMES = [f"{part}/{c}/{i:02}.png" for part in ("train", "test") for c in "ab" for i in range(20)]
STREAM = Reading(image_size=8, memory_limit_bytes=0)


def with_workers(split: Split, workers: int) -> Split:
    assert isinstance(split.pictures, FilePictures)
    return replace(split, pictures=replace(split.pictures, workers=workers))


def same(found: list[Batch], expected: list[Batch]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(a.indices, b.indices) and torch.equal(a.pixels, b.pixels)
        for a, b in zip(found, expected, strict=True)
    )


def loader_threads() -> int:
    return sum(thread.name.startswith("convolens-loader") for thread in threading.enumerate())


@pytest.mark.parametrize("workers", [1, 2, 4, -1])
def test_the_number_of_threads_changes_nothing(write_pictures: Write, workers: int) -> None:
    root = write_pictures(*NAMES)
    for damaged in ("00.png", "07.png", "08.png", "19.png"):
        (root / "train" / "b" / damaged).write_bytes(b"damaged")
    train = load_folder(root, STREAM).train
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    expected = list(batches(with_workers(train, 0), order, 11))
    assert [len(batch.indices) for batch in expected] == [11, 11, 11, 7]
    assert same(list(batches(with_workers(train, workers), order, 11)), expected)
    assert same(list(batches(with_workers(train, workers), order, 11, start=2)), expected[2:])
    assert loader_threads() == 0


def test_a_damaged_picture_is_replaced_by_the_next_with_its_own_label(
    write_pictures: Write,
) -> None:
    root = write_pictures(*NAMES)
    for damaged in ("a/03.png", "a/04.png", "b/19.png"):
        (root / "train" / damaged).write_bytes(b"damaged")
    train = load_folder(root, STREAM).train
    (batch,) = batches(train, torch.tensor([2, 3, 4, 39]), 4)
    assert batch.indices.tolist() == [2, 5, 5, 0]
    assert torch.equal(batch.pixels, train.pictures.batch(torch.tensor([2, 5, 5, 0])))
    assert torch.equal(batch.pixels, train.pictures.batch(torch.tensor([2, 3, 4, 39])))


def test_damaged_pictures_are_dropped_from_metrics_as_if_they_were_not_there(
    write_pictures: Write,
) -> None:
    root = write_pictures(*NAMES)
    for damaged in ("a/03.png", "a/04.png", "a/05.png", "b/19.png"):
        (root / "test" / damaged).write_bytes(b"damaged")
    streamed, memory = load_folder(root, STREAM).test, load_folder(root, Reading(image_size=8)).test
    found = list(batches(streamed, torch.arange(40), 3, damaged="drop"))
    assert torch.equal(
        torch.cat([batch.pixels for batch in found]), memory.pictures.batch(torch.arange(36))
    )
    kept = torch.cat([batch.indices for batch in found]).tolist()
    assert [streamed.names[i] for i in kept] == list(memory.names)


def test_damaged_pictures_are_named_once(write_pictures: Write) -> None:
    root = write_pictures(*NAMES)
    (root / "train" / "a" / "03.png").write_bytes(b"")
    (root / "test" / "b" / "00.png").unlink()
    dataset = load_folder(root, STREAM)
    (root / "train" / "b" / "09.png").write_bytes(b"damaged")
    assert (dataset.problems, new_problems(dataset.train.pictures)) == ((), ())
    list(batches(dataset.train, torch.arange(40), 8))
    assert new_problems(dataset.train.pictures) == (
        Problem(where=f"{root}/train/a/03.png", why="is empty (0 bytes)"),
        Problem(
            where=f"{root}/train/b/09.png", why="is not a picture, or its beginning is damaged"
        ),
    )
    list(batches(dataset.train.select(torch.arange(30)), torch.arange(30), 8))
    assert new_problems(dataset.train.pictures) == ()


def test_strict_stops_at_a_damaged_picture(write_pictures: Write) -> None:
    root = write_pictures(*NAMES)
    (root / "train" / "a" / "03.png").write_bytes(b"")
    train = load_folder(root, replace(STREAM, strict=True)).train
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"train/a/03\.png is empty \(0 bytes\)"):
            list(batches(with_workers(train, workers), torch.arange(40), 8))
    assert loader_threads() == 0


def test_a_folder_that_goes_away_is_no_damaged_picture(
    write_pictures: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_pictures(*NAMES)
    dataset = load_folder(root, STREAM)
    monkeypatch.setattr(files, "_MAX_TRIES", 10)
    shutil.rmtree(root)
    with pytest.raises(DataError, match=r"10 pictures in a row cannot be read, from .*/a/07\.png"):
        list(batches(dataset.train, torch.arange(7, 40), 8))
    for workers in (0, 2):
        test = with_workers(dataset.test, workers)
        with pytest.raises(DataError, match="none of the 40 pictures can be read"):
            list(batches(test, torch.arange(40), 8, damaged="drop"))
    assert loader_threads() == 0


def test_no_thread_outlives_its_loader(write_pictures: Write) -> None:
    train = with_workers(load_folder(write_pictures(*NAMES), STREAM).train, 3)
    threads = torch.get_num_threads()
    for _ in batches(train, torch.arange(40), 4):
        assert loader_threads() > 0
        break
    assert loader_threads() == 0
    assert torch.get_num_threads() == threads


class SlowPictures:
    """Pictures of one value, which take 20 ms a batch to get."""

    def __len__(self) -> int:
        return 12

    def batch(self, indices: Tensor) -> Tensor:
        time.sleep(0.02)
        return torch.zeros(len(indices), 1, 1, 1, dtype=torch.uint8)

    def select(self, indices: Tensor) -> "SlowPictures":
        return self


def test_the_wait_is_what_the_consumer_waits() -> None:
    split = Split(pictures=SlowPictures(), targets={}, names=[""] * 12)

    def total_wait(work_s: float) -> tuple[float, float]:
        began, wait = time.perf_counter(), 0.0
        for batch in batches(split, torch.arange(12), 1):
            wait += batch.wait_s
            time.sleep(work_s)
        return wait, time.perf_counter() - began

    wait, seconds = total_wait(0)
    assert 12 * 0.02 * 0.9 < wait <= seconds
    busy_wait, _ = total_wait(0.06)  # three times what a batch takes: it only waits for the first
    assert 0.015 < busy_wait < wait / 2


MEMORY_SCRIPT = """
import sys
from pathlib import Path
import torch
from convolens.data.folder import Reading, load_folder
from convolens.data.loader import batches

def peak_bytes():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

train = load_folder(Path(sys.argv[1]), Reading(image_size=224, memory_limit_bytes=1 << 22)).train
early = 0
for number, batch in enumerate(batches(train, torch.arange(len(train)), 16)):
    if number == 4:
        early = peak_bytes()
print(len(train) * 3 * 224 * 224, peak_bytes() - early)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory needs Linux")
def test_memory_does_not_grow_with_the_number_of_pictures(
    write_pictures: Write, tmp_path: Path
) -> None:
    root = write_pictures("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png")
    for place in (root / "train" / "a", root / "train" / "b"):
        for i in range(1, 400):
            (place / f"{i}.png").hardlink_to(place / "0.png")
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    decoded_bytes, growth = map(int, done.stdout.split())
    assert decoded_bytes > 120_000_000
    assert growth < decoded_bytes / 6
