"""Runs the jobs of an app inside a test: one after the other, in the test's thread, by the worker's own functions.

What a job does, how its arguments are read, what its failure means and what the server is told are as in a worker; only
the pulling is simpler: the next ready job of all queues, until none is ready.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Final

from msgspec import Raw, Struct, json

from flashq.client import FlashQ
from flashq.client.results import JobRecord
from flashq.tasks import App, Context, Middleware, Retry
from flashq.tasks.outcome import Done, Failed, Outcome, Snoozed
from flashq.tasks.run import Prepared, prepare, run_async, run_plain
from flashq.testing.enqueued import envelope
from flashq.testing.link import ENDED, DirectLink
from flashq.testing.server import LocalServer

MAX_RUNS: Final = 10_000
"""Jobs that one drain runs: more are most likely jobs that enqueue each other for ever."""


class TaskFailed(AssertionError):
    """A job failed without an exception of its task: an unknown task, or arguments that do not fit."""


class Ran(Struct):
    """One attempt that a drain has run.

    Attributes:
        id: the job's.
        queue: where it was.
        task: the task's name; empty for a payload that is not that of a task.
        attempt: 1 for the first.
        outcome: what the server was told.
        error: what the task raised, if it did.
    """

    id: int
    queue: str
    task: str
    attempt: int
    outcome: Outcome
    error: BaseException | None = None

    @property
    def result(self) -> Any:  # noqa: ANN401 - whatever the task returned
        """What the task returned, as it is read back from JSON; None if it failed."""
        if isinstance(self.outcome, Done) and self.outcome.result is not None:
            return json.decode(self.outcome.result)
        return None


class Catch(Middleware):
    """Notes what tasks raise, which an outcome has only as text. Attributes: ``error``: of the newest job."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def around_run(self, context: Context) -> AbstractContextManager[Any]:
        """Look at what passes, and let it pass."""
        del context
        return self._look()

    @contextmanager
    def _look(self) -> Iterator[None]:
        self.error = None
        try:
            yield
        except BaseException as error:
            self.error = error
            raise


class Drain:
    """One drain: takes jobs, and tells the server what became of them. Running them is left to the caller.

    Attributes:
        ran: the attempts so far.
    """

    def __init__(
        self, server: LocalServer, app: App, catch: Catch, *, queues: Sequence[str] | None, advance: bool, raises: bool
    ) -> None:
        self.ran: list[Ran] = []
        self._server = server
        self._app = app
        self._catch = catch
        self._client: FlashQ = server.client()
        self._queues = queues
        self._advance = advance
        self._raises = raises

    def __enter__(self) -> "Drain":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def run(self) -> list[Ran]:
        """Run everything in this thread, coroutines on a loop of their own."""
        with ExitStack() as stack:
            runner: asyncio.Runner | None = None
            for record, prepared in self._jobs():
                if not prepared.is_async:
                    self._tell(record, run_plain(prepared))
                    continue
                if runner is None:
                    runner = stack.enter_context(_runner())
                    stack.callback(runner.run, self._app.aclose())
                self._tell(record, runner.run(run_async(prepared)))
        return self.ran

    async def arun(self) -> list[Ran]:
        """Run everything on the running loop; plain functions block it."""
        for record, prepared in self._jobs():
            self._tell(record, await run_async(prepared) if prepared.is_async else run_plain(prepared))
        return self.ran

    def _jobs(self) -> Iterator[tuple[JobRecord, Prepared]]:
        """What is to be run, one by one; `_tell` must be called before the next."""
        while (record := self._next()) is not None:
            if len(self.ran) >= MAX_RUNS:
                raise AssertionError(
                    f"more than {MAX_RUNS} jobs were run, the newest of task {self.ran[-1].task!r}: "
                    "they seem to enqueue each other for ever"
                )
            link = DirectLink(self._client, record)
            prepared = prepare(self._app, record, link)
            self._catch.error = None
            if isinstance(prepared, Failed):
                self._tell(record, prepared)
                continue
            link.context = prepared.context
            yield record, prepared

    def _tell(self, record: JobRecord, outcome: Outcome) -> None:
        """The outcome of a job: to the server, and to the test if it failed and that is not let pass."""
        settle(self._client, record, outcome)
        error = self._catch.error
        self.ran.append(Ran(record.id, record.queue, _task_name(record), record.attempts + 1, outcome, error))
        if self._raises and isinstance(outcome, Failed) and not isinstance(error, Retry):
            raise error or TaskFailed(f"job {record.id}: {outcome.error}")

    def _next(self) -> JobRecord | None:
        while True:
            record = self._pulled()
            if record is not None or not self._advance or not self._client.stats().delayed:
                return record
            due = self._server.clock.next_due
            if due is None:
                return None
            self._server.clock.advance(due)

    def _pulled(self) -> JobRecord | None:
        for queue in self._in_order():
            record = self._client.pull(queue, timeout=0)
            if record is not None:
                return record
        return None

    def _in_order(self) -> list[str]:
        if self._queues is not None:
            return list(self._queues)
        filled = [queue.name for queue in self._client.queues() if queue.pending]
        known = self._app.queues
        return sorted(filled, key=lambda name: known.index(name) if name in known else len(known))


def _runner() -> asyncio.Runner:
    """A loop for coroutine tasks.

    Raises:
        RuntimeError: there is one in this thread already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.Runner()
    raise RuntimeError("coroutine tasks are to be run inside a coroutine: use `await flashq_app.adrain()`")


def settle(client: FlashQ, record: JobRecord, outcome: Outcome) -> None:
    """Tell the server how an attempt ended; one that it has ended itself needs no telling."""
    with suppress(*ENDED):
        match outcome:
            case Done(result=result):
                client.ack(record, None if result is None else Raw(result))
            case Failed(error=error, delay=delay, dead=dead):
                client.fail(record, error, delay=delay, dead=dead)
            case Snoozed(delay=delay):
                client.release(record, delay=delay)


def _task_name(record: JobRecord) -> str:
    read = envelope(record)
    return "" if read is None else read.task
