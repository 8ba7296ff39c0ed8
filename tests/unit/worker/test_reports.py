"""Unit tests of `flashq.worker.reports`."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.fakes.line_server import HANG_UP, OK, LineServer, Request, always_ok, line
from tests.unit.worker.jobs import job, until, wait_for

from flashq import AsyncFlashQ, JobRecord
from flashq.worker.reports import MAX_REPORTS, Reports

Ended = list[tuple[JobRecord, str]]


@asynccontextmanager
async def reporting(
    answer: Callable[[Request], bytes | None] = always_ok,
) -> AsyncIterator[tuple[Reports, LineServer, Ended]]:
    """Reports, the server that they reach, and the attempts that turned out to be over."""
    ended: Ended = []
    with LineServer(answer) as server:
        async with AsyncFlashQ(server.url) as client:
            yield Reports(client, lambda record, reason: ended.append((record, reason))), server, ended


async def test_what_jobs_say_is_said() -> None:
    """Progress and signs of life, with the token of the attempt."""
    async with reporting() as (reports, server, _):
        reports.link(job(1)).progress(30, "a third")
        reports.link(job(2)).progress(100, None)
        reports.link(job(3)).progress(0, None)
        reports.link(job(4)).heartbeat()
        await until(lambda: len(server.requests) == 4)
        said = [{name: value for name, value in each.items() if name != "reqId"} for each in server.requests]
        assert said == [
            {"cmd": "PROGRESS", "id": 1, "progress": 30, "message": "a third", "token": "t1"},
            {"cmd": "PROGRESS", "id": 2, "progress": 100, "token": "t1"},
            {"cmd": "PROGRESS", "id": 3, "progress": 0, "token": "t1"},
            {"cmd": "HEARTBEAT", "id": 4, "token": "t1"},
        ]


async def test_only_the_newest_is_said() -> None:
    """Of all that a job says while a request is under way, the last goes out; a heartbeat hides no progress."""
    answer_now = threading.Event()

    def slow(request: Request) -> bytes:
        wait_for(answer_now)
        return OK

    async with reporting(slow) as (reports, server, _):
        link = reports.link(job(1))
        link.progress(1, None)
        await until(lambda: server.requests)
        for percent in range(2, 90):
            link.progress(percent, None)
        link.heartbeat()
        answer_now.set()
        await until(lambda: len(server.requests) == 2)
        assert server.requests[1]["progress"] == 89


async def test_from_any_thread() -> None:
    """Jobs speak from their threads, all at once, and nothing is lost of different jobs."""
    async with reporting() as (reports, server, _):
        threads = [threading.Thread(target=reports.link(job(id)).progress, args=(1, None)) for id in range(20)]
        for thread in threads:
            thread.start()
        await until(lambda: len(server.requests) == 20)
        assert {request["id"] for request in server.requests} == set(range(20))
        for thread in threads:
            thread.join()


async def test_an_attempt_that_was_over() -> None:
    """The answer to a report may be the first to tell that the attempt has ended."""

    def stale(request: Request) -> bytes:
        return line(ok=False, error="Stale attempt for job 1", code="stale_attempt")

    async with reporting(stale) as (reports, _, ended):
        record = job(1)
        reports.link(record).progress(1, None)
        await until(lambda: ended)
        assert ended == [(record, "Stale attempt for job 1")]


async def test_a_lost_report_is_no_failure() -> None:
    """What cannot be sent is dropped, and the next report goes out."""
    async with reporting(lambda request: HANG_UP if request.get("progress") == 1 else OK) as (reports, server, ended):
        link = reports.link(job(1))
        link.progress(1, None)
        await until(lambda: reports._sending is None and server.requests)
        link.progress(2, None)
        await until(lambda: server.requests[-1].get("progress") == 2)
        assert ended == []


async def test_a_flood_is_bounded() -> None:
    """A thread that speaks in a tight loop while the event loop is blocked costs so much memory and no more."""
    async with reporting() as (reports, _, _):
        link = reports.link(job(1))
        for _ in range(MAX_REPORTS + 100):
            link.heartbeat()
        assert len(reports._said) == MAX_REPORTS


async def test_after_the_loop_has_gone() -> None:
    """A thread that was left behind may still speak: nobody listens, and it does not fail."""
    made: list[Reports] = []

    async def make() -> None:
        with LineServer() as server:
            async with AsyncFlashQ(server.url) as client:
                made.append(Reports(client, lambda *_: None))

    await asyncio.to_thread(asyncio.run, make())
    made[0].link(job(1)).progress(1, None)
