"""Compositions on a real server with real workers: results arrive, whatever is restarted in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.server_process import ServerProcess

from flashq import App, JobFailed, JobLost, Reject, chain, chord, group
from flashq.worker import Worker

LIMIT_MS = 20_000
"""For results: what is not there by then never comes."""


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """A durable server that is found at the same place after a restart."""
    return ServerProcess(tmp_path / "server", unix=True)


def app_of(server: ServerProcess) -> App:
    """An app whose clients find the server by its socket."""
    return App(f"flashq+unix://{server.socket_path}")


@asynccontextmanager
async def worker(app: App, concurrency: int = 10) -> AsyncIterator[None]:
    """A worker while the block runs; it leaves at once, as one does that is told twice."""
    works = Worker(app, concurrency=concurrency)
    running = asyncio.create_task(works.run())
    try:
        yield
    finally:
        works.stop()
        works.stop()
        await running
        await app.aclose()


async def test_a_chain_hands_results_on(server: ServerProcess) -> None:
    """From task to task, typed by their annotations on the way."""
    with server:
        app = app_of(server)

        @app.task
        async def fetch(page: int) -> list[int]:
            return list(range(page))

        @app.task
        def total(numbers: list[int], bonus: int = 0) -> int:
            return sum(numbers) + bonus

        @app.task
        async def label(number: int) -> str:
            return f"={number}"

        async with worker(app):
            flow = await chain(fetch.s(5), total.s(bonus=2), label.s()).adelay()
            assert await flow.aresult(LIMIT_MS) == "=12"
            assert await flow.jobs[1].aresult(LIMIT_MS) == 12


async def test_a_chord_survives_the_death_of_all(server: ServerProcess) -> None:
    """Half of the members run, the worker leaves, the server is killed; afterwards all results are there, in order."""
    app = app_of(server)
    half, gate = asyncio.Event(), asyncio.Event()
    ran: list[int] = []

    @app.task(max_attempts=5, backoff=0)
    async def square(n: int) -> int:
        if n >= 10:
            half.set()
            await gate.wait()
        ran.append(n)
        return n * n

    @app.task
    async def gather(squares: list[int], name: str) -> dict[str, list[int]]:
        return {name: squares}

    with server:
        flow = await chord([square.s(n) for n in range(20)], gather.s("all")).adelay()
        async with worker(app, concurrency=5):
            await asyncio.wait_for(half.wait(), 20)
            await asyncio.gather(*(job.aresult(LIMIT_MS) for job in flow.jobs[:10]))
        server.kill()
        server.start()
        gate.set()
        async with worker(app):
            assert await flow.aresult(LIMIT_MS) == {"all": [n * n for n in range(20)]}
    assert sorted(ran) == list(range(20))


async def test_a_failed_member_holds_up_the_rest_until_it_is_retried(server: ServerProcess) -> None:
    """Its results wait for it over a restart; a cancelled one sends the body to the dead letters."""
    app = app_of(server)
    broken = [True]

    @app.task
    async def half(n: int) -> int:
        if n == 1 and broken[0]:
            raise Reject("odd")
        return n // 2

    @app.task
    async def add(halves: list[int]) -> int:
        return sum(halves)

    with server:
        flow = await chord([half.s(0), half.s(1), half.s(8)], add.s()).adelay()
        async with worker(app):
            with pytest.raises(JobFailed, match="odd"):
                await flow.jobs[1].aresult(LIMIT_MS)
            await asyncio.gather(flow.jobs[0].aresult(LIMIT_MS), flow.jobs[2].aresult(LIMIT_MS))
            assert await flow.last[0].astate() == "waiting-children"
        server.kill()
        server.start()
        broken[0] = False
        async with worker(app):
            await app.aclient.retry_dead_letters("default")
            assert await flow.aresult(LIMIT_MS) == 4
        lost = await chord([half.options(delay=3_600_000).s(2), half.s(4)], add.s()).adelay()
        await lost.jobs[0].acancel()
        with pytest.raises(JobFailed, match="cancelled"):
            await lost.aresult(LIMIT_MS)
        with pytest.raises(JobLost):
            await lost.jobs[0].aresult(LIMIT_MS)
        await app.aclose()


async def test_a_group_of_thousands(server: ServerProcess) -> None:
    """More members than the server remembers results: each is kept with the job that waits for it."""
    with server:
        app = app_of(server)

        @app.task
        async def same(n: int) -> int:
            return n

        @app.task
        async def count(numbers: list[int]) -> list[int]:
            return [len(numbers), sum(numbers)]

        async with worker(app, concurrency=100):
            flow = await chord([same.s(n) for n in range(9_000)], count.s()).adelay()
            assert await flow.aresult(60_000) == [9_000, sum(range(9_000))]


def test_flows_from_plain_code(server: ServerProcess) -> None:
    """The blocking client does the same; a flow can be taken back as a whole."""
    with server:
        app = app_of(server)

        @app.task
        def same(n: int) -> int:
            return n

        flow = chain(same.s(1), group(same.s(), same.s()), same.si(3)).delay()
        assert [job.state() for job in flow.jobs] == ["waiting", *["waiting-children"] * 3]
        flow.cancel()
        assert [job.state() for job in flow.jobs] == ["unknown"] * 4
        assert app.client.dead_letters("default") == []
        app.close()
