"""How both clients set up a connected socket."""

import socket
from contextlib import suppress
from typing import Final

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
