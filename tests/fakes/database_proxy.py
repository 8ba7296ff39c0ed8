"""What stands between a server and its PostgreSQL, and can fail in every way in which a network does.

Bytes are passed on as they come, by two threads a connection. Only one thing about PostgreSQL is known here: how it
says that a statement is finished, for the cut that comes after the work and before its answer.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final

PIECE_BYTES: Final = 1 << 16

COMMIT_BYTES: Final = 1_000
"""What is sent at once and is longer carries jobs; what only asks, or renews a lease, is shorter."""

READY: Final = b"Z\x00\x00\x00\x05"
"""ReadyForQuery, but for its last byte: the answer is complete."""

FINISHED: Final = READY + b"I"
"""The same outside of a transaction: whatever was sent before is committed, or was refused."""


class Cut(Enum):
    """Where a request is lost."""

    BEFORE = "the request never arrives"
    WITHIN = "half of it arrives"
    AFTER = "it arrives and is carried out, and the answer is lost"


class _Pair:
    """One client's connection and the one to the database that belongs to it."""

    def __init__(self, client: socket.socket, database: socket.socket) -> None:
        self.client = client
        self.database = database
        self.swallows = False
        """The answer that comes next is lost, and the connection with it."""

    def cut(self) -> None:
        """Reset it: both sides learn at once that it is gone."""
        for end in (self.client, self.database):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class DatabaseProxy:
    """Listens on a port of this machine for as long as it is entered."""

    def __init__(self, upstream: Path) -> None:
        """Args: ``upstream``: the Unix socket of the database; it may come and go."""
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._delay_s = 0.0
        self._armed: Cut | None = None
        self._struck = threading.Event()

    def __enter__(self) -> "DatabaseProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flows.set()
        self.cut()

    def url(self, database: str, user: str) -> str:
        """How to reach a database through it."""
        return f"postgresql://{user}@127.0.0.1:{self._listener.getsockname()[1]}/{database}"

    def cut(self) -> None:
        """Every connection is reset; new ones are welcome."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.cut()

    def freeze(self) -> None:
        """Nothing passes and nothing is closed, as when a cable is pulled."""
        self._flows.clear()

    def thaw(self) -> None:
        """What was held back goes on, in order."""
        self._flows.set()

    def delay(self, seconds: float) -> None:
        """From now on each piece needs so long, either way."""
        self._delay_s = seconds

    def arm(self, cut: Cut) -> threading.Event:
        """Lose the next request that carries jobs, and its connection. Returns what is set when that has happened."""
        self._struck = threading.Event()
        self._armed = cut
        return self._struck

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            database = socket.socket(socket.AF_UNIX)
            try:
                database.connect(str(self._upstream))
            except OSError:  # the database is not there: that is what its clients shall see
                client.close()
                database.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(client, database)
            with self._lock:
                self._pairs.add(pair)
            for pump in (self._up, self._down):
                threading.Thread(target=self._pump, args=(pump, pair), daemon=True).start()

    def _pump(self, pump: Callable[[_Pair], None], pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            pump(pair)
        with self._lock:
            self._pairs.discard(pair)
        pair.cut()

    def _up(self, pair: _Pair) -> None:
        """Requests."""
        while data := pair.client.recv(PIECE_BYTES):
            self._hold_up()
            cut = self._take_armed() if len(data) > COMMIT_BYTES else None
            if cut is Cut.BEFORE:
                break
            if cut is Cut.WITHIN:
                pair.database.sendall(data[: len(data) // 2])
                break
            pair.swallows = pair.swallows or cut is Cut.AFTER
            pair.database.sendall(data)
        else:
            return
        self._struck.set()

    def _down(self, pair: _Pair) -> None:
        """Answers."""
        lost = b""
        while data := pair.database.recv(PIECE_BYTES):
            self._hold_up()
            if not pair.swallows:
                pair.client.sendall(data)
                continue
            lost += data
            if lost.endswith(FINISHED):
                self._struck.set()
                return
            if lost[:-1].endswith(READY):  # within a transaction: nothing is committed yet, so it is not the one
                pair.swallows = False
                self._armed = Cut.AFTER
                pair.client.sendall(lost)
                lost = b""

    def _take_armed(self) -> Cut | None:
        with self._lock:
            cut, self._armed = self._armed, None
        return cut

    def _hold_up(self) -> None:
        self._flows.wait()
        if self._delay_s:
            time.sleep(self._delay_s)
