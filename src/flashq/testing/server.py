"""`LocalServer`: a FlashQ server inside the test's process, with a clock that only the test moves."""

from datetime import timedelta
from types import TracebackType

from flashq.client import AsyncFlashQ, FlashQ
from flashq.client.address import Address
from flashq.client.async_client import CALL_TIMEOUT_MS
from flashq.client.async_connection import AsyncConnection
from flashq.client.async_connection import Wire as AsyncWire
from flashq.client.sync_connection import SyncConnection
from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.model import Instant
from flashq.server import clock
from flashq.testing.host import Host
from flashq.testing.wires import LocalLink, LocalWire

CONNECT_TIMEOUT_MS = 1_000
"""Connecting works at once or, to a server that was closed, never."""


class Clock:
    """The server's clock. It stands still until it is moved, by `advance` or by a call that waits."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def now(self) -> int:
        """Ms since the Unix epoch."""
        return self._host.now.wall

    @property
    def next_due(self) -> int | None:
        """Ms until the next thing falls due: a delayed job, a schedule, the end of a lease ...; None: nothing will."""
        return self._host.next_due_ms()

    def advance(self, by: int | timedelta) -> None:
        """Let time pass at once; everything that falls due meanwhile happens, each thing at exactly its moment.

        Args:
            by: ms or timedelta.
        """
        self._host.advance(by // timedelta(milliseconds=1) if isinstance(by, timedelta) else by)


class LocalServer:
    """A whole server without sockets, threads or disk.

    ::

        with LocalServer() as server:
            q = server.client()
            q.push("mail", {"to": "ada"}, delay=60_000)
            assert q.pull("mail", timeout=0) is None
            server.clock.advance(60_000)
            assert q.pull("mail", timeout=0).data == {"to": "ada"}

    Commands, limits, errors and storage are the real ones; only the carrier and the clock are not. There is no
    authentication. Calls that wait never hang: the clock jumps to what falls due next, and a call that nothing would
    answer raises `CallTimeout`. In the thread that made the server that happens at once; in coroutines and other
    threads after ``patience_ms`` of real time in which nothing was asked of the server.

    Args:
        settings: the operator's numbers (lease, default attempts ...).
        start: what the clock shows first, ms since the Unix epoch; None: this moment.
        patience_ms: real ms; see above.

    Attributes:
        clock: to move.
    """

    def __init__(self, *, settings: Settings | None = None, start: int | None = None, patience_ms: int = 100) -> None:
        begin = clock.now() if start is None else Instant(start, 0)
        self._host = Host(settings or Settings(), begin, patience_ms)
        self.clock = Clock(self._host)

    def __enter__(self) -> "LocalServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The queue itself, to look into; another object after `restart`."""
        return self._host.engine

    def client(self, *, call_timeout_ms: int | None = CALL_TIMEOUT_MS, safe_retry: bool = False) -> FlashQ:
        """A plain client of this server; options as of `FlashQ`."""
        connection = SyncConnection(_ADDRESS, CONNECT_TIMEOUT_MS, lambda generation, _: self._wire(generation))
        return FlashQ(connection=connection, call_timeout_ms=call_timeout_ms, safe_retry=safe_retry)

    def aclient(self, *, call_timeout_ms: int | None = CALL_TIMEOUT_MS, safe_retry: bool = False) -> AsyncFlashQ:
        """An async client of this server, for one event loop; options as of `AsyncFlashQ`."""
        connection = AsyncConnection(_ADDRESS, CONNECT_TIMEOUT_MS, self._link)
        return AsyncFlashQ(connection=connection, call_timeout_ms=call_timeout_ms, safe_retry=safe_retry)

    def restart(self) -> None:
        """Kill the server and start it again from what it remembers: active jobs run again, clients connect again."""
        self._host.restart()

    def close(self) -> None:
        """End it; clients find nobody any more."""
        self._host.close()

    def _wire(self, generation: int) -> LocalWire:
        return LocalWire(self._host, generation)

    async def _link(self, wire: AsyncWire) -> None:
        LocalLink(self._host, wire)


_ADDRESS = Address(host="in-process")
