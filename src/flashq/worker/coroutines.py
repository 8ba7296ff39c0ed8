"""Coroutine functions on the worker's own loop, a task of asyncio for each.

A coroutine that awaits costs next to nothing while it does, so hundreds may run at once. Each gets a task of its own,
so that its context variables, its timeouts and its cancellation are its own; calling it without one would be faster and
would break every library that asks for the current task.
"""

import asyncio

from flashq.client.results import JobRecord
from flashq.tasks.outcome import Failed, Gone, Outcome
from flashq.tasks.run import Prepared, describe, run_async
from flashq.worker.executors import CANCEL_GRACE_MS, Finished


class _Running:
    """A coroutine's job on the loop."""

    __slots__ = ("begun", "prepared", "record", "task")

    def __init__(self, record: JobRecord, prepared: Prepared) -> None:
        self.record = record
        self.prepared = prepared
        self.begun = False
        self.task: asyncio.Task[None] | None = None


class Coroutines:
    """Runs coroutine functions as tasks of the running loop.

    Args:
        finished: told of the end of each job.
    """

    def __init__(self, finished: Finished) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = finished
        self._running: dict[int, _Running] = {}  # by the record's identity

    def start(self, record: JobRecord, prepared: Prepared) -> None:
        """Begin a job that is ready to run."""
        running = self._running[id(record)] = _Running(record, prepared)
        running.task = self._loop.create_task(self._run(running))

    def cancel(self, record: JobRecord, reason: str) -> None:
        """Cancel the job's coroutine at its next await."""
        running = self._running.get(id(record))
        if running is None:
            return
        running.prepared.context.cancel(reason)
        # One that has not begun looks at its context first; cancelled by asyncio it would never get so far.
        if running.begun and running.task is not None:
            running.task.cancel(reason)

    async def stop(self, timeout_ms: int) -> list[JobRecord]:
        """Wait for what runs; cancel what still runs then. See `Executor.stop`."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if tasks and timeout_ms:
            await asyncio.wait(tasks, timeout=timeout_ms / 1_000)
        left = list(self._running.values())
        self._running.clear()
        for running in left:
            if running.task is not None:
                running.task.cancel("the worker stops")
        if left:
            await asyncio.wait([running.task for running in left if running.task], timeout=CANCEL_GRACE_MS / 1_000)
        return [running.record for running in left]

    async def _run(self, running: _Running) -> None:
        running.begun = True
        outcome: Outcome
        if running.prepared.context.cancelled:
            outcome = Gone()
        else:
            try:
                outcome = await run_async(running.prepared)
            except BaseException as error:
                if id(running.record) not in self._running:
                    raise  # abandoned by `stop`
                # A task that calls sys.exit, or cancels itself, ends itself and not the worker.
                outcome = Failed(describe(error))
        if self._running.pop(id(running.record), None) is not None:
            self._finished(running.record, outcome)
