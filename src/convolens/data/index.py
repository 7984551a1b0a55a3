"""Where each picture of a set of shards begins; found once, and kept until a shard changes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convolens.data.base import Problem
from convolens.errors import DataError

_VERSION = 1  # raise it when what is found in a shard changes


class Sample(NamedTuple):
    """A picture with a label: its name in the shard, its first byte and its length there."""

    name: str
    offset: int
    size: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What one tar file holds."""

    path: Path
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


def cached_index(paths: Sequence[Path], folder: Path, make: Callable[[Path], Shard]) -> list[Shard]:
    """Returns what `make` returns for each path, from the cache where it has not changed since.

    A damaged cache and a folder that cannot be written only cost the time to read the shards.

    Args:
        folder: the cache folder; one file is kept for the same set of paths.
    Raises: DataError: when a shard cannot be opened.
    """
    places = [str(path.resolve()) for path in paths]
    name = hashlib.sha256("\n".join(places).encode()).hexdigest()[:24]
    file = folder / f"shards-{name}.json"
    kept = _load(file)
    shards, pages, changed = [], {}, False
    for path, place in zip(paths, places, strict=True):
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        state = [status.st_size, status.st_mtime_ns]
        page = kept.get(place)
        shard = _shard(path, page) if page is not None and page.get("state") == state else None
        if shard is None:
            shard, changed = make(path), True
        shards.append(shard)
        pages[place] = {
            "state": state,
            "samples": shard.samples,
            "problems": [[problem.where, problem.why] for problem in shard.problems],
        }
    if changed:
        _store(file, pages)
    return shards


def _load(file: Path) -> dict[str, Any]:
    try:
        page = json.loads(file.read_bytes())
        return dict(page["shards"]) if page["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _shard(path: Path, page: dict[str, Any]) -> Shard | None:
    try:
        return Shard(
            path=path,
            samples=tuple(Sample(*sample) for sample in page["samples"]),
            problems=tuple(Problem(where=where, why=why) for where, why in page["problems"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _store(file: Path, pages: dict[str, Any]) -> None:
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=".", suffix=".part", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump({"version": _VERSION, "shards": pages}, out, separators=(",", ":"))
            Path(unfinished).replace(file)
        finally:
            Path(unfinished).unlink(missing_ok=True)
