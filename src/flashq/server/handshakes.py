"""Listening for connections inside TLS, each of which counts from the moment it is accepted.

An event loop that is told to listen with a certificate shows a connection only once its handshake is over. Until then
nobody counts it, though it has a file descriptor: who opens connections and says nothing could have all of them, those
that the database needs included. So the listener accepts by itself and leaves only the handshake to the loop.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from ssl import SSLContext
from typing import Any, Final

log = logging.getLogger("flashq")

BACKLOG: Final = 1_024
"""Connections that wait to be accepted: as many as come while one turn of the loop takes its time."""

ACCEPTS_AT_ONCE: Final = 64
"""Connections that are accepted in one turn of the loop: handshakes are work, and others wait meanwhile."""

NO_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
RETRY_SECONDS: Final = 1
"""The system has no room for another connection, and would say so again at once: so long nobody is accepted."""


class TlsListener:
    """Listens like an `asyncio.Server`, as far as a door needs one.

    Attributes:
        sockets: on which it listens; none once it is closed.
        handshakes: the connections that are being made. Whoever takes one over when it is made takes it out.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        room: Callable[[], bool],
        tls: SSLContext,
        *,
        handshake_s: float,
        shutdown_s: float | None = None,
    ) -> None:
        """Build it, shut.

        Args:
            factory: makes what a connection is for.
            room: asked for each connection that is accepted, which stands among the handshakes already. If there is
                none it is closed without a word: to say why would take the handshake.
            tls: what is shown.
            handshake_s: how long a handshake may take.
            shutdown_s: how long the end of a connection may take; None: as the loop has it.
        """
        self.sockets: list[socket.socket] = []
        self.handshakes: set[asyncio.BaseProtocol] = set()
        self._factory = factory
        self._room = room
        self._tls = tls
        self._handshake_s = handshake_s
        self._shutdown_s = shutdown_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def listen(self, host: str, port: int, backlog: int) -> "TlsListener":
        """Open it on every address of a host.

        Args:
            host: name or address.
            port: 0: any free one.
            backlog: connections that may wait to be accepted.

        Raises:
            OSError: an address cannot be listened on.
        """
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.sockets = _listening({(family, address) for family, _, _, _, address in found}, backlog)
        for listening in self.sockets:
            self._loop.add_reader(listening, self._accept, listening)
        return self

    def close(self) -> None:
        """Take no more connections; those that are not made yet will not be."""
        listening, self.sockets = self.sockets, []
        for each in listening:
            self._loop.remove_reader(each)
            each.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_RESOURCES:
                    raise
                log.error("no connection can be accepted: %s", error.strerror)  # noqa: TRY400  # one line
                self._loop.remove_reader(listening)
                self._loop.call_later(RETRY_SECONDS, self._listen_again, listening)
                return
            self._begin(accepted)

    def _listen_again(self, listening: socket.socket) -> None:
        if listening in self.sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _begin(self, accepted: socket.socket) -> None:
        protocol = self._factory()
        self.handshakes.add(protocol)
        if not self._room():
            self.handshakes.discard(protocol)
            accepted.close()
            return
        accepted.setblocking(False)
        with suppress(OSError):  # its client may be gone
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._shake_hands(protocol, accepted))
        self._tasks.add(task)
        task.add_done_callback(partial(self._over, protocol, accepted))

    async def _shake_hands(self, protocol: asyncio.Protocol, accepted: socket.socket) -> None:
        with suppress(OSError):  # strangers, and those who believe another certificate; the loop has closed it
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=self._shutdown_s,
            )

    def _over(self, protocol: asyncio.Protocol, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.handshakes.discard(protocol)
        if task.cancelled():  # perhaps before it began, and then nobody else closes it
            accepted.close()


def _listening(addresses: Iterable[tuple[int, Any]], backlog: int) -> list[socket.socket]:
    """Sockets on all of these that there are: a name often has an address of a family that the machine does not use.

    Raises:
        OSError: one is taken, or there is none.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in addresses:
        try:
            sockets.append(socket.create_server(address, family=family, backlog=backlog))
            sockets[-1].setblocking(False)
        except OSError as error:
            if error.errno in NOT_HERE:
                missing = error
                continue
            for each in sockets:
                each.close()
            raise
    if missing is not None and not sockets:
        raise missing
    return sockets
