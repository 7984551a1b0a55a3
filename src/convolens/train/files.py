"""Files that are either whole or as they were: written aside, flushed, then renamed."""

import contextlib
import errno
import json
import os
import secrets
from pathlib import Path
from typing import Any

from convolens.errors import RunError

_TOKEN_BYTES = 8
_NO_ROOM = "Free some space there, or write somewhere else."
_NOT_ALLOWED = "Write to a folder that is yours."
# Why the system refused, in words a person knows, and what to do about it.
_REASONS: dict[int, tuple[str, str | None]] = {
    errno.ENOSPC: ("no space is left on the disk", _NO_ROOM),
    errno.EDQUOT: ("your disk quota is used up", _NO_ROOM),
    errno.EFBIG: ("the file would be larger than is allowed here", _NO_ROOM),
    errno.EACCES: ("permission denied", _NOT_ALLOWED),
    errno.EPERM: ("permission denied", _NOT_ALLOWED),
    errno.EROFS: ("the disk is read-only", _NOT_ALLOWED),
    errno.ENOENT: ("the folder does not exist", None),
    errno.ENOTDIR: ("what should be its folder is a file", None),
    errno.EEXIST: ("a file of that name is in the way", None),
    errno.EISDIR: ("a folder of that name is in the way", None),
    errno.ENAMETOOLONG: ("the name is too long", None),
}


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that after a crash it is the old one or the new one, never a part.

    Args:
        path: where; its folder must exist.
        data: what.
    Raises:
        RunError: when it cannot be written; the old file is then as it was.
    """
    # Short and beside the target: a rename is atomic only within one file system.
    aside = path.parent / f".{secrets.token_hex(_TOKEN_BYTES)}.tmp"
    try:
        try:
            _write_new(aside, data)
            aside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _refusal(path, error) from error
    _flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, like `write_bytes`.

    Raises:
        RunError: when it cannot be written.
    """
    # A file name that is not UTF-8 reaches Python as lone surrogates; written as \udcxx they
    # are valid in JSON and come back as they were.
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, tree: Any) -> None:
    """Writes a tree of dictionaries, lists and plain values as JSON, like `write_bytes`.

    Raises:
        RunError: when it cannot be written, or holds what JSON cannot (inf, nan, an object).
    """
    try:
        text = json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be written as JSON: {error}") from error
    write_text(path, text + "\n")


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they do not exist yet.

    Raises:
        RunError: when it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error


def remove_leftovers(folder: Path) -> None:
    """Removes the files that a killed process was writing, in a folder and those below it."""
    for aside in folder.rglob(f".{'[0-9a-f]' * 2 * _TOKEN_BYTES}.tmp"):
        with contextlib.suppress(OSError):
            aside.unlink()


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        RunError: when it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {_reason(error)[0]}") from error


def read_json(path: Path) -> Any:
    """The tree that a JSON file holds.

    Raises:
        RunError: when the file is missing, cannot be read, or is not JSON; the message says
            where in the file.
    """
    data = read_bytes(path)
    try:
        return json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RunError(f"{path} is damaged: {where}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is damaged: byte {error.start} is not UTF-8 text") from error
    except (RecursionError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}") from error


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Makes a rename survive a power cut, where the system can flush a folder at all."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: OSError) -> tuple[str, str | None]:
    return _REASONS.get(error.errno or 0, (error.strerror or str(error), None))


def _refusal(path: Path, error: OSError) -> RunError:
    reason, hint = _reason(error)
    return RunError(f"{path} cannot be written: {reason}", hint=hint)
