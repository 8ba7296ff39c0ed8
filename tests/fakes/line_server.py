"""A server that says what the test tells it to: for clients, whose peer must misbehave on command.

Speaks lines over TCP or a Unix socket, from threads of its own, so that blocking and asyncio clients meet the same
peer. A test gives a function from a request (decoded) to what the server does about it.
"""

import json
import queue
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.fakes.listening import Listening
from tests.fakes.ports import free_port

Request = dict[str, Any]

SILENCE: Final = b""
"""Say nothing."""

HANG_UP: Final = None
"""Close the connection."""

RESET: Final = b"reset"
"""End the connection without a word, as a crashed machine that is up again does."""

OK: Final = b'{"ok":true}\n'


def line(**members: object) -> bytes:
    """One answer."""
    return json.dumps(members, separators=(",", ":")).encode() + b"\n"


def always_ok(request: Request) -> bytes:
    """The plainest server."""
    return OK


class LineServer(Listening):
    """Answers each line with what ``answer`` makes of it, in order.

    Args:
        answer: bytes to send (none, one or several lines, whole or in part), or None to hang up.
        path: of a Unix socket; None: TCP on a free port.
        port: TCP port, to come back at the same place; 0: any free one.

    Attributes:
        requests: everything that came, over all connections.
    """

    def __init__(
        self, answer: Callable[[Request], bytes | None] = always_ok, path: Path | None = None, port: int = 0
    ) -> None:
        self._answer = answer
        self._path = path
        self._came: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.requests: list[Request] = []
        super().__init__(self._listen(port))

    def _listen(self, port: int) -> socket.socket:
        if self._path is None:
            return socket.create_server(("127.0.0.1", port or free_port()))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen()
        return listener

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it listens, as a client takes it."""
        return f"flashq://127.0.0.1:{self.port}" if self._path is None else f"flashq+unix://{self._path}"

    def commands(self) -> list[str]:
        """The names of the commands that came."""
        return [request["cmd"] for request in self.requests]

    def next_request(self, timeout_s: float = 10) -> Request:
        """Wait for the next request that no such call has given yet."""
        return self._came.get(timeout=timeout_s)

    def send(self, data: bytes) -> None:
        """Say something to every connection, unasked; waits until there is one."""
        with self._guard:
            assert self._guard.wait_for(lambda: self._open, 10), "nobody has connected"
            for connection in self._open:
                connection.sendall(data)

    def close(self) -> None:
        """Stop, and wait until every thread has ended."""
        super().close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for came in lines:
                if not came.endswith(b"\n"):
                    break  # the client left in the middle of a line
                request = json.loads(came)
                self.requests.append(request)
                self._came.put(request)
                answer = self._answer(request)
                if answer is RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                if answer is None:
                    connection.shutdown(socket.SHUT_RDWR)
                    break
                connection.sendall(answer)
