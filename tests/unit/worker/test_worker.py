"""Unit tests of `flashq.worker.worker`: how it starts and stops; tests/integration/test_worker.py has the whole."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.line_server import HANG_UP, OK, SILENCE, LineServer, Request, line
from tests.unit.worker.jobs import until

from flashq import App, AsyncFlashQ, BadRequest, FlashQ, Unauthorized
from flashq.worker import beat
from flashq.worker.worker import Kind, Worker, default_concurrency

NOTHING = line(ok=True, jobs=[])


def pulled(*ids: int, task: str = "work") -> bytes:
    """The answer to a pull."""
    jobs = [{"id": id, "queue": "q", "data": {"task": task}, "token": "t", "max_attempts": 3} for id in ids]
    return line(ok=True, jobs=jobs)


class Server:
    """What a server says to a worker: it parks pulls and beats, and gives each job once.

    Args:
        jobs: answers to the first pulls.
    """

    def __init__(self, *jobs: bytes) -> None:
        self._jobs = list(jobs)

    def __call__(self, request: Request) -> bytes | None:
        match request["cmd"]:
            case "PULLANY":
                return self._jobs.pop(0) if self._jobs else SILENCE
            case "PING":
                return NOTHING + OK
            case "BEAT":
                return SILENCE
            case "ACKB":
                return line(ok=True, ids=[len(request["ids"])])
        return OK


def make_app(begun: asyncio.Event | None = None) -> App:
    """An app with a job that ends and one that does not."""
    app = App(default_queue="q")

    @app.task(name="work")
    async def work() -> int:
        return 1

    @app.task(name="hang")
    async def hang() -> None:
        if begun is not None:
            begun.set()
        await asyncio.Event().wait()

    return app


@asynccontextmanager
async def working(
    answer: Callable[[Request], bytes | None], app: App | None = None, **options: Any
) -> AsyncIterator[tuple[Worker, "asyncio.Task[None]", LineServer]]:
    """A worker that runs, its task, and its server."""
    app = app or make_app()
    with LineServer(answer) as server:
        url = server.url
        app.connect_with(lambda: FlashQ(url), lambda: AsyncFlashQ(url))
        worker = Worker(app, **options)
        task = asyncio.create_task(worker.run())
        try:
            yield worker, task, server
        finally:
            worker.stop()
            worker.stop()
            await asyncio.wait({task}, timeout=10)
            assert task.done()


def heard(server: LineServer, cmd: str) -> list[Request]:
    """The requests of one kind."""
    return [request for request in server.requests if request["cmd"] == cmd]


async def test_hello_then_pull() -> None:
    """A worker says who it is before it takes a job, and asks for as many as it has places."""
    async with working(Server(), name="w1", concurrency=7) as (_, _, server):
        await until(lambda: heard(server, "PULLANY"))
        hello = server.requests[0]
        assert {name: hello[name] for name in ("cmd", "worker", "queues", "concurrency", "pid")} == {
            "cmd": "HELLO",
            "worker": "w1",
            "queues": ["q"],
            "concurrency": 7,
            "pid": os.getpid(),
        }
        assert heard(server, "PULLANY")[0]["count"] == 7
        await until(lambda: heard(server, "BEAT"))
        assert heard(server, "BEAT")[0]["worker"] == "w1"


async def test_a_job_comes_and_goes() -> None:
    """It is pulled, run, and acknowledged with its result."""
    async with working(Server(pulled(4))) as (_, _, server):
        await until(lambda: heard(server, "ACKB"))
        assert (heard(server, "ACKB")[0]["ids"], heard(server, "ACKB")[0]["results"]) == ([4], [1])


async def test_an_idle_worker_leaves_at_once() -> None:
    """Its parked pull is given up, and it says goodbye last."""
    async with working(Server(), name="w1") as (worker, task, server):
        await until(lambda: heard(server, "PULLANY"))
        worker.stop()
        await asyncio.wait_for(task, 5)
        assert [request["cmd"] for request in server.requests if request["cmd"] != "BEAT"] == [
            "HELLO",
            "PULLANY",
            "PING",
            "BYE",
        ]
        assert heard(server, "BYE")[0]["worker"] == "w1"
        assert not worker.hurried


async def test_what_came_with_the_stop_goes_back() -> None:
    """A job that was on its way when the worker stopped is released and never begun."""

    def late(request: Request) -> bytes | None:
        return pulled(9, task="hang") + OK if request["cmd"] == "PING" else Server()(request)

    async with working(late) as (worker, task, server):
        await until(lambda: heard(server, "PULLANY"))
        worker.stop()
        await asyncio.wait_for(task, 5)
        assert [request["id"] for request in heard(server, "RELEASE")] == [9]
        assert [request["cmd"] for request in server.requests][-1] == "BYE"


async def test_a_second_stop_is_at_once() -> None:
    """What runs is cancelled; the server gets it back with the goodbye."""
    begun = asyncio.Event()
    async with working(Server(pulled(1, task="hang")), make_app(begun)) as (worker, task, server):
        await begun.wait()
        worker.stop()
        await until(lambda: heard(server, "PING"))
        assert not task.done()
        worker.stop()
        await asyncio.wait_for(task, 5)
        assert worker.hurried
        assert heard(server, "ACKB") == []
        assert heard(server, "BYE")


async def test_a_job_that_does_not_end_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """It is abandoned after the time that it had; the log says so."""
    begun = asyncio.Event()
    caplog.set_level(logging.WARNING, "flashq.worker")
    async with working(Server(pulled(1, task="hang")), make_app(begun), stop_timeout_ms=10) as (worker, task, _):
        await begun.wait()
        worker.stop()
        await asyncio.wait_for(task, 5)
    assert "1 jobs did not end in time and go back uncounted" in caplog.text


async def test_a_worker_waits_for_its_server(caplog: pytest.LogCaptureFixture) -> None:
    """A server that hangs up at first is greeted again until it answers; schedules wait for that too."""
    shy = [HANG_UP, HANG_UP]

    def answer(request: Request) -> bytes | None:
        return shy.pop() if shy else Server()(request)

    async with working(answer) as (_, _, server):
        await until(lambda: heard(server, "PULLANY"))
        assert len(heard(server, "HELLO")) == 3


async def test_a_stop_in_the_middle_of_the_hello() -> None:
    """The server may have heard it, so it hears a goodbye too, and need not miss the worker."""

    def slow(request: Request) -> bytes | None:
        return SILENCE if request["cmd"] == "HELLO" else OK

    async with working(slow) as (worker, task, server):
        await until(lambda: heard(server, "HELLO"))
        worker.stop()
        await asyncio.wait_for(task, 5)
        assert [request["cmd"] for request in server.requests] == ["HELLO", "BYE"]


async def test_a_stop_while_there_is_no_server() -> None:
    """A worker that never reached its server leaves without a word."""
    app = make_app()
    app.connect_with(lambda: FlashQ("flashq://127.0.0.1:1"), lambda: AsyncFlashQ("flashq://127.0.0.1:1"))
    worker = Worker(app)
    task = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    worker.stop()
    await asyncio.wait_for(task, 20)  # it tries to say goodbye for two seconds


async def test_a_worker_that_is_not_let_in() -> None:
    """A wrong token ends it with the server's words."""
    refusal = line(ok=False, error="Invalid token", code="unauthorized")
    async with working(lambda _: refusal) as (_, task, _):
        with pytest.raises(Unauthorized, match="Invalid token"):
            await asyncio.wait_for(asyncio.shield(task), 5)


