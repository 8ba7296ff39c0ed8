"""An app on an in-process server, and a worker's work done by hand."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from msgspec import Raw

from flashq import App
from flashq.tasks.context import NO_LINK
from flashq.tasks.outcome import Done, Failed, Outcome, Snoozed
from flashq.tasks.run import Prepared, prepare, run_async, run_plain
from flashq.testing import LocalServer

Work = Callable[[App], Outcome]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server in this process."""
    with LocalServer() as server:
        yield server


@pytest.fixture
def join(server: LocalServer) -> Iterator[Callable[[App], App]]:
    """Connects an app with the server."""
    joined: list[App] = []

    def connect(app: App) -> App:
        app.connect_with(server.client, server.aclient)
        joined.append(app)
        return app

    yield connect
    for app in joined:
        app.close()


@pytest.fixture
def work(server: LocalServer) -> Work:
    """Runs the next job of an app's queues as a worker does, and tells the server; gives the outcome."""

    def run(app: App) -> Outcome:
        with server.client() as client:
            [record] = client.pull_any(app.queues, 1, timeout=0)
            prepared = prepare(app, record, NO_LINK)
            assert isinstance(prepared, Prepared)
            outcome = asyncio.run(run_async(prepared)) if prepared.is_async else run_plain(prepared)
            match outcome:
                case Done(result=result):
                    client.ack(record, None if result is None else Raw(result))
                case Failed(error=error, delay=delay, dead=dead):
                    client.fail(record, error, delay=delay, dead=dead)
                case Snoozed(delay=delay):
                    client.release(record, delay=delay)
            return outcome

    return run
