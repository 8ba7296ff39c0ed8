"""The lifespan: what is open when, and who stops first."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.server_process import MEMORY, ServerProcess

from flashq import App
from flashq.contrib import starlette
from flashq.contrib.starlette import lifespan
from flashq.errors import FlashQError
from flashq.worker import Worker

Join = Callable[[App], App]
WAIT_S = 10


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server: the worker's heartbeat and its pulls wait beside each other."""
    with ServerProcess(tmp_path_factory.mktemp("server"), url=MEMORY) as server:
        yield f"flashq://127.0.0.1:{server.port}"


@pytest.fixture
def said() -> list[str]:
    """What happened, in its order."""
    return []


@pytest.fixture
def inner(said: list[str]) -> Any:
    """An application's own lifespan."""

    @asynccontextmanager
    async def inner(application: str) -> AsyncIterator[dict[str, int]]:
        said.append(f"{application} opens")
        yield {"mine": 1}
        said.append(f"{application} closes")

    return inner


async def test_the_clients_are_closed(join: Join) -> None:
    """The one of the loop and the plain one."""
    app = join(App())
    async with lifespan(app)("shop") as state:
        assert state == {}
        first, plain = app.aclient, app.client
        await first.connect()
        assert app.aclient is first
    assert app.aclient is not first
    assert app.client is not plain
    await app.aclose()


async def test_an_inner_lifespan_keeps_its_state(join: Join, inner: Any, said: list[str]) -> None:
    """It gets the application, and what it yields is passed on."""
    async with lifespan(join(App()), inner=inner)("shop") as state:
        assert (state, said) == ({"mine": 1}, ["shop opens"])
    assert said == ["shop opens", "shop closes"]


async def test_a_worker_in_the_same_loop(url: str, inner: Any, said: list[str]) -> None:
    """It runs jobs between the opening and the closing of the application's own things."""
    app = App(url, default_queue="jobs")
    loop = asyncio.get_running_loop()
    begun, end = asyncio.Event(), asyncio.Event()

    @app.task
    async def look() -> bool:
        said.append("job begins")
        begun.set()
        await end.wait()
        said.append("job ends")
        return asyncio.get_running_loop() is loop

    async with lifespan(app, inner=inner, worker=True, concurrency=2)("shop"):
        job = await look.adelay()
        await asyncio.wait_for(begun.wait(), WAIT_S)
        loop.call_soon(end.set)
    assert said == ["shop opens", "job begins", "job ends", "shop closes"]
    assert await job.aresult(timeout=5_000)
    await app.aclose()


async def test_a_worker_that_fails_is_told(
    join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The application goes on, and somebody can read why no job runs."""
    failed = asyncio.Event()

    async def run(_: Worker) -> None:
        failed.set()
        raise FlashQError("not let in")

    monkeypatch.setattr(starlette.Worker, "run", run)
    app = join(App())

    @app.task
    def task() -> None:
        pass

    with caplog.at_level(logging.ERROR, "flashq.worker"):
        async with lifespan(app, worker=True)("shop"):
            await asyncio.wait_for(failed.wait(), WAIT_S)
    assert "the worker has ended: not let in" in caplog.text


async def test_options_are_those_of_the_worker(join: Join) -> None:
    """A wrong one is an error at the start."""
    app = join(App())
    with pytest.raises(TypeError, match="speed"):
        await lifespan(app, worker=True, speed=9)("shop").__aenter__()
