"""Unit tests of `flashq.worker.coroutines`."""

import asyncio
import sys
from contextvars import ContextVar

import pytest
from tests.unit.worker.jobs import Ends, job, ready, until

from flashq import App, Context
from flashq.tasks.outcome import Done, Failed, Gone
from flashq.worker import coroutines as module
from flashq.worker.coroutines import Coroutines

app = App()
seen: ContextVar[str] = ContextVar("seen", default="nothing")


@app.task(name="work")
async def work(value: int = 0) -> int:
    """Awaits a little."""
    await asyncio.sleep(0)
    return value


@app.task(name="hang")
async def hang() -> None:
    """Ends only by cancellation."""
    await asyncio.Event().wait()


@app.task(name="stubborn")
async def stubborn() -> str:
    """Does not let itself be cancelled."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "all the same"
    return ""


@app.task(name="tidy_up")
async def tidy_up(log: list[str]) -> None:
    """Has something to do when it is cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        TIDIED.append("tidied")


@app.task(name="exit")
async def leave() -> None:
    """Calls what would end the process."""
    sys.exit(3)


@app.task(name="suicide")
async def suicide() -> None:
    """Cancels its own task."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


@app.task(name="leak")
async def leak(value: str) -> str:
    """Leaves a context variable behind."""
    before = seen.get()
    seen.set(value)
    return before


@app.task(name="where")
async def where(context: Context) -> str:
    """Names its asyncio task's job."""
    assert asyncio.current_task() is not None
    return context.task


TIDIED: list[str] = []


async def test_each_job_ends_once() -> None:
    """Every job's outcome is told, whatever the number that run at once."""
    ends = Ends()
    coroutines = Coroutines(ends)
    records = [job(id, args=(id,)) for id in range(50)]
    for record in records:
        coroutines.start(record, ready(app, record))
    await ends.come(50)
    assert {record.id: outcome for record, outcome in ends.all} == {id: Done(b"%d" % id) for id in range(50)}
    assert await coroutines.stop(0) == []


async def test_jobs_do_not_see_each_others_variables() -> None:
    """Each runs in a copy of the worker's context."""
    ends = Ends()
    coroutines = Coroutines(ends)
    for id in (1, 2):
        record = job(id, "leak", (str(id),))
        coroutines.start(record, ready(app, record))
    assert await ends.come(2) == [Done(b'"nothing"')] * 2


async def test_an_ended_attempt_is_cancelled() -> None:
    """The coroutine gets its cancellation at its await, and the server is told nothing."""
    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1, "hang")
    coroutines.start(record, ready(app, record))
    await asyncio.sleep(0)
    coroutines.cancel(record, "cancelled")
    assert await ends.come(1) == [Gone()]


async def test_cancelled_before_its_first_step() -> None:
    """A job that is cancelled in the turn in which it was started never runs, and still ends."""
    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1)
    prepared = ready(app, record)
    coroutines.start(record, prepared)
    coroutines.cancel(record, "cancelled")
    assert await ends.come(1) == [Gone()]
    assert prepared.context.reason == "cancelled"


async def test_cancelled_after_its_end() -> None:
    """A cancellation that crosses the end of the job is nobody's."""
    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1)
    coroutines.start(record, ready(app, record))
    await ends.come(1)
    coroutines.cancel(record, "cancelled")
    coroutines.cancel(job(1), "cancelled")  # of another record with the same id
    assert len(ends.all) == 1


async def test_code_that_ignores_its_cancellation() -> None:
    """It runs to its end, and what it returns counts for nothing."""
    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1, "stubborn")
    coroutines.start(record, ready(app, record))
    await asyncio.sleep(0)
    coroutines.cancel(record, "Job timed out")
    assert await ends.come(1) == [Gone()]


@pytest.mark.parametrize(("task", "error"), [("exit", "SystemExit: 3"), ("suicide", "CancelledError")])
async def test_a_job_ends_itself_and_not_the_worker(task: str, error: str) -> None:
    """sys.exit and a task that cancels itself are failures of that job."""
    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1, task)
    coroutines.start(record, ready(app, record))
    (outcome,) = await ends.come(1)
    assert isinstance(outcome, Failed)
    assert error in outcome.error


async def test_a_stop_waits_for_what_runs() -> None:
    """What ends in time ends as ever; nothing is returned."""
    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1, args=(4,))
    coroutines.start(record, ready(app, record))
    assert await coroutines.stop(5_000) == []
    assert ends.outcomes == [Done(b"4")]


async def test_a_stop_cancels_what_does_not_end() -> None:
    """It is returned and told by nobody, and its finally blocks have run."""
    TIDIED.clear()
    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1, "tidy_up", ([],))
    coroutines.start(record, ready(app, record))
    await asyncio.sleep(0)
    assert await coroutines.stop(1) == [record]
    assert TIDIED == ["tidied"]
    assert ends.all == []


async def test_a_stop_leaves_what_cannot_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that goes on after its cancellation is left behind after the grace."""
    monkeypatch.setattr(module, "CANCEL_GRACE_MS", 10)
    release = asyncio.Event()

    @app.task(name="deaf")
    async def deaf() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    ends = Ends()
    coroutines = Coroutines(ends)
    record = job(1, "deaf")
    coroutines.start(record, ready(app, record))
    await asyncio.sleep(0)
    assert await coroutines.stop(0) == [record]
    release.set()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert ends.all == []
