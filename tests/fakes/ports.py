"""Ports that nobody else is given.

What listens on port 0 gets one of those that every outgoing connection of the machine may get as well. While nobody
listens there, between a server's end and its next start, such a port can be gone; a client that tries it again and
again can even be connected to itself. So who needs a port twice, or a port at which nobody is, takes one of these.

Each process of the tests has a block of them to itself: otherwise another one could listen at the port of a server
that is away for a moment, and be asked what that server's clients go on asking.
"""

import random
import socket
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from typing import Final

BLOCKS: Final = range(20_000, 30_000, 250)
"""The first port of each block: below what systems give by themselves, which begins at 32,768 or higher."""

_DICE: Final = random.SystemRandom()
"""Processes that start together begin their search at different blocks."""


def free_port(*hosts: str) -> int:
    """A port at which nobody listens, on any of these addresses; none: 127.0.0.1."""
    return next(_free_ports(*hosts or ("127.0.0.1",)))


def kept_ports() -> dict[str, str]:
    """The settings of a server that is to be found at the same place after each of its starts."""
    port, http_port = islice(_free_ports("127.0.0.1"), 2)
    return {"PORT": str(port), "HTTP_PORT": str(http_port)}


def _free_ports(*hosts: str) -> Iterator[int]:
    """Those of this process, each once, from the one that was given longest ago."""
    ports = islice(_block().ports, BLOCKS.step - 1)
    return (port for port in ports if all(_is_free(host, port) for host in hosts))


class _Block:
    """The ports behind the first one that nobody has bound; it is bound from now on, which says that they are taken.

    Raises:
        RuntimeError: all are taken.
    """

    def __init__(self) -> None:
        for first in _DICE.sample(BLOCKS, len(BLOCKS)):
            self._claim = socket.socket()
            try:
                self._claim.bind(("127.0.0.1", first))
            except OSError:
                self._claim.close()
            else:
                self.ports = cycle(range(first + 1, first + BLOCKS.step))
                return
        raise RuntimeError("every block of ports is taken: are the tests of other runs still going?")


_block: Final = cache(_Block)
"""The block of this process."""


def _is_free(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True
