"""What the fake servers have in common: they listen, serve each connection in a thread, and leave nothing behind."""

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class Listening(ABC):
    """Accepts connections until it is closed.

    Args:
        listener: bound, and listening.

    Attributes:
        connections: how many there have been.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._guard = threading.Condition()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self.connections = 0
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _serve(self, connection: socket.socket) -> None:
        """Serve one connection until it ends."""

    def hang_up(self) -> None:
        """Close all connections; go on listening."""
        with self._guard:
            open_now, self._open = self._open, []
        for connection in open_now:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop, and wait until every thread has ended."""
        with self._guard:
            self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._guard:
                if self._closed:  # nobody would hang up on this one any more
                    connection.close()
                    return
                self._open.append(connection)
                self.connections += 1
                self._guard.notify_all()
            self._start(self._until_it_ends, connection)

    def _until_it_ends(self, connection: socket.socket) -> None:
        with connection:
            with suppress(OSError):
                self._serve(connection)
            with self._guard:  # before it is closed, lest somebody be told something on what is no socket any more
                if connection in self._open:
                    self._open.remove(connection)
                self._guard.notify_all()
