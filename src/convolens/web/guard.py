"""Who may speak to the app: its own pages, and nobody who comes from another site."""

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_BYTES = 32 * 2**20  # of one request: a picture, with the words around it
# No other site may show the app in a frame and have it clicked.
HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class TooLargeError(Exception):
    """A request's body is larger than any that the app asks for."""


class Guard:
    """ASGI middleware: refuses foreign Host and Origin headers, websockets too, and long bodies.

    A page of another site can make a browser send requests here, and by rebinding its own name to
    127.0.0.1 can read the answers; but it cannot make the browser say another Host or Origin.

    Args:
        app: what is guarded.
        host: the address that is listened on. For one that is not of this machine alone, other
            machines may say its name, or any address in numbers, which no site can rebind.
        most_bytes: the longest body that is read.
    """

    def __init__(self, app: App, *, host: str = "127.0.0.1", most_bytes: int = MOST_BYTES) -> None:
        self.app = app
        self.names = OWN_NAMES | {host.lower()}
        self.is_open = not is_local(host)
        self.most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        why = self._refusal(scope["headers"])
        if why and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why})
        elif why:
            await _answer(send, 403, why)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    def _refusal(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Why a request is refused; nothing where it is not."""
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return "the Host header names another site"
        if any(not _same_place(origin, hosts[0]) for origin in origins):
            return "the Origin header names another site"
        return ""

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        return name in self.names or (self.is_open and _is_address(name))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An HTTP request, as long as its body is short enough, with headers for its answer."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(not n.isdigit() or int(n) > self.most_bytes for n in lengths):
            await _answer(send, 413, f"more than {self.most_bytes:,} bytes are not read")
            return
        received, has_begun = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most_bytes:
                raise TooLargeError
            return message

        async def marked(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            await self.app(scope, counted, marked)
        except TooLargeError:
            if not has_begun:
                await _answer(send, 413, f"more than {self.most_bytes:,} bytes are not read")


def is_local(host: str) -> bool:
    """Whether an address is of this machine alone."""
    name = host.lower().strip("[]")
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets; empty where it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same_place(origin: str, host: str) -> bool:
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place.lower() == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
