from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convolens.data import files
from convolens.data.files import decode_all
from convolens.data.picture import PictureFormat

Write = Callable[..., Path]
FORMAT = PictureFormat(channels=3, size=(8, 8))


@pytest.mark.parametrize("threaded", [False, True])
def test_threads_change_nothing(
    write_pictures: Write, monkeypatch: pytest.MonkeyPatch, threaded: bool
) -> None:
    root = write_pictures(*(f"{i:02}.png" for i in range(37)))
    (root / "05.png").write_bytes(b"")
    (root / "36.png").write_bytes(b"text")
    monkeypatch.setattr(files, "_WORTH_THREADS_BYTES", 0 if threaded else 1 << 40)
    paths = sorted(root.iterdir())
    names = [path.name for path in paths]
    done: list[int] = []
    pixels, errors = decode_all(paths, names, FORMAT, done.append)
    assert done == [16, 32, 37]
    assert {place: str(error).split()[0] for place, error in errors.items()} == {
        5: "05.png",
        36: "36.png",
    }
    contents, _ = decode_all([path.read_bytes() for path in paths], names, FORMAT)
    assert torch.equal(pixels, contents)
    alone = torch.cat([decode_all([path], [path.name], FORMAT)[0] for path in paths])
    assert torch.equal(pixels, alone)
    assert not pixels[5].any()
    assert len({picture.numpy().tobytes() for picture in pixels}) == 36
