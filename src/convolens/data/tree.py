"""The picture files and the folders that lie in a folder or in an archive."""

import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from convolens.data.source import Region, Source
from convolens.errors import DataError

ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
# HEIC is here so that such pictures are named as unreadable rather than overlooked.
PICTURE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm"),
    *(".pnm", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".heic", ".heif"),
)
_ARCHIVE_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What lies in a folder or an archive; names are relative to it, with "/" between parts.

    Args:
        where: the folder or archive itself.
        files: name and source of everything that claims to be a picture, sorted by name. Sources
            are paths as text, which takes less memory, regions of an uncompressed tar, or bytes
            out of a compressed archive.
        folders: names of all folders, the empty ones too.
    """

    where: str
    files: tuple[tuple[str, Source], ...]
    folders: frozenset[str]

    def place(self, name: str) -> str:
        """What a person knows a file by."""
        return f"{self.where}/{name}"

    def folders_below(self, prefix: str) -> list[str]:
        """The folders whose names begin so; all of them for an empty prefix."""
        return [folder for folder in self.folders if folder.startswith(prefix)]


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVE_ENDINGS)


def walk_folder(root: Path, endings: tuple[str, ...] = PICTURE_ENDINGS) -> Tree:
    """Lists the pictures in a folder, however deep.

    Hidden files and folders are skipped. Links are followed, but not into a folder that holds
    them, so that a loop ends.

    Args:
        endings: of the names of the files that are listed, in small letters.
    Raises: DataError: when a folder cannot be read.
    """
    files: list[tuple[str, Source]] = []
    folders: set[str] = set()
    waiting = [(root, "", frozenset({_identity(root)}))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for entry in _entries(folder):
            name = prefix + entry.name
            if _hidden(entry.name):
                continue
            if _is_folder(entry):
                identity = _identity(folder / entry.name)
                if identity not in above:
                    folders.add(name)
                    waiting.append((folder / entry.name, name + "/", above | {identity}))
            elif entry.name.lower().endswith(endings):
                files.append((name, f"{root}/{name}"))
    files.sort(key=lambda file: file[0])
    return Tree(where=str(root), files=tuple(files), folders=frozenset(folders))


def read_archive(path: Path, limit_bytes: int, endings: tuple[str, ...] = PICTURE_ENDINGS) -> Tree:
    """Lists the pictures of a tar or zip file.

    Those of an uncompressed tar stay in it; the others are read into memory, undecoded. A single
    folder around everything is left out of the names. Nothing is written to disk.

    Args:
        endings: of the names of the files that are listed, in small letters.
    Raises: DataError: when the archive is damaged, or more than the limit must be read.
    """
    files: list[tuple[str, Source]] = []
    folders: set[str] = set()
    total = 0
    members = _zip_members(path) if path.name.lower().endswith(".zip") else _tar_members(path)
    try:
        for member in members:
            parts = PurePosixPath(member.name).parts
            if any(_hidden(part) for part in parts):
                continue
            folders.update("/".join(parts[:n]) for n in range(1, len(parts)))
            name = "/".join(parts)
            if member.content is None:
                folders.add(name)
            elif not member.name.lower().endswith(endings):
                continue
            elif isinstance(member.content, Region):
                files.append((name, member.content))
            else:
                total += member.num_bytes  # before it is read, so that a bomb is not unpacked
                if total > limit_bytes:
                    raise DataError(
                        f"{path} holds more than {limit_bytes:,} bytes of pictures",
                        hint="Unpack it and give the folder instead.",
                    )
                files.append((name, member.content()))
    except _ARCHIVE_ERRORS as error:
        raise DataError(f"{path} cannot be read as an archive: {error}") from error
    files.sort(key=lambda file: file[0])
    return _unwrapped(Tree(where=str(path), files=tuple(files), folders=frozenset(folders)))


def pictures_of(tree: Tree) -> Tree:
    """The same tree with its pictures only, as it would have been listed without other endings."""
    files = tuple(file for file in tree.files if file[0].lower().endswith(PICTURE_ENDINGS))
    found = Tree(where=tree.where, files=files, folders=tree.folders)
    return _unwrapped(found) if is_archive(Path(tree.where)) else found


@dataclass(frozen=True, kw_only=True)
class _Member:
    name: str
    num_bytes: int
    content: Callable[[], bytes] | Region | None  # None for a folder


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        # A compressed tar is read through a file object of the decompressor's.
        plain = isinstance(archive.fileobj, io.BufferedReader)
        for info in archive:
            if info.isdir():
                yield _Member(name=info.name, num_bytes=0, content=None)
            elif info.isreg() and plain and not info.issparse():
                region = Region(str(path), info.offset_data, info.size)
                yield _Member(name=info.name, num_bytes=info.size, content=region)
            elif info.isreg() and (file := archive.extractfile(info)) is not None:
                yield _Member(name=info.name, num_bytes=info.size, content=file.read)
            archive.members = []  # type: ignore[attr-defined]  # else it keeps every header


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            content = None if info.is_dir() else partial(archive.read, info)
            yield _Member(name=info.filename, num_bytes=info.file_size, content=content)


def _unwrapped(tree: Tree) -> Tree:
    """The same tree without the folders that hold nothing but one folder of folders."""
    tops = {folder.split("/", 1)[0] for folder in tree.folders}
    deep = any("/" in folder for folder in tree.folders)
    if len(tops) != 1 or not deep or any("/" not in name for name, _ in tree.files):
        return tree
    (top,) = tops
    if top.lower() == "train" or any(name.count("/") == 1 for name, _ in tree.files):
        return tree
    cut = len(top) + 1
    inner = Tree(
        where=tree.where,
        files=tuple((name[cut:], source) for name, source in tree.files),
        folders=frozenset(folder[cut:] for folder in tree.folders if folder != top),
    )
    return _unwrapped(inner)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}") from error
    return status.st_dev, status.st_ino


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
