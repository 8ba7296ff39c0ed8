"""The worker: its parts put together, started and stopped.

::

    fetch ──records──▶ roster ──▶ executor        (the job's code) ──▶ reports ──▶ server
                       ▲    ▲         │
    beat ──ended───────┘    └─outcome─┘ ──▶ acks ──▶ server

Everything but the heartbeat and the jobs' own code happens on one event loop. Every part does one thing and knows the
next one at most. When the worker stops, what runs may finish, what never began goes back uncounted, and the server is
told goodbye, which returns whatever is left. When the server is away, what runs goes on and its outcomes wait.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from secrets import token_hex
from typing import Any, Final, Literal

from flashq.client import AsyncFlashQ
from flashq.client.results import JobRecord
from flashq.errors import BadRequest, CallTimeout, ConnectionLost, FlashQError, NotFound
from flashq.model import EndedAttempt
from flashq.protocol.limits import MAX_HOLDS, MAX_WORKER_QUEUES
from flashq.tasks import App
from flashq.worker.acks import Acks
from flashq.worker.beat import Beat
from flashq.worker.executors import WORKER_LOST, Executor, Finished
from flashq.worker.fetch import BURST_MS, PARK_MS, Fetch, Pace, Puller
from flashq.worker.inprocess import InProcess
from flashq.worker.memory import resident_mb
from flashq.worker.processes import ProcessExecutor
from flashq.worker.reports import Reports
from flashq.worker.roster import Roster
from flashq.worker.schedules import register

log = logging.getLogger("flashq.worker")

Kind = Literal["async", "thread", "process"]
KINDS: Final[tuple[Kind, ...]] = ("async", "thread", "process")

STOP_TIMEOUT_MS: Final = 30_000
"""How long running jobs may take when the worker stops: what orchestrators usually grant before they kill."""

ASYNC_CONCURRENCY: Final = 100
"""Coroutines wait most of their time; a hundred keep a loop busy and a database unharmed."""

THREADS_PER_CORE: Final = 4
MAX_THREADS: Final = 32
"""Plain functions wait too, but a thread costs memory, and all share one interpreter."""

QUIET_S: Final = 2.0
"""How long a worker waits for its server without a word about it."""

LOOK_S: Final = 1.0
"""How often a worker with a limit of jobs or memory looks at it; a limit of this kind is no exact one."""

CUT_S: Final = 2.0
FLUSH_S: Final = 5.0
BYE_MS: Final = 2_000
"""What a stop grants the server: to answer the parked pull, to take the last outcomes, to hear goodbye. One that is
away must not keep the worker from leaving; its jobs return when its silence has lasted."""


def default_concurrency(kind: Kind) -> int:
    """How many jobs run at once if nobody says."""
    cores = os.cpu_count() or 1
    return {"async": ASYNC_CONCURRENCY, "thread": min(MAX_THREADS, THREADS_PER_CORE * cores), "process": cores}[kind]


class Worker:
    """Pulls jobs of an app's queues and runs them.

    ::

        worker = Worker(app, concurrency=50)
        await worker.run()          # until somebody calls worker.stop()

    Args:
        app: whose tasks.
        queues: from where, in the order in which they are served; None: all queues of the app's tasks.
        concurrency: how many jobs run at once; None: 100 for ``async``, four for each core (at most 32) for
            ``thread``, one for each core for ``process``.
        executor: where plain functions run: ``async``: in threads, beside coroutines on the loop; ``thread``: all
            jobs in threads; ``process``: each job in a child process.
        prefetch: how many jobs to take ahead; None: as many as are expected to begin within 100 ms.
        stop_timeout_ms: how long running jobs may take when the worker stops.
        name: unlike any other worker's; None: made of host, process and chance.
        max_jobs: stop after so many; ``process``: replace each child after so many; None: never.
        max_memory_mb: stop when the process occupies more; ``process``: replace a child that does; None: never.
        target: ``module:attribute`` of the app, for the child processes of ``process``.
        burst: leave when nothing is ready and nothing runs; delayed jobs are not waited for.

    Attributes:
        name, queues, concurrency, executor: as above, with the defaults filled in.

    Raises:
        BadRequest: one of these makes no sense.
    """

    def __init__(
        self,
        app: App,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        executor: Kind = "async",
        prefetch: int | None = None,
        stop_timeout_ms: int = STOP_TIMEOUT_MS,
        name: str | None = None,
        max_jobs: int | None = None,
        max_memory_mb: int | None = None,
        target: str | None = None,
        burst: bool = False,
    ) -> None:
        self.app = app
        self.queues = list(dict.fromkeys(app.queues if queues is None else queues))
        self.executor: Kind = executor
        if executor not in KINDS:
            raise BadRequest(f"Invalid: executor must be one of {', '.join(KINDS)}, not {executor!r}")
        self.concurrency = default_concurrency(executor) if concurrency is None else concurrency
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"
        self.stop_timeout_ms = stop_timeout_ms
        self._prefetch = prefetch
        self._max_jobs = max_jobs
        self._max_memory_mb = max_memory_mb
        self._target = target
        self._burst = burst
        self._check()
        self._stops = 0
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._broken: str | None = None

    async def run(self) -> None:
        """Work until `stop` is called; with ``burst`` until nothing is left to do.

        Raises:
            Unauthorized, Forbidden: the server does not let this worker in.
            BadRequest: the server refuses a schedule or the name of a queue.
            FlashQError: no child process can be started.
        """
        async with AsyncExitStack() as clients:
            pulling, telling = self.app.new_aclient(), self.app.new_aclient()
            clients.push_async_callback(pulling.close)
            clients.push_async_callback(telling.close)
            try:
                if await self._unless_stopped(self._greet(pulling, telling)):
                    await self._work(pulling, telling)
            finally:
                await self._bye(telling)
        if self._broken is not None:
            raise FlashQError(self._broken)

    def stop(self) -> None:
        """Stop in good order: running jobs may finish, others go back. A second call: at once. On the loop only."""
        self._stops += 1
        (self._stopping if self._stops == 1 else self._hurrying).set()

    @property
    def server(self) -> str:
        """Where its server is, as a URL without the token."""
        return self.app.new_client().address

    @property
    def hurried(self) -> bool:
        """Whether it was told to stop at once."""
        return self._hurrying.is_set()

    def _check(self) -> None:
        if not self.queues:
            raise BadRequest("Invalid: there is no queue to pull from: the app has no tasks")
        if len(self.queues) > MAX_WORKER_QUEUES:
            raise BadRequest(f"Invalid: {len(self.queues)} queues (max {MAX_WORKER_QUEUES})")
        if self.executor == "process" and self._target is None:
            raise BadRequest("Invalid: executor 'process' needs the app's target, as 'module:attribute'")
        for what, number, least in (
            ("concurrency", self.concurrency, 1),
            ("prefetch", self._prefetch, 0),
            ("max_jobs", self._max_jobs, 1),
            ("max_memory_mb", self._max_memory_mb, 1),
            ("stop_timeout_ms", self.stop_timeout_ms, 0),
        ):
            if number is not None and number < least:
                raise BadRequest(f"Invalid: {what} must be at least {least}, not {number}")

    # --- start ---

    async def _greet(self, pulling: AsyncFlashQ, telling: AsyncFlashQ) -> None:
        """Say hello and register the schedules, as soon as there is a server."""
        impatience = asyncio.get_running_loop().call_later(QUIET_S, log.warning, "waiting for the server")
        try:
            while not await self._greeted(pulling, telling):
                pass
        finally:
            impatience.cancel()

    async def _greeted(self, pulling: AsyncFlashQ, telling: AsyncFlashQ) -> bool:
        try:
            await self._hello(pulling)
            await register(self.app, telling)
            return True
        except (ConnectionLost, CallTimeout) as error:
            log.warning("no server yet, trying again until there is one: %s", error)
            return False  # the client has waited before it gave up, and waits again

    async def _hello(self, client: AsyncFlashQ, holds: Sequence[JobRecord] | None = None) -> None:
        host, pid = socket.gethostname(), os.getpid()
        await client.hello(self.name, self.queues, self.concurrency, host=host, pid=pid, holds=holds)

    async def _reconcile(self, pulling: AsyncFlashQ) -> None:
        """Tell the server which jobs are here; those of an answer that was lost on its way go back."""
        held = self._roster.records() + self._acks.records()
        await self._hello(pulling, held if len(held) <= MAX_HOLDS else None)

    # --- work ---

    async def _work(self, pulling: AsyncFlashQ, telling: AsyncFlashQ) -> None:
        self._build(pulling, telling)
        watching = asyncio.create_task(self._watch_limits())
        try:
            if await self._unless_stopped(self._roster.executor.open()):
                self._beat.start()
                await self._until_stopped(self._fetch.start())
        finally:
            watching.cancel()
            await self._leave()

    def _build(self, pulling: AsyncFlashQ, telling: AsyncFlashQ) -> None:
        """Make the parts and tell each of the next."""
        self._loop = asyncio.get_running_loop()
        self._acks = Acks(telling, self._room_again)
        self._reports = Reports(telling, lambda record, reason: self._roster.end(record.id, record.token, reason))
        pace = Pace(self.concurrency, self._prefetch)
        self._roster = Roster(self.concurrency, pace, self._acks, self._hungry, self._make_executor)
        puller = Puller(pulling, self.queues, BURST_MS if self._burst else PARK_MS)
        idle = self._idle if self._burst else None
        self._fetch = Fetch(puller, self._roster.room, self._roster.take, lambda: self._reconcile(pulling), idle)
        self._beat = Beat(
            self.app.new_client(),
            self.name,
            lambda attempts: self._on_loop(self._ended, attempts),
            lambda: self._on_loop(self._unknown, pulling),
        )

    def _idle(self) -> bool:
        """Whether no job is here and every outcome is told: what ran may have enqueued more until then."""
        return not self._roster.running and not self._roster.records() and not self._acks.records()

    def _room_again(self) -> None:
        self._roster.look_again()

    def _hungry(self) -> None:
        self._fetch.wake()

    def _make_executor(self, finished: Finished) -> Executor:
        links = self._reports.link
        if self.executor != "process":
            return InProcess(self.app, self.concurrency, finished, links, on_loop=self.executor == "async")
        assert self._target is not None
        limits = {"max_jobs": self._max_jobs, "max_memory_mb": self._max_memory_mb}
        return ProcessExecutor(self._target, self.concurrency, finished, links, self._give_up, **limits)

    async def _watch_limits(self) -> None:
        """Stop when this process has done enough, or has grown too large; child processes look for themselves."""
        if self.executor == "process" or not (self._max_jobs or self._max_memory_mb):
            return
        while True:
            await asyncio.sleep(LOOK_S)
            if self._max_jobs and self._roster.ended >= self._max_jobs:
                why = f"{self._roster.ended} jobs have ended here (max {self._max_jobs})"
            elif self._max_memory_mb and (resident := resident_mb()) > self._max_memory_mb:
                why = f"{resident} MiB resident (max {self._max_memory_mb})"
            else:
                continue
            log.info("leaving: %s", why)
            self._stopping.set()

    def _give_up(self, why: str) -> None:
        """Nothing can run here."""
        self._broken = why
        self._stopping.set()

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        """Call something on the loop, from the heartbeat's thread."""
        with suppress(RuntimeError):  # the loop has just been closed
            self._loop.call_soon_threadsafe(function, *arguments)

    def _ended(self, attempts: Sequence[EndedAttempt]) -> None:
        for attempt in attempts:
            self._roster.end(attempt.id, attempt.token, attempt.reason)

    def _unknown(self, pulling: AsyncFlashQ) -> None:
        """The server has taken this worker for dead and given its jobs away: begin anew."""
        log.warning("the server had given this worker up: its jobs are cancelled, and it says hello again")
        self._roster.end_all(WORKER_LOST)
        self._greeting = self._loop.create_task(self._hello_again(pulling))

    async def _hello_again(self, pulling: AsyncFlashQ) -> None:
        try:
            await self._hello(pulling)
        except FlashQError as error:
            log.warning("could not say hello again; the next heartbeat tries it once more: %s", error)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do this, but give it up when told to stop; gives whether it was done."""
        task = asyncio.create_task(work)
        try:
            return await self._until_stopped(task)
        finally:
            task.cancel()

    async def _until_stopped(self, work: "asyncio.Task[None]") -> bool:
        """Wait for the end of something, or until told to stop; gives whether it has ended.

        Raises:
            FlashQError: it ended with that.
        """
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not work.done():
            return False
        work.result()
        return True

    # --- stop ---

    async def _leave(self) -> None:
        log.info("stopping: %d jobs run", self._roster.running)
        self._roster.close()  # first: what the parked pull still brings must not begin
        await self._fetch.stop(CUT_S)
        abandoned = await self._stop_executor()
        if abandoned:
            log.warning("%d jobs did not end in time and go back uncounted", len(abandoned))
        self._beat.stop()
        untold = await self._acks.flush(FLUSH_S)
        if untold:
            log.warning("the server was not told of %d outcomes: their jobs will run again", untold)
        log.info("stopped: %d jobs ended here", self._roster.ended)

    async def _bye(self, telling: AsyncFlashQ) -> None:
        """Say goodbye, also if a stop came in the middle of the hello: nobody knows whether the server heard it."""
        try:
            await telling.with_options(call_timeout_ms=BYE_MS).bye(self.name)
        except NotFound:
            log.debug("the server did not know this worker")
        except FlashQError as error:
            log.warning("could not say goodbye, the server will miss this worker later: %s", error)

    async def _stop_executor(self) -> list[JobRecord]:
        """Let what runs come to its end, until it takes too long or somebody is in a hurry."""
        stopping = asyncio.create_task(self._roster.executor.stop(self.stop_timeout_ms))
        hurrying = asyncio.create_task(self._hurrying.wait())
        try:
            await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurrying.cancel()
        if stopping.done():
            return stopping.result()
        stopping.cancel()
        await asyncio.wait({stopping})
        return await self._roster.executor.stop(0)
