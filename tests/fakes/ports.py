"""Ports that nobody else is given.

What listens on port 0 gets one of those that every outgoing connection of the machine may get as well. While nobody
listens there, between a server's end and its next start, such a port can be gone; a client that tries it again and
again can even be connected to itself. So who needs a port twice, or a port at which nobody is, takes one of these.
"""

import random
import socket
from typing import Final

PORTS: Final = range(20_000, 30_000)
"""Below what systems give by themselves, which begins at 32,768 or higher."""

_DICE: Final = random.SystemRandom()
"""Tests that run side by side choose among many, each by a chance of its own."""


def free_port(*hosts: str) -> int:
    """A port at which nobody listens, on any of these addresses; none: 127.0.0.1."""
    return next(
        port
        for port in _DICE.sample(PORTS, len(PORTS))
        if all(_is_free(host, port) for host in hosts or ("127.0.0.1",))
    )


def kept_ports() -> dict[str, str]:
    """The settings of a server that is to be found at the same place after each of its starts."""
    return {"PORT": str(free_port()), "HTTP_PORT": str(free_port())}


def _is_free(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True
