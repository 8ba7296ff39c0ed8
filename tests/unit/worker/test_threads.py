"""Unit tests of `flashq.worker.threads`."""

import asyncio
import logging
import sys
import threading
from contextvars import ContextVar

import pytest
from tests.unit.worker.jobs import Ends, job, ready, until, wait_for

from flashq import App, Context
from flashq.tasks.outcome import Done, Failed, Gone
from flashq.worker.executors import TIMED_OUT
from flashq.worker.threads import Threads

app = App()
seen: ContextVar[str] = ContextVar("seen", default="nothing")
begun = threading.Semaphore(0)
go = threading.Event()


@pytest.fixture(autouse=True)
def fresh() -> None:
    """No test begins with what another left."""
    go.clear()
    while begun.acquire(blocking=False):
        pass


@app.task(name="work")
def work(value: int = 0) -> int:
    """The plainest job."""
    return value


@app.task(name="block")
def block() -> str:
    """Blocks its thread until the test lets it go."""
    begun.release()
    wait_for(go)
    return "let go"


@app.task(name="obedient")
def obedient(context: Context) -> None:
    """Asks again and again whether it may go on."""
    begun.release()
    while True:
        context.check()
        go.wait(0.001)


@app.task(name="exit")
def leave() -> None:
    """Calls what would end the process."""
    sys.exit(3)


@app.task(name="leak")
def leak(value: str) -> str:
    """Leaves a context variable behind."""
    before = seen.get()
    seen.set(value)
    return before


@app.task(name="coroutine")
async def coroutine(value: int) -> int:
    """Runs on a loop of the thread."""
    await asyncio.sleep(0)
    return value


@app.task(name="hang")
async def hang() -> None:
    """A coroutine that ends only by cancellation."""
    begun.release()
    await asyncio.Event().wait()


async def have_begun(count: int) -> None:
    """Wait until so many jobs have told that they run."""
    for _ in range(count):
        assert await asyncio.to_thread(begun.acquire, timeout=10)


async def test_each_job_ends_once() -> None:
    """Many short jobs in few threads: every outcome is told, and no more threads are there than were granted."""
    ends = Ends()
    threads = Threads(4, ends)
    for round in range(50):
        for id in range(4):
            record = job(4 * round + id, args=(4 * round + id,))
            threads.start(record, ready(app, record))
        await ends.come(4 * round + 4)
    assert sorted(record.id for record, _ in ends.all) == list(range(200))
    assert all(outcome == Done(b"%d" % record.id) for record, outcome in ends.all)
    assert len(threads._threads) <= 4
    assert await threads.stop(0) == []


async def test_threads_run_side_by_side() -> None:
    """Four jobs that block are all begun."""
    ends = Ends()
    threads = Threads(4, ends)
    for id in range(4):
        threads.start(job(id, "block"), ready(app, job(id, "block")))
    await have_begun(4)
    go.set()
    assert await ends.come(4) == [Done(b'"let go"')] * 4
    await threads.stop(0)


async def test_an_idle_worker_has_few_threads() -> None:
    """Jobs that come one after another need one thread, whatever was granted."""
    ends = Ends()
    threads = Threads(32, ends)
    for id in range(10):
        threads.start(record := job(id), ready(app, record))
        await ends.come(id + 1)
    assert len(threads._threads) == 1
    await threads.stop(0)


async def test_jobs_do_not_see_each_others_variables() -> None:
    """A thread that runs the next job has forgotten what the last one set."""
    ends = Ends()
    threads = Threads(1, ends)
    for id in (1, 2):
        record = job(id, "leak", (str(id),))
        threads.start(record, ready(app, record))
        await ends.come(id)
    assert ends.outcomes == [Done(b'"nothing"')] * 2
    await threads.stop(0)


async def test_a_job_ends_itself_and_not_its_thread() -> None:
    """sys.exit is a failure of that job, and the next one runs."""
    ends = Ends()
    threads = Threads(1, ends)
    for id, task in enumerate(("exit", "work")):
        record = job(id, task)
        threads.start(record, ready(app, record))
        await ends.come(id + 1)
    assert isinstance(ends.outcomes[0], Failed)
    assert "SystemExit: 3" in ends.outcomes[0].error
    assert ends.outcomes[1] == Done(b"0")
    await threads.stop(0)


