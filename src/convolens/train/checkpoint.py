"""Tensors and plain values in one safe file: safetensors with a checksum, never pickle."""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from convolens.errors import RunError, ShapeError
from convolens.train.files import read_bytes, write_bytes

OURS = "convolens."
META_KEY = OURS + "meta"
CHECKSUM_KEY = OURS + "crc32"
NAMED = 3


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes tensors and a tree of plain values as one safetensors file.

    Args:
        path: where; its folder must exist.
        tensors: of any layout and device; those that share memory are written out separately.
        meta: plain values that JSON can hold; see `pack` for others.
    Raises:
        RunError: when it cannot be written; the old file is then as it was.
    """
    plain = _plain(tensors)
    text = json.dumps(meta, allow_nan=False)
    metadata = {META_KEY: text, CHECKSUM_KEY: _checksum(plain, text)}
    write_bytes(path, save(plain, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_tensors` wrote, or any other safetensors file.

    Returns: the tensors, on the CPU, in the order of their names, and the meta; for a file that
        was written by another program, its metadata, a text for each key.
    Raises:
        RunError: when the file is missing, is no safetensors file, or was changed in any byte
            that matters.
    """
    return parse_tensors(read_bytes(path), path)


def parse_tensors(data: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Does what `load_tensors` does, with what was read from `path`."""
    try:
        tensors = load(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = "it is empty" if not data else f"it is not a whole safetensors file ({error})"
        raise RunError(f"{path} is damaged: {reason}") from error
    tensors = {name: tensors[name] for name in sorted(tensors)}
    # A damaged key must not make the file pass for another program's, which has no checksum.
    if not any(key.startswith(OURS) for key in metadata):
        return tensors, metadata
    text, checksum = metadata.get(META_KEY), metadata.get(CHECKSUM_KEY)
    if text is None or checksum != _checksum(tensors, text):
        raise RunError(f"{path} is damaged: its content does not match its checksum")
    return tensors, json.loads(text)


def load_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Puts the weights of a file into a model, all of them or none.

    Args:
        model: the network; it is left as it was where this raises.
        path: a safetensors file with a tensor for every name of `model.state_dict()`.
    Returns: the file's meta; see `load_tensors`.
    Raises:
        RunError: when the file is damaged, or names are missing or unexpected.
        ShapeError: when tensors have other shapes than the model's.
    """
    tensors, meta = load_tensors(path)
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    if missing or unexpected:
        parts = [
            f"{word} {_first(names)}"
            for word, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise RunError(f"{path} does not fit {type(model).__name__}: {'; '.join(parts)}")
    wrong = [
        f"{name}: expected {tuple(own[name].shape)}, received {tuple(tensors[name].shape)}"
        for name in own
        if own[name].shape != tensors[name].shape
    ]
    if wrong:
        raise ShapeError(f"{path} does not fit {type(model).__name__}: {_first(wrong, '; ')}")
    model.load_state_dict(tensors)
    return meta


def pack(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Splits nested containers into a tree that JSON can hold and the tensors it refers to.

    Args:
        tree: dictionaries (with keys of any of these kinds), lists, tuples, str, int, float
            (inf and nan too), bool, None and Tensor, nested; an optimizer's `state_dict()`.
    Returns: the tree, and the tensors by the names it has for them; they are not copied.
    Raises:
        TypeError: when there is something else in it.
    Example:
        >>> pack({"step": 3, "betas": (0.9, 0.95), 7: math.inf})[0]["$dict"][1]
        ['betas', {'$tuple': [0.9, 0.95]}]
    """
    tensors: dict[str, Tensor] = {}
    return _pack(tree, tensors), tensors


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The nested containers that `pack` split, equal to the last bit.

    Args:
        tree: the first result of `pack`, or the same out of a JSON file.
        tensors: the second; more of them do no harm.
    Raises:
        RunError: when the tree is not one of `pack`.
    """
    if isinstance(tree, list):
        return [unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1 or not next(iter(tree)).startswith("$"):
        return {key: unpack(value, tensors) for key, value in tree.items()}
    ((tag, value),) = tree.items()
    try:
        match tag:
            case "$tensor":
                return tensors[value]
            case "$tuple":
                return tuple(unpack(item, tensors) for item in value)
            case "$float":
                return float(value)
            case "$dict":
                return {unpack(k, tensors): unpack(v, tensors) for k, v in value}
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"the saved tree is damaged at {tag}: {error}") from error
    raise RunError(f"the saved tree is damaged: it has an unknown mark {tag!r}")


def _pack(node: Any, tensors: dict[str, Tensor]) -> Any:
    match node:
        case Tensor():
            name = f"tensor{len(tensors)}"
            tensors[name] = node
            return {"$tensor": name}
        case float() if not math.isfinite(node):
            return {"$float": repr(float(node))}
        case None | bool() | int() | float() | str():
            return node
        case list():
            return [_pack(item, tensors) for item in node]
        case tuple():
            return {"$tuple": [_pack(item, tensors) for item in node]}
        case dict() if all(isinstance(k, str) and not k.startswith("$") for k in node):
            return {key: _pack(value, tensors) for key, value in node.items()}
        case dict():
            return {"$dict": [[_pack(k, tensors), _pack(v, tensors)] for k, v in node.items()]}
    raise TypeError(f"a saved tree cannot hold a {type(node).__name__}: {node!r}")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, none of which shares memory with another."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        plain[name] = value.clone() if place in seen else value
        seen.add(place)
    return plain


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """CRC-32 of the meta, of each tensor's name, type and shape, and of their bytes."""
    described = [[name, str(t.dtype), list(t.shape)] for name, t in tensors.items()]
    crc = zlib.crc32(json.dumps([text, described]).encode())
    for tensor in tensors.values():
        if tensor.numel():
            crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file, whose header is its length and then JSON."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    return {str(key): str(value) for key, value in metadata.items()}


def _first(items: list[str], separator: str = ", ") -> str:
    more = len(items) - NAMED
    return separator.join(items[:NAMED]) + (f" and {more} more" if more > 0 else "")
