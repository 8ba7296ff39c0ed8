"""Unit tests of `flashq.worker.acks`."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.line_server import HANG_UP, OK, LineServer, Request, line
from tests.unit.worker.jobs import job, until, wait_for

from flashq import AsyncFlashQ
from flashq.protocol.limits import MAX_RESULT_BYTES
from flashq.tasks.outcome import Done, Failed, Gone, Snoozed
from flashq.worker import acks as module
from flashq.worker.acks import Acks

ACKED = line(ok=True, ids=[1])


def obliging(request: Request) -> bytes:
    """Takes whatever comes."""
    return ACKED if request["cmd"] == "ACKB" else OK


@asynccontextmanager
async def telling(
    answer: Callable[[Request], bytes | None] = obliging, room: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[Acks, LineServer]]:
    """Acks and the server that they tell."""
    with LineServer(answer) as server:
        async with AsyncFlashQ(server.url) as client:
            yield Acks(client, room), server


def said(server: LineServer) -> list[dict[str, Any]]:
    """What the server heard, without what is the same everywhere."""
    return [{name: value for name, value in request.items() if name != "reqId"} for request in server.requests]


async def test_what_ends_in_one_turn_goes_together() -> None:
    """Successes are one ACKB with their tokens, and without results if none has one."""
    async with telling() as (acks, server):
        acks.add(job(1), Done())
        acks.add(job(2, token="t2"), Done())
        assert await acks.flush(5) == 0
        assert said(server) == [{"cmd": "ACKB", "ids": [1, 2], "tokens": ["t1", "t2"]}]


async def test_results_stand_where_their_jobs_do() -> None:
    """A job without a result among others that have one gets null."""
    async with telling() as (acks, server):
        for id, result in enumerate((b"7", None, b'{"a":[1]}')):
            acks.add(job(id + 1), Done(result))
        await acks.flush(5)
        assert said(server)[0]["results"] == [7, None, {"a": [1]}]


async def test_one_request_at_a_time() -> None:
    """What ends while a request is under way waits for its answer, and goes as one."""
    answer_now = threading.Event()

    def slow(request: Request) -> bytes:
        wait_for(answer_now)
        return ACKED

    async with telling(slow) as (acks, server):
        acks.add(job(1), Done())
        await until(lambda: server.requests)
        for id in range(2, 7):
            acks.add(job(id), Done())
            await asyncio.sleep(0)
        answer_now.set()
        await acks.flush(5)
        assert [request["ids"] for request in said(server)] == [[1], [2, 3, 4, 5, 6]]


async def test_every_other_end_has_its_command() -> None:
    """Failures, snoozes and jobs that never began say so, with what was asked for; an ended attempt says nothing."""
    async with telling() as (acks, server):
        acks.add(job(1), Failed("broken"))
        acks.add(job(2), Failed("later", delay=50))
        acks.add(job(3), Failed("never", dead=True))
        acks.add(job(4), Snoozed(70))
        acks.add(job(5), Gone())
        acks.release([job(6)])
        await acks.flush(5)
        assert said(server) == [
            {"cmd": "FAIL", "id": 1, "error": "broken", "token": "t1"},
            {"cmd": "FAIL", "id": 2, "error": "later", "token": "t1", "delay": 50},
            {"cmd": "FAIL", "id": 3, "error": "never", "token": "t1", "dead": True},
            {"cmd": "RELEASE", "id": 4, "token": "t1", "delay": 70},
            {"cmd": "RELEASE", "id": 6, "token": "t1"},
        ]


async def test_a_lost_connection_loses_no_outcome(caplog: pytest.LogCaptureFixture) -> None:
    """What had no answer is told again, in its order, and once there is one no more; that it was away is said once."""
    left = [HANG_UP, HANG_UP]

    def shy(request: Request) -> bytes | None:
        return left.pop() if left else obliging(request)

    async with telling(shy) as (acks, server):
        with caplog.at_level(logging.INFO, "flashq.worker"):
            acks.add(job(1), Done())
            acks.add(job(2), Done())
            acks.add(job(3), Failed("x"))
            await acks.flush(5)
        assert [request["ids"] for request in said(server) if request["cmd"] == "ACKB"][-1] == [1, 2]
        assert [request["id"] for request in said(server) if request["cmd"] == "FAIL"][-1] == 3
        assert len(acks) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize("code", ["storage_full", "shutting_down", "overloaded"])
async def test_a_server_that_cannot_now_is_asked_again(code: str) -> None:
    """A full disk or a stop of the server is no answer to whether the job succeeded."""
    answers = [line(ok=False, error="not now", code=code)]
    async with telling(lambda request: answers.pop() if answers else obliging(request)) as (acks, server):
        acks.add(job(1), Done())
        assert await acks.flush(5) == 0
        assert len(server.requests) == 2


async def test_stale_attempts_are_logged_and_over(caplog: pytest.LogCaptureFixture) -> None:
    """What the server had ended is told once and never again; the log names the job."""

    def stale(request: Request) -> bytes:
        if request["cmd"] == "ACKB":
            return line(ok=True, ids=[1], stale=[2])
        return line(ok=False, error="Stale attempt for job 3", code="stale_attempt")

    async with telling(stale) as (acks, server):
        with caplog.at_level(logging.INFO, "flashq.worker"):
            acks.add(job(1), Done())
            acks.add(job(2), Done())
            acks.add(job(3), Failed("x"))
            assert await acks.flush(5) == 0
        assert len(server.requests) == 2
    assert [record.flashq["job"] for record in caplog.records] == [2, 3]  # type: ignore[attr-defined]


async def test_one_bad_result_spoils_no_other() -> None:
    """When the server refuses a batch, each job is told apart, and the one with the bad result fails for good."""

    def picky(request: Request) -> bytes:
        if request["cmd"] == "ACKB" or (request["cmd"] == "ACK" and request["id"] == 2):
            return line(ok=False, error="Result too large", code="too_large")
        return OK

    async with telling(picky) as (acks, server):
        for id in (1, 2, 3):
            acks.add(job(id), Done(b"1"))
        assert await acks.flush(5) == 0
    assert [(request["cmd"], request.get("id")) for request in server.requests] == [
        ("ACKB", None),
        ("ACK", 1),
        ("ACK", 2),
        ("ACK", 3),
        ("FAIL", 2),
    ]
    assert server.requests[-1]["dead"] is True
    assert server.requests[-1]["error"] == "the server refused the result: Result too large"


async def test_a_result_that_cannot_be_sent() -> None:
    """A line break in the middle of a result would break the connection for all: that job fails, the other does not."""
    async with telling() as (acks, server):
        acks.add(job(1), Done(b"[1,\n2]"))
        acks.add(job(2), Done(b"2"))
        await acks.flush(5)
    assert [(request["cmd"], request["id"]) for request in server.requests] == [("ACK", 2), ("FAIL", 1)]


async def test_a_request_stays_below_the_longest_line() -> None:
    """Large results go in several requests, each with as many as fit."""
    big = b'"' + b"x" * (MAX_RESULT_BYTES - 2) + b'"'
    async with telling() as (acks, server):
        for id in range(1, 41):
            acks.add(job(id), Done(big))
        assert await acks.flush(20) == 0
        assert [len(request["ids"]) for request in server.requests] == [32, 8]


async def test_a_full_line_asks_for_no_more_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many outcomes untold no new jobs are wanted, and the worker hears when that is over."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    again = asyncio.Event()
    async with telling(room=again.set) as (acks, _):
        for id in (1, 2, 3):
            acks.add(job(id), Done())
        assert acks.full
        await acks.flush(5)
        assert not acks.full
        assert again.is_set()


async def test_a_flush_has_a_limit() -> None:
    """A server that does not answer keeps nobody from leaving, and what was not told is counted."""
    async with telling(lambda _: b"") as (acks, server):
        acks.add(job(1), Done())
        acks.add(job(2), Failed("x"))
        await until(lambda: len(server.requests) == 2)
        acks.add(job(3), Done())
        assert await acks.flush(0.01) == 3


async def test_nothing_to_flush() -> None:
    """An idle worker leaves at once."""
    async with telling() as (acks, server):
        assert await acks.flush(5) == 0
        acks.release([])
        assert await acks.flush(5) == 0
        assert server.requests == []


@pytest.mark.parametrize("outcome", [Failed("x", delay=9), Snoozed(9)])
async def test_an_end_that_is_refused_ends_the_job_all_the_same(outcome: Failed | Snoozed) -> None:
    """Whatever the server refuses, the job does not stay active for ever: it fails for good, and says why, once."""

    def picky(request: Request) -> bytes:
        return line(ok=False, error="Invalid: no", code="bad_request")

    async with telling(picky) as (acks, server):
        acks.add(job(1), outcome)
        assert await acks.flush(5) == 0
    assert len(server.requests) == 2
    assert server.requests[-1]["error"] == "the server refused how it ended: Invalid: no"
    assert server.requests[-1]["dead"] is True


async def test_an_end_that_cannot_be_written_holds_up_no_other() -> None:
    """Half a character in a text fails its own job; the outcomes behind it are told."""
    async with telling() as (acks, server):
        acks.add(job(1), Failed("\ud800"))
        acks.add(job(2), Failed("fine"))
        assert await acks.flush(5) == 0
    assert sorted((request["id"], request["error"][:9]) for request in server.requests) == [
        (1, "the serve"),
        (2, "fine"),
    ]
