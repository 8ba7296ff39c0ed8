"""Running jobs in child processes: the parent's side.

For code that holds the interpreter lock, leaks memory or crashes: each job runs alone in a process of its own, which
can be killed when its time is up and whose death fails one job and no other. Children are started one by one as jobs
need them, up to the concurrency, and kept: an idle child waits on a socket and costs no time.

Everything happens on the event loop but the start of a process, a few milliseconds, and the wait for its end, which is
a thread's: a handler of SIGCHLD would have to be shared with whatever else in the program starts processes.

`multiprocessing` and `concurrent.futures` were rejected: their pools break as a whole when one child dies, their queues
have threads and locks that a killed child leaves locked, and both send jobs as pickles.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from msgspec import json

from flashq.client.results import JobRecord
from flashq.errors import FlashQError
from flashq.tasks.outcome import Failed, Gone, Outcome
from flashq.worker.deaths import how
from flashq.worker.executors import CANCEL_GRACE_MS, TIMED_OUT, Finished, LinkFor
from flashq.worker.frames import (
    Broken,
    BrokenFrame,
    Cancel,
    Down,
    Ended,
    Frames,
    Heartbeat,
    Logged,
    Progress,
    Ready,
    Run,
    Stop,
    Up,
    frame,
)

log = logging.getLogger("flashq.worker")

KILL_GRACE_MS: Final = CANCEL_GRACE_MS
"""How long the code of a job that has ended may run its ``finally`` blocks before its process is killed. Short: the
server may have given the job to somebody else already."""

START_MS: Final = 60_000
"""How long importing the app may take: what hangs longer will not end, and jobs wait for it."""

EXIT_GRACE_MS: Final = 5_000
"""How long a child that was told to leave may take: threads and ``atexit`` functions of the app run then."""

REST_MS: Final = 1_000
"""How long a process may outlive its socket, or its socket the process, before both are closed. The second happens when
a job forked: the copy holds the socket as well."""

MAX_FAILED_STARTS: Final = 5
"""Starts that fail one after another, with no child alive, until the executor gives up: some 15 s with the backoff."""

FIRST_BACKOFF_MS: Final = 1_000
LAST_BACKOFF_MS: Final = 30_000
"""Wait before the next start after one that failed, doubled each time."""

_encode: Final = json.Encoder().encode


class ChildFailed(FlashQError):
    """No child process can be started; the text says why."""


class _Attempt:
    """A job that was started, and why it was cancelled if it was."""

    __slots__ = ("child", "reason", "record")

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.child: _Child | None = None
        self.reason: str | None = None

    def outcome(self, told: Outcome) -> Outcome:
        """What to report: an attempt that was ended from outside ended so, whatever its code made of it."""
        if self.reason is None:
            return told
        return Failed(TIMED_OUT) if self.reason == TIMED_OUT else Gone()


class ProcessExecutor:
    """Runs each job in a child process; see `flashq.worker.executors.Executor`.

    Args:
        target: of the app, ``module:attribute``; each child imports it.
        concurrency: children at most.
        finished: told how each job ended.
        links: gives the link to the server for a job's progress.
        broken: told once, in one sentence, when no child can be started any more; the worker should stop.
        max_jobs: jobs after which a child is replaced; None: never.
        max_memory_mb: resident MiB from which on a child is replaced, looked at after each job; None: never.
    """

    def __init__(
        self,
        target: str,
        concurrency: int,
        finished: Finished,
        links: LinkFor,
        broken: Callable[[str], None],
        *,
        max_jobs: int | None = None,
        max_memory_mb: int | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._finished = finished
        self._links = links
        self._broken = broken
        self._target = target
        self._limits = (str(max_jobs or 0), str(max_memory_mb or 0))
        self._loop = asyncio.get_running_loop()
        self._attempts: dict[int, _Attempt] = {}  # by the identity of the record, which the attempt keeps alive
        self._waiting: deque[_Attempt] = deque()
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()  # those that run jobs, wait for one, or start
        self._ending: set[_Child] = set()  # those that get no job any more and have not ended yet
        self._starting = 0
        self._failed_starts = 0
        self._pause: asyncio.TimerHandle | None = None
        self._opened: asyncio.Future[None] | None = None
        self._changed = asyncio.Event()
        self._left: list[JobRecord] = []
        self._stopping = False

    # --- what the worker calls ---

    async def open(self) -> None:
        """Start the first child and wait until it has imported the app, so that a fault of the app shows at once.

        Raises:
            ChildFailed: it could not.
        """
        self._opened = self._loop.create_future()
        self._start_child()
        await self._opened

    def start(self, record: JobRecord) -> None:
        """Begin a job, in an idle child or in a new one."""
        attempt = self._attempts[id(record)] = _Attempt(record)
        if self._idle:
            self._idle.pop().run(attempt)  # the last used: its memory is warm, and the others may be swapped out
        else:
            self._waiting.append(attempt)
            self._grow()

    def cancel(self, record: JobRecord, reason: str) -> None:
        """End a job: `Cancelled` is raised in its code, and `KILL_GRACE_MS` later its process is killed."""
        attempt = self._attempts.get(id(record))
        if attempt is None or attempt.reason is not None:
            return
        attempt.reason = reason
        if attempt.child is not None:
            attempt.child.cancel(reason)
        else:
            self._waiting.remove(attempt)
            self._loop.call_soon(self._finish, attempt, Gone())

    async def stop(self, timeout_ms: int) -> list[JobRecord]:
        """Wait for what runs, then end what still does as `cancel` ends it, then end the children.

        A job for which no child was ready yet is not begun any more.

        Args:
            timeout_ms: how long to wait for running jobs; ending what is left takes up to `KILL_GRACE_MS`, and
                `EXIT_GRACE_MS` more where a child does not leave.

        Returns:
            The jobs that were not done.
        """
        self._stopping = True
        if self._pause is not None:
            self._pause.cancel()
        self._abandon(list(self._waiting))
        self._waiting.clear()
        await self._wait_until(lambda: not self._attempts, timeout_ms)
        for attempt in self._abandon(list(self._attempts.values())):
            if attempt.child is not None:
                attempt.child.cancel(attempt.reason or "the worker stops")
        for child in list(self._children):
            child.leave()
        await self._wait_until(lambda: not (self._children or self._ending), KILL_GRACE_MS + EXIT_GRACE_MS + REST_MS)
        return self._left

    def _abandon(self, attempts: list[_Attempt]) -> list[_Attempt]:
        """Report these no more, whatever becomes of them; kept, since a stop that is given up is begun again."""
        for attempt in attempts:
            del self._attempts[id(attempt.record)]
            self._left.append(attempt.record)
        return attempts

    async def _wait_until(self, reached: Callable[[], bool], timeout_ms: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1_000):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()

    # --- what happens to children ---

    def _grow(self) -> None:
        """Start a child for each job that none is coming for."""
        while (
            not self._stopping
            and self._pause is None
            and self._starting < len(self._waiting)
            and len(self._children) < self._concurrency
        ):
            self._start_child()

    def _start_child(self) -> None:
        self._starting += 1
        child = _Child(self)
        self._children.add(child)
        child.open(self._loop, self._target, self._limits)

    def ready(self, child: "_Child") -> None:
        """A child has imported the app."""
        self._starting -= 1
        self._failed_starts = 0
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        if child in self._children:
            self.free(child)

    def free(self, child: "_Child") -> None:
        """A child has nothing to do."""
        if self._waiting:
            child.run(self._waiting.popleft())
        elif self._stopping:
            child.leave()
        else:
            self._idle.append(child)

    def ended(self, child: "_Child", attempt: _Attempt, outcome: Outcome, leaving: str) -> None:
        """A child's job is over."""
        if leaving:
            log.info("a child process is replaced after %s", leaving, extra={"flashq": {"child": child.pid}})
            child.leave()
        elif child in self._children:
            self.free(child)
        self._finish(attempt, outcome)

    def retire(self, child: "_Child") -> None:
        """A child gets no job any more: it leaves, or is being killed."""
        if child in self._children:
            self._children.discard(child)
            self._ending.add(child)
            if child in self._idle:
                self._idle.remove(child)
            self._grow()

    def died(self, child: "_Child", attempt: _Attempt | None, why: str, *, started: bool) -> None:
        """A child's process has ended, for whatever reason."""
        self._children.discard(child)
        self._ending.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if not started:
            self._starting -= 1
            self._start_failed(why)
        elif attempt is None and not child.leaving:
            log.warning("an idle child process died: %s", why, extra={"flashq": {"child": child.pid}})
        if attempt is not None:
            self._finish(attempt, Failed(f"worker child process died: {why}"))
        self._changed.set()
        self._grow()

    def link(self, attempt: _Attempt, said: Progress | Heartbeat) -> None:
        """A job has something to tell the server."""
        if id(attempt.record) not in self._attempts or attempt.reason is not None:
            return
        link = self._links(attempt.record)
        if isinstance(said, Progress):
            link.progress(said.percent, said.message)
        else:
            link.heartbeat()

    def _finish(self, attempt: _Attempt, outcome: Outcome) -> None:
        """Report a job, unless a stop has given it up."""
        if self._attempts.pop(id(attempt.record), None) is not None:
            self._finished(attempt.record, attempt.outcome(outcome))
        self._changed.set()

    def _start_failed(self, why: str) -> None:
        """Try again later; give up when nothing else can be expected."""
        self._failed_starts += 1
        sentence = f"a child process did not start: {why}"
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(ChildFailed(sentence))
            return
        if self._stopping:
            return
        log.error("%s", sentence)
        if self._failed_starts >= MAX_FAILED_STARTS and not self._children:
            self._stopping = True
            self._broken(f"no child process can be started any more: {why}")
        elif self._pause is None:
            wait_ms = min(FIRST_BACKOFF_MS << (self._failed_starts - 1), LAST_BACKOFF_MS)
            self._pause = self._loop.call_later(wait_ms / 1_000, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._grow()


class _Child(asyncio.Protocol):
    """One child process: its socket, its end, and the job that it runs.

    Attributes:
        leaving: whether it was told to leave.
    """

    def __init__(self, owner: ProcessExecutor) -> None:
        self._owner = owner
        self._frames: Frames[Up] = Frames(Up)
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._attempt: _Attempt | None = None
        self._jobs = 0
        self._started = False
        self.leaving = False
        self._why: str | None = None
        self._code: int | None = None
        self._eof = False
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[object] | None = None

    @property
    def pid(self) -> int:
        """The process; 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    # --- life ---

    def open(self, loop: asyncio.AbstractEventLoop, target: str, limits: tuple[str, str]) -> None:
        """Start the process, in a process group of its own: Ctrl-C in a terminal is for the worker to obey."""
        self._loop = loop
        try:
            ours = self._start_process(target, limits)
        except OSError as error:
            why = str(error)
            loop.call_soon(lambda: self._owner.died(self, None, why, started=False))
            return
        threading.Thread(target=self._await_exit, name=f"flashq-child-{self.pid}", daemon=True).start()
        self._opening = loop.create_task(self._connect(ours))
        self._arm(START_MS, self._too_slow)

    def _start_process(self, target: str, limits: tuple[str, str]) -> socket.socket:
        ours, theirs = socket.socketpair()
        descriptor = theirs.fileno()
        level = logging.getLogger().getEffectiveLevel()
        command = [sys.executable, "-m", "flashq.worker.child", target, str(descriptor), str(level), *limits]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], process_group=0
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    async def _connect(self, ours: socket.socket) -> None:
        await self._loop.create_unix_connection(lambda: self, sock=ours)

    def _too_slow(self) -> None:
        self._why = f"the app was not imported within {START_MS // 1_000} s"
        self.kill()

    def _await_exit(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._exited, code)

    def _exited(self, code: int) -> None:
        self._code = code
        if self._eof:
            self._over()
        else:  # what it said last is still on the way
            self._arm(REST_MS, self._hang_up)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is served by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not descend from asyncio's

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own signature
        """The process has ended, or closed what it should not have."""
        self._eof = True
        if self._code is not None:
            self._over()
        else:
            self._owner.retire(self)
            self._arm(REST_MS if not self.leaving else EXIT_GRACE_MS, self.kill)

    def _over(self) -> None:
        self._disarm()
        attempt, self._attempt = self._attempt, None
        assert self._code is not None
        self._owner.died(self, attempt, self._why or how(self._code), started=self._started)

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        else:
            self.connection_lost(None)

    def kill(self) -> None:
        """End the process and those that its job has started."""
        self._owner.retire(self)
        if self._code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _arm(self, wait_ms: int, then: Callable[[], None]) -> None:
        """One thing at a time is waited for."""
        self._disarm()
        self._timer = self._loop.call_later(wait_ms / 1_000, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # --- jobs ---

    def run(self, attempt: _Attempt) -> None:
        """Run a job; only when ready and free."""
        self._attempt = attempt
        attempt.child = self
        try:
            self._say(Run(_encode(attempt.record)))
            self._jobs += 1
        except BrokenFrame as error:
            self._attempt = None
            self._loop.call_soon(self._owner.ended, self, attempt, Failed(str(error), dead=True), "")

    def cancel(self, reason: str) -> None:
        """End the job that runs, in one way or another."""
        assert self._attempt is not None
        self._say(Cancel(self._attempt.record.id, reason))
        self._arm(KILL_GRACE_MS, self.kill)

    def leave(self) -> None:
        """Leave after the job that runs, if one does."""
        self.leaving = True
        self._owner.retire(self)
        if not self._started:
            self.kill()
            return
        self._say(Stop())
        if self._attempt is None:
            self._arm(EXIT_GRACE_MS, self.kill)

    def _say(self, said: Down) -> None:
        if self._transport is not None and not self._eof:
            self._transport.write(frame(said))

    # --- what it says ---

    def data_received(self, data: bytes) -> None:
        """Some of what it says."""
        try:
            for said in self._frames.feed(data):
                self._hear(said)
        except BrokenFrame as error:
            self._why = f"it said what nobody understands: {error}"
            log.warning("a child process is killed: %s", self._why, extra={"flashq": {"child": self.pid}})
            self.kill()

    def _hear(self, said: Up) -> None:
        match said:
            case Ready():
                self._disarm()
                self._started = True
                self._owner.ready(self)
            case Broken(error):
                self._why = error
            case Ended(outcome, leaving):
                self._end_job(outcome, leaving)
            case Progress() | Heartbeat():
                if self._attempt is not None and said.job == self._jobs:
                    self._owner.link(self._attempt, said)
            case Logged():
                _log_for(said, self.pid)

    def _end_job(self, outcome: Outcome, leaving: str) -> None:
        attempt, self._attempt = self._attempt, None
        self._disarm()
        if self.leaving:
            self._arm(EXIT_GRACE_MS, self.kill)
        if attempt is not None:
            self._owner.ended(self, attempt, outcome, leaving)


def _log_for(said: Logged, pid: int) -> None:
    """Write a child's line as if it had been said here."""
    logger = logging.getLogger(said.name)
    if not logger.isEnabledFor(said.level):
        return
    facts = {"flashq": {**said.facts, "child": pid}}
    trace = said.trace or None
    logger.handle(logger.makeRecord(said.name, said.level, "", 0, said.message, (), None, extra=facts, sinfo=trace))
