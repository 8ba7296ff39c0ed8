"""The doors as the server opens and shuts them, and the one for lines.

A door is what listens, and who came in by it. The server knows of each only how to shut it in good order; the one for
HTTP (`flashq.server.httpdoor`) is loaded when it is opened, since it brings a large part of what a start has to load.
"""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext
from typing import Final, Protocol

from flashq.commands.session import Context
from flashq.server.handshakes import BACKLOG, TlsListener
from flashq.transports.base import Turns
from flashq.transports.tcp import AUTH_SECONDS, LINGER_SECONDS, LineConnection

MAX_CONNECTIONS: Final = 10_000
SPARE_FILES: Final = 128
"""File descriptors kept for the database, the log and the rest of the process."""


class ServerDoor(Protocol):
    """A door, once it is open."""

    @property
    def connected(self) -> int:
        """How many connections there are, those included that are still being made."""

    def let_go_revoked(self) -> None:
        """The tokens have changed: let go who is no longer welcome."""

    async def close(self) -> None:
        """Take no more connections."""

    def drain(self) -> None:
        """End all waiting; whoever has had the last answer leaves."""

    def settled(self) -> bool:
        """Whether everybody has left."""

    def abort(self) -> None:
        """Cut off who is left."""


class LineDoor:
    """The door for lines, on an address and on a Unix socket."""

    def __init__(self, context: Context, turns: Turns, room: Callable[[], bool]) -> None:
        """Build it, shut.

        Args:
            context: what commands work on.
            turns: the runtime.
            room: asked by each new connection, which is counted already, whether there is room for it.
        """
        self._context = context
        self._turns = turns
        self._room = room
        self._listeners: list[asyncio.Server | TlsListener] = []
        self._handshakes: set[asyncio.BaseProtocol] = set()
        self._unix_socket: str | None = None
        self._connections: set[LineConnection] = set()

    async def listen(self, host: str, port: int, tls: SSLContext | None = None) -> None:
        """Open it on an address.

        Raises:
            OSError: the address cannot be listened on.
        """
        if tls is None:
            loop = asyncio.get_running_loop()
            self._listeners.append(await loop.create_server(self._connection, host, port, backlog=BACKLOG))
            return
        listener = TlsListener(self._connection, self._room, tls, handshake_s=AUTH_SECONDS, shutdown_s=LINGER_SECONDS)
        self._handshakes = listener.handshakes
        self._listeners.append(await listener.listen(host, port, BACKLOG))

    async def listen_unix(self, path: str) -> None:
        """Open it on a Unix socket as well, always in plain.

        Raises:
            OSError: the path is taken, or cannot be listened on.
        """
        self._listeners.append(await _listen_unix(self._connection, path))
        self._unix_socket = path

    @property
    def address(self) -> tuple[str, int]:
        """Host and real port of the first address."""
        host, port = self._listeners[0].sockets[0].getsockname()[:2]
        return host, port

    @property
    def connected(self) -> int:
        """See `ServerDoor`."""
        return len(self._connections) + len(self._handshakes)

    def let_go_revoked(self) -> None:
        """See `ServerDoor`."""
        for connection in list(self._connections):
            connection.leave_if_revoked()

    async def close(self) -> None:
        """See `ServerDoor`."""
        for listener in self._listeners:
            listener.close()
        if self._unix_socket is not None:
            with contextlib.suppress(OSError):
                Path(self._unix_socket).unlink()

    def drain(self) -> None:
        """See `ServerDoor`."""
        for connection in list(self._connections):
            connection.drain()

    def settled(self) -> bool:
        """See `ServerDoor`."""
        return not self._connections

    def abort(self) -> None:
        """See `ServerDoor`."""
        for connection in list(self._connections):
            connection.abort()

    def _connection(self) -> LineConnection:
        return LineConnection(self._context, self._turns, admit=self._admit, left=self._connections.discard)

    def _admit(self, connection: LineConnection) -> bool:
        self._connections.add(connection)
        self._handshakes.discard(connection)
        return self._room()


def connection_limit() -> int:
    """As many connections as there are file descriptors for, which is raised as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(MAX_CONNECTIONS, soft - SPARE_FILES))


async def _listen_unix(factory: Callable[[], LineConnection], path: str) -> asyncio.Server:
    """Listen on a Unix socket. A socket that a dead server left behind is replaced, anything else is not."""
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(f"{path} exists and is not a socket of ours")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)  # one that is too busy to accept is there as well
            refused = probe.connect_ex(path)
        if refused not in (errno.ECONNREFUSED, errno.ENOENT):
            raise OSError(f"another server listens on {path}")
        Path(path).unlink(missing_ok=True)
    old = os.umask(0o117)
    try:
        return await asyncio.get_running_loop().create_unix_server(factory, path, backlog=BACKLOG)
    finally:
        os.umask(old)
