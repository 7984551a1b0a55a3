import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import RunError
from convolens.train import files
from convolens.train.files import make_folder, read_json, write_bytes, write_json, write_text

try:
    import resource
except ImportError:  # not on Windows
    resource = None

json_trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(code: int):
    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old" * 1000)
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_new_file_has_the_permissions_that_the_user_gives_new_files(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "theirs").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        (errno.ENOSPC, "no space is left on the disk", "Free some space there"),
        (errno.EACCES, "permission denied", "Write to a folder that is yours"),
        (errno.EROFS, "the disk is read-only", "Write to a folder that is yours"),
    ],
)
@pytest.mark.parametrize("where", ["open", "fsync", "replace"])
def test_a_failure_anywhere_leaves_the_old_file_and_says_why(
    tmp_path, monkeypatch, where, code, reason, hint
):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os if where == "fsync" else Path, where, failing(code))
        with pytest.raises(RunError) as error:
            write_bytes(path, b"new")
    assert error.value.message == f"{path} cannot be written: {reason}"
    assert error.value.hint.startswith(hint)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [path.name]


def test_an_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupt(_handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


@pytest.mark.skipif(resource is None, reason="the system has no limit on the size of files")
def test_a_real_refusal_halfway_through_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(RunError, match="a cannot be written: the file would be larger than"):
            write_bytes(path, bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_named(tmp_path, monkeypatch):
    # /dev/full refuses every write as a full disk does.
    monkeypatch.setattr(
        files, "_write_new", lambda _path, data: Path("/dev/full").write_bytes(data)
    )
    with pytest.raises(RunError, match="a cannot be written: no space is left on the disk\nFree"):
        write_bytes(tmp_path / "a", b"1")


def test_a_missing_folder_and_a_folder_in_the_way_are_named(tmp_path):
    with pytest.raises(RunError, match="cannot be written: the folder does not exist"):
        write_bytes(tmp_path / "none" / "a", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="cannot be written: what should be its folder is a file"):
        write_bytes(tmp_path / "file" / "a", b"")
    with pytest.raises(RunError, match="cannot be written: a file of that name is in the way"):
        make_folder(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="cannot be written: a folder of that name is in the way"):
        write_bytes(tmp_path / "folder", b"")
    assert names_in(tmp_path) == ["file", "folder"]


def test_a_folder_is_made_with_those_above_it(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@settings(max_examples=60, deadline=None)
@given(tree=json_trees)
def test_json_comes_back_as_it_was(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree.json"
    write_json(path, tree)
    assert read_json(path) == tree


def test_json_is_readable_and_keeps_file_names_that_are_no_text(tmp_path):
    tree = {"classes": ["猫", "chien"], "file": os.fsdecode(b"caf\xe9.png")}
    write_json(tmp_path / "a.json", tree)
    assert "猫" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == tree


def test_text_is_written_as_it_is(tmp_path):
    write_text(tmp_path / "a.csv", "epoch,loss\n1,0.5\n")
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss\n1,0.5\n"


@pytest.mark.parametrize("tree", [{"a": float("nan")}, {"a": object()}])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path, tree):
    with pytest.raises(RunError, match=r"a\.json cannot be written as JSON: "):
        write_json(tmp_path / "a.json", tree)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{\n  "a": 1,\n}', "is damaged: line "),
        (b"", "is damaged: line 1, column 1: Expecting value"),
        (b'{"a": "\xff"}', "is damaged: byte 7 is not UTF-8 text"),
        (b"[" * 200_000, "is damaged: "),
        (b"1" * 10_000, "is damaged: "),
    ],
)
def test_damaged_json_is_named_with_its_place(tmp_path, data, message):
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(RunError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path} {message}")


def test_every_truncation_of_json_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    data = json.dumps({"a": [1, 2.5, "x"], "b": None}).encode()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(RunError, match="is damaged"):
            read_json(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"config\.json is missing"):
        read_json(tmp_path / "config.json")
    with pytest.raises(RunError, match="cannot be read: "):
        read_json(tmp_path)
