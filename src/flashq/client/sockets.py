"""How both clients connect and set up a socket, and what the plain one needs of it."""

import socket
import struct
from contextlib import suppress
from typing import Any, Final, Protocol

KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe, between probes, and how many may stay unanswered: a pull that waits for
ever learns within a minute that its server lost its power. The system's default is two hours."""

DIAL_LIMIT_S: Final = 5.0
"""One attempt to connect: an address that answers nothing must not eat the time of all further attempts."""

_TIMEVAL: Final = struct.Struct("@ll")
"""Seconds and microseconds, as the system wants them."""


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


class Carrier(Protocol):
    """A transport of an event loop, as far as it knows its socket."""

    def get_extra_info(self, name: str, /) -> Any:  # noqa: ANN401 - as asyncio has it
        """What it knows under this name; None if nothing."""


def tune_under(transport: Carrier) -> None:
    """`tune` the socket under a transport, if there is one."""
    connected = transport.get_extra_info("socket")
    if connected is not None:
        tune(connected)


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


def set_timeout(stream: Stream, timeout_ms: float | None) -> None:
    """How long the next calls may block; 0 = not at all, None = for ever.

    The system keeps the time: a timeout of Python's own costs a look at the clock and a poll before every call, a fifth
    of a push. When it is over, the call raises BlockingIOError.
    """
    if timeout_ms == 0:
        stream.setblocking(False)
        return
    stream.setblocking(True)
    micros = 0 if timeout_ms is None else max(1, int(timeout_ms * 1_000))  # 0 stands for ever
    for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        stream.setsockopt(socket.SOL_SOCKET, direction, _TIMEVAL.pack(*divmod(micros, 1_000_000)))


def stale(stream: Stream) -> bool:
    """Whether a connection on which nothing is due is of no use any more: its peer has left it, or speaks unasked."""
    try:
        set_timeout(stream, 0)
        # Whatever is there to read, be it the end or a word, makes it useless.
        stream.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def shut(stream: Stream) -> None:
    """Close a connection so that whoever reads it wakes."""
    with suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)
    stream.close()
