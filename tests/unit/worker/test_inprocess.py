"""Unit tests of `flashq.worker.inprocess`."""

import asyncio
import threading
from typing import Any

import pytest
from msgspec import Raw
from tests.unit.worker.jobs import Ends, job

from flashq import App, Context, JobRecord
from flashq.tasks.outcome import Done, Failed, Gone
from flashq.worker.inprocess import InProcess

app = App()


@app.task(name="plain")
def plain() -> bool:
    """Whether it runs in the main thread."""
    return threading.current_thread() is threading.main_thread()


@app.task(name="coroutine")
async def coroutine() -> bool:
    """Whether it runs in the main thread."""
    return threading.current_thread() is threading.main_thread()


@app.task(name="hang")
async def hang() -> None:
    """Ends only by cancellation."""
    await asyncio.Event().wait()


@app.task(name="report")
def report(context: Context) -> None:
    """Says something on the way."""
    context.progress(50, "half")


class FakeLink:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def progress(self, percent: int, message: str | None) -> None:
        self.said.append((percent, message))

    def heartbeat(self) -> None:
        self.said.append("alive")


def made(ends: Ends, *, on_loop: bool, link: FakeLink | None = None) -> InProcess:
    """An executor of the app."""
    return InProcess(app, 4, ends, lambda _: link or FakeLink(), on_loop=on_loop)


@pytest.mark.parametrize(
    ("on_loop", "task", "main"),
    [(True, "coroutine", True), (True, "plain", False), (False, "coroutine", False), (False, "plain", False)],
)
async def test_where_jobs_run(on_loop: bool, task: str, main: bool) -> None:
    """Plain functions never block the loop; coroutines run on it unless everything goes into threads."""
    ends = Ends()
    executor = made(ends, on_loop=on_loop)
    await executor.open()
    executor.start(job(1, task))
    assert await ends.come(1) == [Done(b"true" if main else b"false")]
    assert await executor.stop(0) == []


@pytest.mark.parametrize(
    ("record", "error", "dead"),
    [
        (job(1, "nobody knows"), "unknown task", False),
        (job(1, "plain", (1, 2)), "do not fit", True),
        (JobRecord(1, "q", Raw(b"[1]")), "the payload is not that of a task", True),
    ],
    ids=["unknown", "arguments", "payload"],
)
async def test_what_cannot_run_has_failed(record: JobRecord, error: str, dead: bool) -> None:
    """It ends after the turn in which it was started, so that a thousand of them are no thousand calls deep."""
    ends = Ends()
    executor = made(ends, on_loop=True)
    executor.start(record)
    assert ends.all == []
    (outcome,) = await ends.come(1)
    assert isinstance(outcome, Failed)
    assert (error in outcome.error, outcome.dead) == (True, dead)


@pytest.mark.parametrize("on_loop", [True, False])
async def test_a_cancellation_finds_its_job(on_loop: bool) -> None:
    """Wherever it runs."""
    ends = Ends()
    executor = made(ends, on_loop=on_loop)
    record = job(1, "hang")
    executor.start(record)
    await asyncio.sleep(0)
    executor.cancel(record, "cancelled")
    assert await ends.come(1) == [Gone()]
    await executor.stop(0)


async def test_a_stop_is_for_both_kinds() -> None:
    """What runs in threads and what runs on the loop is waited for, and what does not end is returned."""
    ends = Ends()
    executor = made(ends, on_loop=True)
    hanging = job(1, "hang")
    executor.start(hanging)
    executor.start(job(2, "plain"))
    await ends.come(1)
    assert await executor.stop(1) == [hanging]


async def test_jobs_reach_their_link() -> None:
    """What a job says goes through the link that was made for it."""
    ends, link = Ends(), FakeLink()
    executor = made(ends, on_loop=True, link=link)
    executor.start(job(1, "report"))
    await ends.come(1)
    assert link.said == [(50, "half")]
    await executor.stop(0)
