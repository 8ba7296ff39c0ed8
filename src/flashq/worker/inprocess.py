"""The executors ``async`` and ``thread``: jobs run in the worker's own process.

``async``: coroutine functions on the worker's loop, plain functions in threads. ``thread``: everything in threads, each
of which runs coroutines on a loop of its own, so that a coroutine that blocks hinders nobody.
"""

import asyncio
from itertools import chain

from flashq.client.results import JobRecord
from flashq.tasks import App
from flashq.tasks.outcome import Failed
from flashq.tasks.run import prepare
from flashq.worker.coroutines import Coroutines
from flashq.worker.executors import Finished, LinkFor
from flashq.worker.threads import Threads


class InProcess:
    """An `Executor` of threads, and of the running loop.

    Args:
        app: whose tasks.
        concurrency: threads at most.
        finished: told of the end of each job.
        links: how a job's code reaches the server.
        on_loop: whether coroutine functions run on the running loop.
    """

    def __init__(self, app: App, concurrency: int, finished: Finished, links: LinkFor, *, on_loop: bool) -> None:
        self._app = app
        self._finished = finished
        self._links = links
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(concurrency, finished)
        self._coroutines = Coroutines(finished)
        self._on_loop = on_loop

    async def open(self) -> None:
        """Nothing is to be got ready."""

    def start(self, record: JobRecord) -> None:
        """Begin a job; see `Executor`."""
        prepared = prepare(self._app, record, self._links(record))
        if isinstance(prepared, Failed):
            # Not at once: whoever starts a thousand such jobs would find himself a thousand calls deep.
            self._loop.call_soon(self._finished, record, prepared)
        elif self._on_loop and prepared.is_async:
            self._coroutines.start(record, prepared)
        else:
            self._threads.start(record, prepared)

    def cancel(self, record: JobRecord, reason: str) -> None:
        """Reach a job's code; see `Executor`."""
        self._coroutines.cancel(record, reason)
        self._threads.cancel(record, reason)

    async def stop(self, timeout_ms: int) -> list[JobRecord]:
        """Wait for what runs; see `Executor`."""
        left = await asyncio.gather(self._coroutines.stop(timeout_ms), self._threads.stop(timeout_ms))
        return list(chain.from_iterable(left))
