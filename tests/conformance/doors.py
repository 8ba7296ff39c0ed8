"""Every door onto every kind of storage: whichever way a command comes in, the answer is the same.

The servers are real processes. Both have a TCP door and a Unix door, so two servers make four ways in.
"""

import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.fakes.server_process import MEMORY, LineClient, ServerProcess

DOORS: Final = ("tcp-memory", "tcp-sqlite", "unix-memory", "unix-sqlite")

_numbers: Final = count(1)


class Door:
    """One way in. Each test gets a queue of its own, so that tests may share a server.

    Attributes:
        server: behind the door.
        queue: a name that nobody else uses.
    """

    def __init__(self, server: ServerProcess, kind: str) -> None:
        """Args: ``kind``: tcp or unix."""
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
        client = self.server.client() if self._kind == "tcp" else self.server.unix_client()
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, ServerProcess]]:
    """One server for each kind of storage, by the name of the kind."""
    with (
        ServerProcess(folder / "memory", url=MEMORY, unix=True) as memory,
        ServerProcess(folder / "sqlite", unix=True) as sqlite,
    ):
        yield {"memory": memory, "sqlite": sqlite}
