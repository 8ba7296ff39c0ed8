"""Every door onto every kind of storage: whichever way a command comes in, the answer is the same.

The servers are real processes. Each has a TCP door, a Unix door and an HTTP door.
"""

import contextlib
import select
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.fakes.http_client import ANSWER_SECONDS, HttpClient
from tests.fakes.postgres import Databases
from tests.fakes.server_process import MEMORY, Answer, LineClient, ServerProcess

LINES: Final = ("tcp-memory", "tcp-sqlite", "unix-memory", "unix-sqlite")
HTTP: Final = ("http-memory", "http-sqlite", "http-postgres")
DOORS: Final = (*LINES, "tcp-postgres", *HTTP)
TWICE: Final = ("unix-sqlite", "http-memory", "tcp-postgres", "http-postgres")
"""Ways in of which each half is tried by another one as well, or nearly: left to the longer run."""

_numbers: Final = count(1)


class HttpLines(LineClient):
    """Commands over HTTP as if there were a connection: each line is a request of its own, answers come in the order
    of the lines, but for those with a ``reqId``.

    A request that waits keeps its connection, and the next line takes another one. What a connection remembers over
    lines (who its worker is) a header says here.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[HttpClient] = []
        self._asked: dict[HttpClient, bool] = {}  # whether it must keep its place
        self._headers: dict[str, str] = {}

    def send_raw(self, data: bytes) -> None:
        """Send these lines."""
        for text in data.removesuffix(b"\n").split(b"\n"):
            client = self._idle.pop() if self._idle else HttpClient(self._port)
            client.send("POST", "/commands", text, **self._headers)
            self._asked[client] = b'"reqId"' not in text

    def ask(self, cmd: str, **members: object) -> Answer:
        """As over lines; a worker's name is kept."""
        answer = super().ask(cmd, **members)
        if answer["ok"] and cmd == "HELLO":
            self._headers["FlashQ-Worker"] = str(members["worker"])
        if answer["ok"] and cmd == "BYE":
            self._headers.clear()
        return answer

    def receive_raw(self) -> bytes:
        """The oldest answer that was not read yet; among those with a ``reqId`` the one that comes first."""
        placed = [client for client, keeps_place in self._asked.items() if keeps_place]
        may = [client for client in self._asked if client not in placed[1:]]
        came = select.select([client.socket for client in may], [], [], ANSWER_SECONDS)[0]
        client = next(client for client in may if client.socket in came)
        del self._asked[client]
        body = client.receive().body.removesuffix(b"\n")
        self._idle.append(client)
        assert b"\n" not in body
        return body

    def silent(self, seconds: float = 0.05) -> bool:
        """Whether no answer has come, nor comes within ``seconds``."""
        return not select.select([client.socket for client in self._asked], [], [], seconds)[0]

    def close(self) -> None:
        """Close all of them."""
        for client in (*self._idle, *self._asked):
            client.close()


class Door:
    """One way in. Each test gets a queue of its own, so that tests may share a server.

    Attributes:
        server: behind the door.
        queue: a name that nobody else uses.
    """

    def __init__(self, server: ServerProcess, kind: str) -> None:
        """Args: ``kind``: tcp, unix or http."""
        self.server = server
        self.queue = self.name("queue")
        self._kind = kind
        self._clients: list[LineClient] = []

    def __enter__(self) -> LineClient:
        return self.client()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def name(self, kind: str) -> str:
        """A fresh name for a queue, a cron, a worker, a key."""
        return f"{kind}-{next(_numbers)}"

    def client(self) -> LineClient:
        """A new connection; `close` closes it."""
        client: LineClient
        if self._kind == "http":
            client = HttpLines(self.server.http_port)
        else:
            client = self.server.client() if self._kind == "tcp" else self.server.unix_client()
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()


class Servers:
    """One server for each kind of storage, by the name of the kind; started when the first test comes to it."""

    def __init__(self, folder: Path, databases: Callable[[], Databases], held: contextlib.ExitStack) -> None:
        self._folder = folder
        self._databases = databases
        self._held = held
        self._running: dict[str, ServerProcess] = {}

    def __getitem__(self, kind: str) -> ServerProcess:
        if kind not in self._running:
            url = {"memory": MEMORY, "sqlite": None}.get(kind)
            if kind == "postgres":
                url = self._held.enter_context(self._databases().fresh())
            server = ServerProcess(self._folder / kind, url=url, unix=True)
            self._running[kind] = self._held.enter_context(server)
        return self._running[kind]
