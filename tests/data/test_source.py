from pathlib import Path

import pytest

from convolens.data.source import Region, Source, open_source, source_bytes
from convolens.errors import DataError


def test_a_region_is_read_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(b"0123456789")
    region = Region(str(path), 3, 4)
    sources: list[Source] = [region, b"3456"]
    for source in sources:
        assert source_bytes(source) == 4
        with open_source(source, "x") as file:
            assert file.read() == b"3456"
    for whole in (path, str(path)):
        assert source_bytes(whole) == 10
        with open_source(whole, "x") as file:
            assert file.read() == b"0123456789"
    assert source_bytes(tmp_path / "none") == 0


def test_what_cannot_be_read_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(b"0123456789")
    for source, message in (
        (Region(str(path), 8, 4), r"^a\.jpg is damaged: .*shard\.tar ends within it"),
        (Region(str(path), 8, 0), r"^a\.jpg is empty \(0 bytes\)"),
        (Region(str(tmp_path / "none.tar"), 0, 4), r"none\.tar cannot be read: No such file"),
        (b"", r"^a\.jpg is empty \(0 bytes\)"),
        (str(tmp_path / "none.jpg"), r"^picture not found: a\.jpg"),
        (tmp_path, r"^expected a picture, received a folder: a\.jpg"),
    ):
        with pytest.raises(DataError, match=message):
            open_source(source, "a.jpg")
