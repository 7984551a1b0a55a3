"""Datasets that took long to decode, kept as uncompressed files that can be made again."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from convolens.data.base import Dataset, MemoryPictures, Problem, Split
from convolens.data.picture import PictureFormat

_VERSION = 4  # of the decoding as much as of the file: raise it when either changes


def cached(
    sources: Sequence[Path], shown: str, folder: Path, make: Callable[[], Dataset]
) -> Dataset:
    """Returns what `make` returns, from the cache where the sources have not changed since.

    One file is kept for the same sources shown in the same way; it is replaced as a whole. A
    damaged file, a full disk and a folder that cannot be written only cost the time to decode.

    Args:
        sources: the files that the dataset is made from; size and time tell of a change.
        shown: how they are shown (size, channels), in words.
        folder: the cache folder.
    """
    places = "\n".join([*(str(source.resolve()) for source in sources), shown])
    path = folder / f"{hashlib.sha256(places.encode()).hexdigest()[:24]}.safetensors"
    state = [[status.st_size, status.st_mtime_ns] for status in map(Path.stat, sources)]
    key = json.dumps([_VERSION, places, state])
    dataset = _load(path, key)
    if dataset is None:
        dataset = make()
        _store(path, key, dataset)
    return dataset


def _load(path: Path, key: str) -> Dataset | None:
    try:
        tensors = load_file(path)
        page = json.loads(tensors["page"].numpy().tobytes())
        if page["key"] != key:
            return None
        splits = {
            part: Split(
                pictures=MemoryPictures(tensors[f"{part}.pixels"]),
                targets={
                    kind: _loaded(tensors, f"{part}.{kind}") for kind in page["targets"][part]
                },
                names=names,
            )
            for part, names in page["names"].items()
        }
        shown_as = PictureFormat(**{**page["format"], "size": tuple(page["format"]["size"])})
        return Dataset(
            name=page["name"],
            class_names=tuple(page["class_names"]),
            format=shown_as,
            train=splits["train"],
            val=splits.get("val"),
            test=splits["test"],
            problems=tuple(Problem(**problem) for problem in page["problems"]),
            notes=tuple(page["notes"]),
            tasks=tuple(page["tasks"]),
            mask_names=tuple(page["mask_names"]),
            mask_colours=tuple(map(tuple, page["mask_colours"])),
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def _loaded(tensors: dict[str, Tensor], name: str) -> Tensor | list[Tensor]:
    counts = tensors.get(f"{name}.counts")
    return tensors[name] if counts is None else list(torch.split(tensors[name], counts.tolist()))


def _stored(name: str, values: Tensor | list[Tensor]) -> dict[str, Tensor]:
    """A target by its name: one tensor, or tensors of different lengths and how long each is."""
    if isinstance(values, Tensor):
        return {name: values.contiguous()}
    counts = torch.tensor([len(value) for value in values], dtype=torch.int64)
    return {name: torch.cat(values).contiguous(), f"{name}.counts": counts}


def _store(path: Path, key: str, dataset: Dataset) -> None:
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    tensors: dict[str, Tensor] = {}
    names, targets = {}, {}
    for part, split in splits.items():
        if split is None:
            continue
        if not isinstance(split.pictures, MemoryPictures):
            return
        tensors[f"{part}.pixels"] = split.pictures.pixels.contiguous()
        for kind, values in split.targets.items():
            tensors |= _stored(f"{part}.{kind}", values)
        names[part], targets[part] = list(split.names), list(split.targets)
    page = {
        "key": key,
        "name": dataset.name,
        "class_names": dataset.class_names,
        "format": asdict(dataset.format),
        "names": names,
        "targets": targets,
        "problems": [asdict(problem) for problem in dataset.problems],
        "notes": dataset.notes,
        "tasks": dataset.tasks,
        "mask_names": dataset.mask_names,
        "mask_colours": dataset.mask_colours,
    }
    tensors["page"] = torch.from_numpy(np.frombuffer(json.dumps(page).encode(), np.uint8).copy())
    with suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        os.close(handle)
        try:
            save_file(tensors, unfinished)
            Path(unfinished).replace(path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
