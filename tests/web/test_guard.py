import asyncio
from collections.abc import Iterable

import pytest

from convolens.web.guard import Guard, is_local


def answer(
    guard: Guard, headers: dict[str, str], kind: str = "http", body: Iterable[bytes] = ()
) -> list[dict]:
    """What a request gets, as the ASGI messages that are sent."""
    sent: list[dict] = []
    parts = [*body, b""]

    async def receive() -> dict:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: dict) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(guard({"type": kind, "headers": pairs}, receive, send))
    return sent


async def page(scope: dict, receive, send) -> None:
    """An app that reads all that it is sent, and says yes."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


def status(guard: Guard, headers: dict[str, str], body: Iterable[bytes] = ()) -> int:
    return answer(guard, headers, body=body)[0]["status"]


def passes(headers: dict[str, str], host: str = "127.0.0.1") -> bool:
    """Whether a request passes, which is the same for pages and for websockets."""
    guard = Guard(page, host=host)
    http = status(guard, headers) == 200
    assert http == (answer(guard, headers, "websocket")[0]["type"] == "websocket.accept")
    return http


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:9", "localhost", "[::1]:8080"])
def test_its_own_names_pass(host: str) -> None:
    assert passes({"host": host})
    assert passes({"host": host, "origin": f"http://{host}"})


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example:8080", "evil.example:127", "", "192.168.0.7", "[::"],
)
def test_a_foreign_host_is_refused(host: str) -> None:
    assert not passes({"host": host})
    assert not passes({"host": host, "origin": f"http://{host}"})


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "http://localhost:8080", "http://127.0.0.1:8081", ""),
        *("file://127.0.0.1:8080", "http://127.0.0.1:8080.evil.example"),
    ],
)
def test_a_foreign_origin_is_refused(origin: str) -> None:
    assert not passes({"host": "127.0.0.1:8080", "origin": origin})


def test_a_request_without_host_is_refused() -> None:
    assert not passes({})


def test_an_open_address_takes_addresses_and_its_own_name_but_no_other_name() -> None:
    assert passes({"host": "192.168.0.7:8080", "origin": "http://192.168.0.7:8080"}, "0.0.0.0")
    assert passes({"host": "lab.example:8080"}, "lab.example")
    assert not passes({"host": "evil.example"}, "0.0.0.0")
    assert not passes({"host": "192.168.0.7", "origin": "http://evil.example"}, "0.0.0.0")


def test_a_refusal_says_what_is_foreign() -> None:
    sent = answer(Guard(page), {"host": "evil.example"})
    assert sent[0]["status"] == 403
    assert sent[1]["body"] == b"the Host header names another site"


def test_a_long_body_is_not_read() -> None:
    guard = Guard(page, most_bytes=10)
    own = {"host": "localhost"}
    assert status(guard, own, [b"12345", b"67890"]) == 200
    assert status(guard, own, [b"12345", b"678901"]) == 413
    assert status(guard, own | {"content-length": "11"}) == 413
    assert status(guard, own | {"content-length": "-1"}) == 413


def test_no_other_site_may_frame_it() -> None:
    sent = answer(Guard(page), {"host": "localhost"})
    assert (b"x-frame-options", b"DENY") in sent[0]["headers"]


def test_which_addresses_are_of_this_machine_alone() -> None:
    assert is_local("127.0.0.1")
    assert is_local("::1")
    assert is_local("localhost")
    assert not is_local("0.0.0.0")
    assert not is_local("lab.example")
