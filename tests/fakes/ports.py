"""Ports that nobody else is given.

What listens on port 0 gets one of those that every outgoing connection of the machine may get as well. While nobody
listens there, between a server's end and its next start, such a port can be gone; a client that tries it again and
again can even be connected to itself. So who needs a port twice, or a port at which nobody is, takes one of these.
"""

import random
import socket
from collections.abc import Iterator
from itertools import islice
from typing import Final

PORTS: Final = range(20_000, 30_000)
"""Below what systems give by themselves, which begins at 32,768 or higher."""

_DICE: Final = random.SystemRandom()
"""Tests that run side by side choose among many, each by a chance of its own."""


def free_port(*hosts: str) -> int:
    """A port at which nobody listens, on any of these addresses; none: 127.0.0.1."""
    return next(_free_ports(*hosts or ("127.0.0.1",)))


def kept_ports() -> dict[str, str]:
    """The settings of a server that is to be found at the same place after each of its starts."""
    port, http_port = islice(_free_ports("127.0.0.1"), 2)
    return {"PORT": str(port), "HTTP_PORT": str(http_port)}


def _free_ports(*hosts: str) -> Iterator[int]:
    """Each of them once."""
    return (port for port in _DICE.sample(PORTS, len(PORTS)) if all(_is_free(host, port) for host in hosts))


def _is_free(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True