async def test_an_ended_attempt_is_told_to_code_that_asks() -> None:
    """The code gets `Cancelled` where it asks, and the server is told nothing."""
    ends = Ends()
    threads = Threads(1, ends)
    record = job(1, "obedient")
    threads.start(record, ready(app, record))
    await have_begun(1)
    threads.cancel(record, "cancelled")
    assert await ends.come(1) == [Gone()]
    await threads.stop(0)


async def test_a_timeout_shows_where_the_code_hangs(caplog: pytest.LogCaptureFixture) -> None:
    """The thread cannot be ended, so the log says which job it is and where it stands; its place stays taken."""
    ends = Ends()
    threads = Threads(1, ends)
    record = job(1, "block")
    threads.start(record, ready(app, record))
    await have_begun(1)
    await until(go._cond._waiters.__len__)  # type: ignore[attr-defined]  # it has told that it runs; now it hangs
    with caplog.at_level(logging.WARNING, "flashq.worker"):
        threads.cancel(record, TIMED_OUT)
    (line,) = caplog.records
    assert line.flashq["job"] == 1  # type: ignore[attr-defined]
    assert "wait_for(go)" in line.trace  # type: ignore[attr-defined]
    assert ends.all == []
    go.set()
    assert await ends.come(1) == [Gone()]
    await threads.stop(0)


async def test_cancelled_before_a_thread_took_it() -> None:
    """A job that waits for the only thread never runs."""
    ends = Ends()
    threads = Threads(1, ends)
    first, second = job(1, "block"), job(2, "block")
    threads.start(first, ready(app, first))
    await have_begun(1)
    threads.start(second, ready(app, second))
    threads.cancel(second, "cancelled")
    go.set()
    assert await ends.come(2) == [Done(b'"let go"'), Gone()]
    assert not begun.acquire(blocking=False)
    await threads.stop(0)


async def test_coroutines_run_in_threads_too() -> None:
    """Each thread has a loop of its own, for one coroutine after another."""
    ends = Ends()
    threads = Threads(1, ends)
    for id in (1, 2):
        record = job(id, "coroutine", (id,))
        threads.start(record, ready(app, record))
        await ends.come(id)
    assert ends.outcomes == [Done(b"1"), Done(b"2")]
    await threads.stop(0)


async def test_a_coroutine_in_a_thread_is_cancelled() -> None:
    """It gets its cancellation at its await, as on the worker's loop."""
    ends = Ends()
    threads = Threads(1, ends)
    record = job(1, "hang")
    threads.start(record, ready(app, record))
    await have_begun(1)
    threads.cancel(record, TIMED_OUT)
    assert await ends.come(1) == [Gone()]
    await threads.stop(0)


async def test_a_stop_waits_for_what_runs() -> None:
    """What ends in time ends as ever."""
    ends = Ends()
    threads = Threads(1, ends)
    record = job(1, "block")
    threads.start(record, ready(app, record))
    await have_begun(1)
    stopping = asyncio.create_task(threads.stop(10_000))
    await asyncio.sleep(0)
    go.set()
    assert await stopping == []
    assert ends.outcomes == [Done(b'"let go"')]
    await until(lambda: not any(thread.is_alive() for thread in threads._threads))


async def test_a_stop_leaves_behind_what_does_not_end() -> None:
    """It is returned and told by nobody; its code hears of it where it asks, and its thread ends with it."""
    ends = Ends()
    threads = Threads(2, ends)
    deaf, obeying = job(1, "block"), job(2, "obedient")
    for record in (deaf, obeying):
        threads.start(record, ready(app, record))
    await have_begun(2)
    assert await threads.stop(1) == [deaf, obeying]
    go.set()
    await until(lambda: not any(thread.is_alive() for thread in threads._threads))
    assert ends.all == []


async def test_a_stop_may_be_hurried() -> None:
    """A stop that is given up and called again without time returns what runs."""
    threads = Threads(1, Ends())
    record = job(1, "block")
    threads.start(record, ready(app, record))
    await have_begun(1)
    stopping = asyncio.create_task(threads.stop(60_000))
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait({stopping})
    assert await threads.stop(0) == [record]
    go.set()
