"""How both clients set up a connected socket, and what the plain one needs of it."""

import socket
from contextlib import suppress
from typing import Final, Protocol

KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe, between probes, and how many may stay unanswered: a pull that waits for
ever learns within a minute that its server lost its power. The system's default is two hours."""


def tune(connected: socket.socket) -> None:
    """Send small requests at once, and notice a peer that vanished without a word. Unix sockets need neither."""
    if connected.family == socket.AF_UNIX:
        return
    # A peer that is gone already makes some systems refuse options; the first read will say so more clearly.
    with suppress(OSError):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            option = getattr(socket, name, None)  # not every system has all three
            if option is not None:
                connected.setsockopt(socket.IPPROTO_TCP, option, value)


class Stream(Protocol):
    """What the plain client asks of a connection: a socket has it all, and so has TLS on top of one."""

    def sendall(self, data: bytes, /) -> None:
        """Write all of it."""

    def send(self, data: memoryview, /) -> int:
        """Write what goes at once; how many bytes need not be offered again."""

    def recv(self, most: int, flags: int = 0, /) -> bytes:
        """Read what is there, or wait for it; about ``most`` bytes, nothing at the end."""

    def setblocking(self, blocking: bool, /) -> None:
        """Whether calls wait."""

    def setsockopt(self, level: int, name: int, value: bytes, /) -> None:
        """An option of the socket."""

    def fileno(self) -> int:
        """To wait for."""

    def shutdown(self, how: int, /) -> None:
        """End it, and wake whoever waits."""

    def close(self) -> None:
        """Give it back to the system."""
