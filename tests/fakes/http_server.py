"""An HTTP server that says what the test tells it to, byte for byte: for clients, whose peer must misbehave."""

import json
import queue
import socket
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tests.fakes.line_server import Request, line
from tests.fakes.listening import Listening
from tests.fakes.ports import free_port

DONE: Final = line(ok=True, id=1)
"""An answer that any call can read."""

HANG_UP: Final = None
"""Close the connection without a word."""

SILENCE: Final = b""
"""Say nothing yet."""

_LEFT: Final = "the client left in the middle of a request"

LAST: Final = b"last"
"""An answer that ends so is the last on its connection, which is closed behind it."""


class Asked(NamedTuple):
    """One request.

    Attributes:
        method, target: its first line.
        headers: by their names in lower case.
        lines: the commands in its body, decoded.
    """

    method: str
    target: str
    headers: dict[str, str]
    lines: list[Request]


def response(body: bytes, status: str = "200 OK", *more: str) -> bytes:
    """A whole answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(head).encode() + body


def chunked(*parts: bytes) -> bytes:
    """A whole answer as proxies write it: in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def refusal(status: str, code: str, error: str = "no", *more: str) -> bytes:
    """An answer that refuses."""
    return response(json.dumps({"ok": False, "error": error, "code": code}).encode(), status, *more)


def answered(answer: Callable[[Request], bytes]) -> Callable[[Asked], bytes]:
    """Answer each command by itself."""
    return lambda asked: response(b"".join(map(answer, asked.lines)))


all_ok = answered(lambda request: DONE)
"""The plainest server."""


class HttpServer(Listening):
    """Answers each request with the bytes that ``answer`` makes of it.

    Args:
        answer: bytes to send, or None to hang up.
        port: to come back at the same place; 0: any free one.

    Attributes:
        asked: everything that came, over all connections.
    """

    def __init__(self, answer: Callable[[Asked], bytes | None] = all_ok, port: int = 0) -> None:
        self._answer = answer
        self._came: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self.asked: list[Asked] = []
        self.port = port or free_port()
        super().__init__(socket.create_server(("127.0.0.1", self.port)))

    @property
    def url(self) -> str:
        """Where it listens, as a client takes it."""
        return f"http://127.0.0.1:{self.port}"

    def commands(self) -> list[str]:
        """The names of the commands that came."""
        return [line["cmd"] for asked in self.asked for line in asked.lines]

    def next_asked(self, timeout_s: float = 10) -> Asked:
        """Wait for the next request that no such call has given yet."""
        return self._came.get(timeout=timeout_s)

    def send(self, data: bytes, of: int = -1) -> None:
        """Say something on a connection that is open: the newest, or that of the given number."""
        with self._guard:
            self._open[of].sendall(data)

    def wait_until_left(self) -> None:
        """Return when no client is connected any more."""
        with self._guard:
            assert self._guard.wait_for(lambda: not self._open, 10), "somebody stays"

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while first := stream.readline():
                asked = _read(_whole(first), stream)
                self.asked.append(asked)
                self._came.put(asked)
                answer = self._answer(asked)
                if answer is HANG_UP:
                    break
                connection.sendall(answer.removesuffix(LAST))
                if answer.endswith(LAST):
                    break
            connection.shutdown(socket.SHUT_RDWR)


def _read(first: str, stream: Any) -> Asked:
    method, target, _ = first.split()
    headers = {}
    while (line := _whole(stream.readline())) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    size = int(headers.get("content-length", 0))
    body = stream.read(size)
    if len(body) < size:
        raise ConnectionResetError(_LEFT)
    return Asked(method, target, headers, [json.loads(each) for each in body.splitlines()])


def _whole(line: bytes) -> str:
    """A line of the head without its end.

    Raises:
        ConnectionResetError: it has none.
    """
    if not line.endswith(b"\n"):
        raise ConnectionResetError(_LEFT)
    return line.decode().strip()
