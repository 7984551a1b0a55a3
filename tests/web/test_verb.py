import importlib.util
import socket
from pathlib import Path

import pytest

from convolens.cli import main
from convolens.errors import UnavailableError

# It needs NiceGUI, which is an extra of the user's.
server = pytest.importorskip("convolens.web.server", reason="pip install 'convolens[web]'")


def call(*words: object, capsys: pytest.CaptureFixture) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code, capsys.readouterr().err


def test_without_nicegui_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, error = call("app", capsys=capsys)
    assert status == 1
    assert error == (
        "convolens: the app needs NiceGUI, and it is not installed\n"
        "Install it with: pip install 'convolens[web]'\n"
    )


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    status, error = call("app", tmp_path / "none", capsys=capsys)
    assert (status, error) == (2, f"convolens: there is no folder {tmp_path}/none\n")


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, error = call("app", tmp_path, "--port", port, capsys=capsys)
    assert status == 1
    assert error.startswith(f"convolens: the app cannot listen on 127.0.0.1, port {port}: ")
    assert error.endswith("Choose another --port.\n")


def test_the_next_free_port_is_taken_where_none_is_asked_for() -> None:
    first = server.free_port("127.0.0.1", None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert server.free_port("127.0.0.1", None) > first


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UnavailableError, match=r"cannot listen on 192\.0\.2\.1, port 8080"):
        server.free_port("192.0.2.1", 8080)
