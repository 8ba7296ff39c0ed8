"""What a listener costs that hears nothing: growth of the server's resident size over ten thousand of them.

Once as WebSockets and once as server-sent events. The size is taken after the first ping of each WebSocket was answered
and the first sign of life of each stream was sent, since both leave something behind. The processor time of the
quiet that follows is what all of them cost together.
"""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple

from benchmarks.machine import cpu_seconds, resident_bytes
from benchmarks.report import Goal, Result, Size, main
from benchmarks.server import Server

LISTENERS: Final = 10_000
SETTLE_SECONDS: Final = 25
"""Longer than the 20 s after which a WebSocket is pinged."""

QUIET_SECONDS: Final = 10
ADDRESSES: Final = 4
"""Loopback addresses to connect from: each has only so many ports."""

PING: Final = 0x89
PONG: Final = b"\x8a\x84\x00\x00\x00\x00"
"""The head of a ping that the server sends, and of a pong of four bytes, masked with nothing."""

_COMMON: Final = (
    b"Host: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Accept-Language: en\r\nCache-Control: no-cache\r\n"
)


class Kind(NamedTuple):
    """A way to listen: its name, its request, the status that lets it in, and what a listener may cost."""

    name: str
    request: bytes
    status: bytes
    goal: Goal | None


KINDS: Final = (
    Kind(
        "WebSocket",
        b"GET /ws HTTP/1.1\r\n"
        + _COMMON
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"HTTP/1.1 101 ",
        Goal(most=25_000),
    ),
    Kind(
        "stream of server-sent events",
        b"GET /events HTTP/1.1\r\n" + _COMMON + b"Accept: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 ",
        None,
    ),
)


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    listeners = size.jobs(LISTENERS)
    runs = min(size.runs, 3)  # each takes most of a minute, and they differ by little
    settle = SETTLE_SECONDS if size.share >= 0.1 else 1
    quiet = QUIET_SECONDS if size.share >= 0.1 else 1
    for kind in KINDS:
        grown, busy = zip(*[_idle(kind, listeners, settle, quiet) for _ in range(runs)], strict=True)
        what = f"{listeners:,} listeners, each an idle {kind.name}"
        yield Result(f"{what}: growth a listener", "memory", "bytes", grown, kind.goal)
        yield Result(f"{what}: processor, all together, over {quiet} s", "memory", "% of a core", busy)


def _idle(kind: Kind, listeners: int, settle: float, quiet: float) -> tuple[float, float]:
    """Bytes a listener, and percent of a core for all of them."""
    with Server("memory") as server, ExitStack() as stack:
        with ExitStack() as first:
            _listen(kind, server, 1, first)  # what the first of all needs is not the price of one more
        before = resident_bytes(server.pid)
        sockets = _listen(kind, server, listeners, stack)
        _answer_pings(sockets, settle)
        grown = (resident_bytes(server.pid) - before) / listeners
        began = cpu_seconds(server.pid)
        _answer_pings(sockets, quiet)
        return grown, 100 * (cpu_seconds(server.pid) - began) / quiet


def _listen(kind: Kind, server: Server, listeners: int, stack: ExitStack) -> list[socket.socket]:
    sockets = []
    for number in range(listeners):
        listener = stack.enter_context(socket.socket())
        listener.bind((f"127.0.0.{1 + number % ADDRESSES}", 0))
        listener.connect(("127.0.0.1", server.http_port))
        listener.sendall(kind.request)
        said = b""
        while b"\r\n\r\n" not in said:
            piece = listener.recv(4096)
            if not piece:
                break
            said += piece
        if not said.startswith(kind.status):
            raise RuntimeError(f"the server said {said[:200]!r}")
        sockets.append(listener)
    return sockets


def _answer_pings(sockets: list[socket.socket], seconds: float) -> None:
    """Read what comes for so long; a ping is answered."""
    by_number = {listener.fileno(): listener for listener in sockets}
    ready = select.epoll()
    for number in by_number:
        ready.register(number, select.EPOLLIN)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for number, _ in ready.poll(left):
            listener = by_number[number]
            said = listener.recv(4096)
            if not said:
                raise RuntimeError("the server has hung up")
            if said[0] == PING and len(said) == 6:
                listener.sendall(PONG + said[2:])
    ready.close()


if __name__ == "__main__":
    main({"benchmarks.streams": run}, "benchmarks.streams")
