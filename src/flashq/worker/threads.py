"""Plain functions in threads of our own.

``run_in_executor`` costs a future, a lock and a wake-up of the loop for each job. Here a job is one entry in a queue,
and what the threads have finished by the time the loop looks is taken over at once: many short jobs cost one wake-up.

A thread cannot be ended from outside. A job whose time is over is reported with the place where it hangs, its context
says so to code that asks (`Context.check`, ``progress``, ``heartbeat``), and its thread stays taken until the function
returns. Where that is not enough, the process executor kills.
"""

import asyncio
import contextvars
import logging
import sys
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from traceback import format_stack

from flashq.client.results import JobRecord
from flashq.tasks.outcome import Failed, Gone, Outcome
from flashq.tasks.run import Prepared, describe, run_async, run_plain
from flashq.worker.executors import TIMED_OUT, Finished

log = logging.getLogger("flashq.worker")


class _Running:
    """A job that waits for a thread, or has one.

    Attributes:
        thread: the number of the thread that runs it; None before and after.
        loop, task: where its coroutine runs, if it is one.
    """

    __slots__ = ("loop", "outcome", "prepared", "record", "task", "thread")

    def __init__(self, record: JobRecord, prepared: Prepared) -> None:
        self.record = record
        self.prepared = prepared
        self.outcome: Outcome = Gone()
        self.thread: int | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Outcome] | None = None


class Threads:
    """A bounded number of threads, started when they are first needed.

    Args:
        count: threads at most; never more jobs than that may run at once.
        finished: told of the end of each job, on the running loop.
    """

    def __init__(self, count: int, finished: Finished) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = count
        self._finished = finished
        self._context = contextvars.copy_context()
        self._due: SimpleQueue[_Running | None] = SimpleQueue()
        self._ended: deque[_Running] = deque()
        self._woken = False
        self._running: dict[int, _Running] = {}  # by the record's identity
        self._threads: list[threading.Thread] = []
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, record: JobRecord, prepared: Prepared) -> None:
        """Begin a job that is ready to run."""
        running = self._running[id(record)] = _Running(record, prepared)
        self._idle.clear()
        if len(self._running) > len(self._threads) and len(self._threads) < self._count:
            self._add_thread()
        self._due.put(running)

    def cancel(self, record: JobRecord, reason: str) -> None:
        """Tell the job's code by its context; cancel it if it is a coroutine."""
        running = self._running.get(id(record))
        if running is None:
            return
        running.prepared.context.cancel(reason)
        loop, task = running.loop, running.task
        if loop is not None and task is not None:
            with suppress(RuntimeError):  # that loop has just ended
                loop.call_soon_threadsafe(task.cancel, reason)
        elif reason == TIMED_OUT:
            self._report(running)

    async def stop(self, timeout_ms: int) -> list[JobRecord]:
        """Wait for what runs; leave behind what still runs then. See `Executor.stop`."""
        if timeout_ms:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_ms / 1_000)
        left = list(self._running.values())
        for running in left:
            self.cancel(running.record, "the worker stops")
        self._running.clear()
        for _ in self._threads:
            self._due.put(None)
        return [running.record for running in left]

    # on the loop

    def _add_thread(self) -> None:
        # Daemons: a function that never returns must not keep the process from ending.
        thread = threading.Thread(target=self._work, name=f"flashq job {len(self._threads) + 1}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _collect(self) -> None:
        """Take over what has ended. The flag first: what ends from here on wakes the loop again."""
        self._woken = False
        while self._ended:
            running = self._ended.popleft()
            if self._running.pop(id(running.record), None) is not None:
                self._finished(running.record, running.outcome)
        if not self._running:
            self._idle.set()

    def _report(self, running: _Running) -> None:
        frame = sys._current_frames().get(running.thread or 0)  # noqa: SLF001 - the only way to see another thread
        stack = "".join(format_stack(frame)) if frame is not None else "it has no thread"
        message = "timed out, and a thread cannot be ended: its place stays taken until the function returns"
        log.warning(message, extra={"flashq": running.prepared.context.facts(), "trace": stack})

    # in the threads

    def _work(self) -> None:
        number = threading.get_ident()
        with asyncio.Runner() as runner:  # makes its loop when the first coroutine comes
            while (running := self._due.get()) is not None:
                running.thread = number
                running.outcome = self._outcome(running, runner)
                running.thread = None
                self._ended.append(running)
                del running
                if not self._woken:
                    self._woken = True
                    with suppress(RuntimeError):  # left behind: the worker's loop is closed
                        self._loop.call_soon_threadsafe(self._collect)

    def _outcome(self, running: _Running, runner: asyncio.Runner) -> Outcome:
        prepared = running.prepared
        if prepared.context.cancelled:
            return Gone()
        # Every job sees the variables of the worker and changes its own copy of them.
        context = self._context.copy()
        try:
            if prepared.is_async:
                return runner.run(_coroutine(running), context=context)
            return context.run(run_plain, prepared)
        except BaseException as error:
            return Failed(describe(error))


async def _coroutine(running: _Running) -> Outcome:
    running.loop, running.task = asyncio.get_running_loop(), asyncio.current_task()
    if running.prepared.context.cancelled:  # before there was a task to cancel
        return Gone()
    try:
        return await run_async(running.prepared)
    finally:
        running.task = None
