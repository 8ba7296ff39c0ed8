"""Getting jobs: one parked pull for what the worker has room for, and how much room that is.

A job that waits in a worker's buffer waits longer than it must, keeps other workers from it and eats its own timeout;
so a worker takes no more than it can begin at once, or very soon. "Very soon" is measured: a worker whose jobs take
microseconds takes hundreds ahead, since a round trip for each would cost more than the job; one whose jobs take
seconds takes none.

The pull is parked without a ``reqId`` on a connection that carries nothing else, so that any command behind it gives it
up: the server answers it at once, with jobs that were on their way or with none. That is how a stop knows that
nothing is on its way any more; closing the connection would leave such jobs to their lease.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from random import random
from typing import Final

from msgspec import structs

from flashq.client import AsyncFlashQ, calls
from flashq.client.pipeline import Backoff
from flashq.client.results import JobRecord
from flashq.errors import FlashQError, Forbidden, Unauthorized
from flashq.protocol.limits import MAX_BATCH

log = logging.getLogger("flashq.worker")

AHEAD_MS: Final = 100
"""Jobs are taken ahead as far as they are expected to begin within so long: many round trips' worth, and too short for
anybody to notice."""

MAX_AHEAD: Final = 1_000
"""Jobs taken ahead at most: a larger batch costs no less for each, and a worker that dies loses the time of fewer."""

REFILL_SHARE: Final = 4
"""With jobs in the buffer the next pull waits until a quarter of the room ahead is free: many small pulls would cost
more than they bring."""

MEMORY: Final = 0.2
"""How much the newest jobs count in the mean of run times: the last ten pulls or so decide."""

PARK_MS: Final = 60_000
"""How long a pull stays parked: one that was lost without a word, by whatever stands between here and the server, is
missed for no longer."""

BURST_MS: Final = 200
"""How long the pull of a worker stays parked that leaves when there is nothing: it does so that much after the last
job."""

PARK_GRACE_MS: Final = 15_000
"""How long after that its answer may take, before the connection counts as lost."""


class Pace:
    """How fast jobs come to an end, and how many to take ahead because of it.

    Args:
        concurrency: how many run at once.
        prefetch: take so many ahead, whatever is measured; None: as measured.
    """

    def __init__(self, concurrency: int, prefetch: int | None = None) -> None:
        self._concurrency = concurrency
        self._fixed = prefetch
        self._mean_ms: float | None = None
        self._new_ms = 0.0
        self._new = 0

    @property
    def fixed(self) -> bool:
        """Whether somebody said how many to take ahead."""
        return self._fixed is not None

    def ended(self, duration_s: float) -> None:
        """A job has ended after ``duration_s``."""
        self._new_ms += duration_s * 1_000
        self._new += 1

    def ahead(self) -> int:
        """How many jobs to take beyond those that can run at once."""
        if self._fixed is not None:
            return self._fixed
        if self._new:
            newest = self._new_ms / self._new
            self._mean_ms = newest if self._mean_ms is None else self._mean_ms + MEMORY * (newest - self._mean_ms)
            self._new_ms, self._new = 0.0, 0
        if self._mean_ms is None:
            return 0
        return min(MAX_AHEAD, int(AHEAD_MS * self._concurrency / max(self._mean_ms, 0.001)))


class Puller:
    """The pull itself, over a client that does nothing else.

    Args:
        client: said hello with, so that the jobs are leased to the worker.
        queues: in the order in which they are served.
        park_ms: how long a pull stays parked.
    """

    def __init__(self, client: AsyncFlashQ, queues: Sequence[str], park_ms: int = PARK_MS) -> None:
        self._client = client.with_options(call_timeout_ms=PARK_MS + PARK_GRACE_MS)
        self._queues = list(queues)
        self._park_ms = park_ms

    async def pull(self, count: int) -> list[JobRecord]:
        """Wait for jobs, up to ``count`` of them; an empty list after a long time without any.

        Raises:
            FlashQError: what the server or the connection said.
        """
        pull = calls.pull_any(self._queues, count, self._park_ms)
        async with self._client.pipeline() as p:
            # Sent once: jobs of an answer that is lost must be missed, not covered up by the next answer.
            pulled = p.add(structs.replace(pull, repeatable=False))
        return pulled.result()

    async def give_up(self) -> None:
        """Make a parked `pull` return at once.

        Raises:
            FlashQError: it could not be said; then there is no connection, and nothing comes over it either.
        """
        await self._client.ping()


class Fetch:
    """Keeps one pull parked as long as there is room.

    Args:
        puller: how to pull.
        room: how many jobs may be taken now.
        came: gets every batch of jobs.
        missed: called after a pull whose answer is lost, before the next: tells the server what did arrive.
        idle: whether nothing is left to do here; then an empty answer ends the fetching. None: it goes on for ever.
    """

    def __init__(
        self,
        puller: Puller,
        room: Callable[[], int],
        came: Callable[[list[JobRecord]], None],
        missed: Callable[[], Awaitable[None]],
        idle: Callable[[], bool] | None = None,
    ) -> None:
        self._puller = puller
        self._room = room
        self._came = came
        self._missed = missed
        self._idle = idle
        self._unsure = False
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._roomy = asyncio.Event()
        self._troubled = False
        self.hungry = False
        """Whether there was no room at the last look: then `wake` is due when there is some."""

    def start(self) -> "asyncio.Task[None]":
        """Begin; the task ends with `stop`, with nothing left to do, or with an error that no waiting cures."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="flashq fetch")
        return self._task

    def wake(self) -> None:
        """There may be room again."""
        self.hungry = False
        self._roomy.set()

    async def stop(self, limit_s: float) -> None:
        """Pull no more; what a parked pull still brings has been handed to ``came`` when this returns.

        Args:
            limit_s: how long a server that does not answer is waited for.
        """
        self._stopping.set()
        self._roomy.set()
        if self._task is None or self._task.done():
            return
        cut = asyncio.get_running_loop().create_task(self._give_up())
        await asyncio.wait({self._task}, timeout=limit_s)
        for task in (self._task, cut):
            task.cancel()
        await asyncio.gather(self._task, cut, return_exceptions=True)

    async def _give_up(self) -> None:
        try:
            await self._puller.give_up()
        except FlashQError as error:
            log.debug("could not give up the pull: %s", error)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            count = min(self._room(), MAX_BATCH)
            if count > 0:
                await self._pull(count)
            else:
                self.hungry = True
                self._roomy.clear()
                await self._roomy.wait()

    async def _pull(self, count: int) -> None:
        try:
            if self._unsure:
                await self._missed()
            self._unsure = True
            records = await self._puller.pull(count)
            self._unsure = False
        except (Unauthorized, Forbidden):
            raise
        except FlashQError as error:
            await self._pause(error)
            return
        if self._troubled:
            self._troubled = False
            log.info("the server answers again")
        self._backoff.lost()  # from now on the next failure is the first
        if records:
            self._came(records)
        elif self._idle is not None and self._idle():
            self._stopping.set()

    async def _pause(self, error: FlashQError) -> None:
        """Wait before the next attempt: longer from one to the next, and not alike for all workers."""
        if not self._troubled and not self._stopping.is_set():
            self._troubled = True
            log.warning("cannot pull, trying again until it works: %s", error)
        self._backoff.failed(error)
        pause_s = self._backoff.delay_ms(random()) / 1_000  # noqa: S311 - spreads workers, guards nothing
        try:
            await asyncio.wait_for(self._stopping.wait(), pause_s)
        except TimeoutError:
            return
