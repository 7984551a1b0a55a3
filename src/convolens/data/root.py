"""The data root: where dataset files are looked for, and where downloads go."""

import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from convolens.data.tree import is_archive
from convolens.errors import UnavailableError


def cache_folder() -> Path:
    """The folder of the user's in which convolens keeps what it can make again."""
    return Path.home() / ".cache" / "convolens"


def find_in_root(root: Path, name: str, folders: Sequence[str]) -> Path | None:
    """An archive whose name begins with NAME, in ROOT/NAME or in ROOT, else one of the folders.

    Args:
        name: of the dataset, in small letters.
        folders: in ROOT/NAME or in ROOT.
    """
    for place in (root / name, root):
        files = sorted(place.iterdir()) if place.is_dir() else []
        for file in files:
            if file.name.lower().startswith(name) and file.is_file() and is_archive(file):
                return file
    places = [place / folder for place in (root / name, root) for folder in folders]
    return next((place for place in [*places, root / name] if place.is_dir()), None)


def not_in_root(root: Path, name: str, *, archive: str, source: str) -> UnavailableError:
    """The error for a dataset that is not in the root and has no address that is sure to last."""
    return UnavailableError(
        f"'{name}' was not found in the data root {root}",
        hint=f"Put {archive} into {root / name}; {source}.",
    )


def download(
    urls: Sequence[str], folder: Path, *, file_name: str, md5: str, dataset: str, hint: str
) -> Path:
    """Downloads one file through torchvision, which checks its MD5 sum.

    The file appears under its name only when it is complete.

    Args:
        urls: mirrors, tried in this order.
        hint: which files to put where, for a person who has no network.
    Raises: UnavailableError: when no mirror gave the file, or the folder cannot be written.
    """
    from torchvision.datasets import utils  # takes seconds to import, and is rarely needed

    target = folder / file_name
    reason = "no address is known"
    try:
        # Beside the folder, so that a download that fails leaves no empty folder behind.
        there = next(parent for parent in folder.absolute().parents if parent.is_dir())
        with tempfile.TemporaryDirectory(prefix=".download-", dir=there) as unfinished:
            for url in urls:
                try:
                    utils.download_url(url, unfinished, filename=file_name, md5=md5)
                except (OSError, RuntimeError, HTTPException) as error:
                    reason = _reason(error)
                    continue
                folder.mkdir(parents=True, exist_ok=True)
                (Path(unfinished) / file_name).replace(target)
                return target
    except OSError as error:
        reason = f"cannot write in {folder} ({error.strerror or error})"
    raise UnavailableError(
        f"'{dataset}' was not found in the data root and could not be downloaded: {reason}",
        hint=hint,
    )


def _reason(error: BaseException) -> str:
    """What an error says, in one line; a URLError wraps the true reason."""
    text = str(getattr(error, "reason", None) or error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
