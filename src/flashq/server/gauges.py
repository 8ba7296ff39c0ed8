"""What a server knows about itself in numbers: it looks twice a second, and gathers what others show.

Nothing here is asked by the way of a job. What jobs did is counted by the engine; this adds what only a server has (how
late its loop was, how long its commits took, who is connected), keeps the history, and takes the `Figures` of a
moment. With thousands of queues a look at all of them is milliseconds, in which no client would be answered: so it
is made in slices, and between two of them the loop goes on.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from flashq.engine.engine import Engine
from flashq.engine.histogram import Histogram
from flashq.engine.queue import Queue
from flashq.model import ACTIVE, DELAYED, FAILED, WAITING, WAITING_CHILDREN, Instant
from flashq.observe.figures import Figures, QueueFigures, Totals
from flashq.observe.history import EVERY_MS, Counted, History
from flashq.server.runtime import Runtime

LOOK_EVERY_MS: Final = 500
"""Often enough to see a loop that is slow for a second, and nothing beside the rest of its work."""

QUEUES_A_SLICE: Final = 100
"""About a millisecond when each holds jobs of several priorities."""

TIMES_US: Final = (
    *(100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 10_000_000),
)
"""Upper bounds for what the server itself does: from a fast disk's sync to a machine that stands still."""


class About(NamedTuple):
    """Words about a server: its version, the kind of storage, and the durability, ``none`` without any."""

    version: str
    storage: str
    durability: str


class Gauges:
    """The numbers of one server.

    Attributes:
        history: of the last hour.
    """

    def __init__(
        self,
        runtime: Runtime,
        loop: asyncio.AbstractEventLoop,
        about: About,
        connections: Callable[[], int],
        clock_us: Callable[[], int],
    ) -> None:
        """Build them; `start` begins to look.

        Args:
            runtime: whose engine, clock and journal.
            loop: where to look from.
            about: what does not change.
            connections: how many there are.
            clock_us: a steady clock in microseconds.
        """
        self._runtime = runtime
        self._engine: Engine = runtime.engine
        self._loop = loop
        self._about = about
        self._connections = connections
        self._clock_us = clock_us
        self._commits = Histogram(TIMES_US, 1_000_000)
        self._lags = Histogram(TIMES_US, 1_000_000)
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self.history = History(Counted(*self._engine.lookup.counted()), runtime.clock())

    def start(self) -> None:
        """Look from now on."""
        due_us = self._clock_us() + LOOK_EVERY_MS * 1_000
        self._timer = self._loop.call_later(LOOK_EVERY_MS / 1_000, self._wake, due_us)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def committed(self, took_us: int) -> None:
        """A group became durable, and took so long."""
        self._commits.add(took_us)

    def look(self, late_us: int, now: Instant) -> None:
        """Note how late the loop is, and at every tenth look a point of the history.

        Args:
            late_us: by how many microseconds this look comes too late.
            now: the moment of it.
        """
        self._lags.add(late_us)
        self._looks += 1
        if self._looks % (EVERY_MS // LOOK_EVERY_MS):
            return
        engine = self._engine
        self.history.add(
            now,
            Counted(*engine.lookup.counted()),
            engine.lookup.stats(),
            engine.rates.average_latency_ms(now.wall),
            len(engine.workers),
            engine.jobs.bytes,
        )

    async def figures(self) -> Figures:
        """All numbers. Those of the queues are a few turns of the loop older than the others."""
        queues = list(self._engine.queues.by_name.values())
        shown: list[QueueFigures] = []
        for start in range(0, len(queues), QUEUES_A_SLICE):
            shown += [self._queue(queue) for queue in queues[start : start + QUEUES_A_SLICE] if queue.listed]
            await asyncio.sleep(0)
        gone = self._engine.lookup.gone()
        await asyncio.sleep(0)
        return self._figures(shown, gone)

    def _figures(self, queues: list[QueueFigures], gone: tuple[int, int, int]) -> Figures:
        engine, runtime = self._engine, self._runtime
        now = runtime.clock()
        return Figures(
            wall=now.wall,
            version=self._about.version,
            storage=self._about.storage,
            durability=self._about.durability,
            totals=Totals(*engine.lookup.counted(), *gone),
            stats=engine.lookup.stats(),
            queues=queues,
            retried=engine.settle.retried,
            timed_out=engine.settle.timed_out,
            per_second=engine.rates.per_second(now.wall),
            latency_ms=engine.rates.average_latency_ms(now.wall),
            waits=engine.wait_times.read(),
            runs=engine.run_times.read(),
            commits=self._commits.read(),
            lags=self._lags.read(),
            workers=len(engine.workers),
            crons=len(engine.crons),
            connections=self._connections(),
            calls_waiting=len(engine.parking),
            memory=engine.jobs.bytes,
            memory_bound=engine.settings.max_bytes,
            unsynced_bytes=runtime.unsynced_bytes,
            clock_jumps=runtime.clock_jumps,
            storage_away=runtime.away,
        )

    def _wake(self, due_us: int) -> None:
        self.look(self._clock_us() - due_us, self._runtime.clock())
        self.start()

    def _queue(self, queue: Queue) -> QueueFigures:
        counts = queue.counts
        return QueueFigures(
            queue.name,
            counts[WAITING],
            counts[DELAYED],
            counts[ACTIVE],
            counts[FAILED],
            counts[WAITING_CHILDREN],
            self._engine.lookup.waiting_since(queue),
        )
