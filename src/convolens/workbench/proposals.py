"""Proposals for detectors that look at regions which something else has found."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from convolens.data.base import Dataset, Split
from convolens.data.root import cache_folder
from convolens.data.selective_search import proposals_of
from convolens.train.checkpoint import save_tensors
from convolens.train.events import Decoded, Noted, Notify, ignore

_CHUNK = 16
_VERSION = "1"  # raise it when selective search gives other boxes


def needs_proposals(network: nn.Module) -> bool:
    """Whether a network's outputs want proposals for their losses and detections."""
    return bool(getattr(network, "needs_proposals", False))


def with_proposals(dataset: Dataset, network: nn.Module, notify: Notify = ignore) -> Dataset:
    """The dataset with the proposals of selective search, where the network needs them.

    They are kept in a cache folder of the user's, so that each picture is searched once.

    Args:
        notify: is told how many pictures are searched.
    """
    if not needs_proposals(network):
        return dataset
    splits = [split for split in (dataset.train, dataset.val, dataset.test) if split is not None]
    total = sum(map(len, splits))
    notify(Noted(text=f"selective search in {total} pictures, once; then they are remembered"))
    done, found = 0, []
    for split in splits:
        first = done

        def tell(count: int, first: int = first) -> None:
            notify(Decoded(done=first + count, total=total))

        found.append(proposed(split, network, tell))
        done += len(split)
    train, *val, test = found
    return replace(dataset, train=train, val=val[0] if val else None, test=test)


def proposed(
    split: Split, network: nn.Module, tell: Callable[[int], None] = lambda _: None
) -> Split:
    """The split with proposals, where the network needs them.

    Args:
        tell: is told how many pictures are done.
    """
    if not needs_proposals(network) or "proposals" in split.targets:
        return split
    name = hashlib.sha256(_VERSION.encode())
    for places in torch.split(torch.arange(len(split)), _CHUNK):
        pixels = split.pictures.batch(places)
        name.update(str(tuple(pixels.shape)).encode() + pixels.numpy().tobytes())
    file = cache_folder() / "proposals" / f"{name.hexdigest()[:32]}.safetensors"
    boxes = _remembered(file, len(split))
    if boxes is None:
        boxes = []
        for places in torch.split(torch.arange(len(split)), _CHUNK):
            boxes += proposals_of(split.pictures.batch(places))
            tell(len(boxes))
        file.parent.mkdir(parents=True, exist_ok=True)
        counts = torch.tensor([len(each) for each in boxes])
        save_tensors(file, {"boxes": torch.cat(boxes), "counts": counts}, {})
    return replace(split, targets={**split.targets, "proposals": boxes})


def _remembered(file: Path, count: int) -> list[Tensor] | None:
    try:
        tensors = load_file(file)
        boxes = torch.split(tensors["boxes"], tensors["counts"].tolist())
    except (OSError, SafetensorError, KeyError, RuntimeError):
        return None
    return list(boxes) if len(boxes) == count else None