async def test_a_worker_that_was_given_up_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its running jobs are cancelled and given back, and it says hello again."""
    monkeypatch.setattr(beat, "RETRY_MS", 5)
    begun = asyncio.Event()
    unknown = [line(ok=False, error="Worker not found", code="not_found")] * 2
    server_of = Server(pulled(1, task="hang"))

    def forgetful(request: Request) -> bytes | None:
        if request["cmd"] == "BEAT" and begun.is_set() and unknown:
            return unknown.pop()
        return line(ok=True, ended=[]) if request["cmd"] == "BEAT" else server_of(request)

    async with working(forgetful, make_app(begun)) as (_, _, server):
        await until(lambda: len(heard(server, "HELLO")) == 2)
        await until(lambda: heard(server, "RELEASE"))
        assert heard(server, "RELEASE")[0]["id"] == 1


async def test_ended_attempts_reach_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that the server has cancelled is cancelled here at once, and not acknowledged."""
    begun = asyncio.Event()
    ended = [line(ok=True, ended=[{"id": 1, "token": "t", "reason": "cancelled"}])]
    server_of = Server(pulled(1, task="hang"))

    def answer(request: Request) -> bytes | None:
        if request["cmd"] != "BEAT":
            return server_of(request)
        return ended.pop() if ended and begun.is_set() else SILENCE if begun.is_set() else line(ok=True)

    monkeypatch.setattr(beat, "RETRY_MS", 5)
    async with working(answer, make_app(begun)) as (worker, _, server):
        await begun.wait()
        await until(lambda: worker._roster.running == 0)
        assert heard(server, "ACKB") == heard(server, "FAIL") == []


async def test_a_worker_with_a_limit_leaves() -> None:
    """After so many jobs it stops by itself, in good order."""
    async with working(Server(pulled(1, 2)), max_jobs=2) as (_, task, server):
        await asyncio.wait_for(asyncio.shield(task), 10)
        assert heard(server, "BYE")


async def test_a_worker_that_is_too_large_leaves() -> None:
    """One MiB is less than any Python takes."""
    async with working(Server(), max_memory_mb=1) as (_, task, server):
        await asyncio.wait_for(asyncio.shield(task), 10)
        assert heard(server, "BYE")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"queues": []}, "no queue to pull from"),
        ({"queues": [f"q{n}" for n in range(101)]}, "101 queues"),
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
        ({"prefetch": -1}, "prefetch must be at least 0, not -1"),
        ({"stop_timeout_ms": -1}, "stop_timeout_ms must be at least 0"),
        ({"max_jobs": 0}, "max_jobs must be at least 1"),
        ({"max_memory_mb": 0}, "max_memory_mb must be at least 1"),
        ({"executor": "fork"}, "executor must be one of async, thread, process, not 'fork'"),
        ({"executor": "process"}, "needs the app's target"),
    ],
)
async def test_options_that_make_no_sense(options: dict[str, Any], sentence: str) -> None:
    """They are refused when the worker is made, with the name of the option."""
    with pytest.raises(BadRequest, match=sentence):
        Worker(make_app(), **options)


async def test_defaults() -> None:
    """All queues of the tasks, each once, and a name that no other worker has."""
    app = make_app()
    one, other = Worker(app), Worker(app)
    assert (one.queues, one.concurrency, one.executor) == (["q"], 100, "async")
    assert one.name != other.name
    assert Worker(app, queues=["a", "b", "a"]).queues == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "cores", "jobs"), [("async", 2, 100), ("thread", 2, 8), ("thread", 64, 32), ("process", 6, 6)]
)
def test_how_many_at_once(monkeypatch: pytest.MonkeyPatch, kind: Kind, cores: int, jobs: int) -> None:
    """Unless somebody says otherwise."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert default_concurrency(kind) == jobs
