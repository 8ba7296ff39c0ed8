"""Apps: where tasks are declared, and the clients that are made when they are needed."""

import asyncio
import gc
import os
import weakref
from typing import Any

import pytest

from flashq import App, BadRequest, Middleware, TooLarge
from flashq.protocol.limits import MAX_BATCH
from flashq.tasks import app as module
from flashq.tasks.outgoing import Outgoing
from unit.tasks.recorder import AsyncRecorder, Recorder, recorded


def test_declaring_needs_no_server() -> None:
    """A module with tasks can be imported anywhere."""
    app = App("flashq://127.0.0.1:1")

    @app.task
    def send() -> None: ...

    assert app.tasks == {send.name: send}
    assert send.name == f"{__name__}.test_declaring_needs_no_server.<locals>.send"
    app.close()


def test_names_are_unique() -> None:
    """Two tasks of one name would run each other's jobs; two schedules would replace each other."""
    app = App()
    first = app.task(name="a")(lambda: None)
    with pytest.raises(BadRequest, match="two tasks named 'a'"):
        app.task(name="a")(lambda: None)
    app.cron("*/5")(first)
    with pytest.raises(BadRequest, match="two schedules named 'a'"):
        app.cron("*/6")(first)


def test_a_schedule_is_a_job_and_when_to_push_it() -> None:
    """One task may have several, each with its own arguments."""
    app = App()

    @app.cron("0 9 * * MON", name="weekly", args=["long"])
    @app.cron("0 30 9 * * MON-FRI", timezone="Europe/Rome")
    @app.task(name="report", queue="reports", priority=2)
    def report(kind: str = "short") -> None: ...

    assert sorted(app.crons) == ["report", "weekly"]
    entry = app.crons["report"]
    assert (entry.schedule, entry.timezone, entry.job.options.queue) == ("0 30 9 * * MON-FRI", "Europe/Rome", "reports")
    assert entry.data == b'{"task":"report"}'
    assert app.crons["weekly"].data == b'{"task":"report","args":["long"]}'
    with pytest.raises(TypeError):
        app.cron("*/5", name="wrong", args=[1, 2])(report)


def test_queues_are_those_of_the_tasks() -> None:
    """What a worker pulls from when it is not told."""
    app = App(default_queue="d")
    for name, queue in (("a", "x"), ("b", None), ("c", "x")):
        app.task(name=name, queue=queue)(lambda: None)
    assert app.queues == ["x", "d"]


def test_one_client_for_a_process() -> None:
    """Made at the first need, closed by `close`, made again after that."""
    made: list[Recorder] = []
    app = App()
    app.connect_with(lambda: made.append(Recorder()) or made[-1], lambda: pytest.fail("not asked for"))
    assert made == []
    assert app.client is app.client is made[0]
    with app:
        pass
    assert made[0].closed
    assert app.client is made[1]


def test_a_forked_process_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one connection would read each other's answers."""
    app = App()
    app.connect_with(Recorder, Recorder)
    parents = app.client
    here = os.getpid()
    monkeypatch.setattr(module.os, "getpid", lambda: here + 1)
    assert app.client is not parents
    assert not parents.closed


def test_one_async_client_for_a_loop() -> None:
    """A client belongs to the loop that it was made in."""
    app = App()
    app.connect_with(Recorder, Recorder)

    async def look() -> tuple[Any, Any]:
        return app.aclient, app.aclient

    (a, b), (c, _) = asyncio.run(look()), asyncio.run(look())
    assert a is b
    assert a is not c
    with pytest.raises(RuntimeError):
        _ = app.aclient


async def test_aclose_closes_both() -> None:
    """Nothing stays open."""
    app, client = recorded()
    _ = app.aclient, app.client
    async with app:
        pass
    assert client.closed


class Noting(Middleware):
    """Adds a header and may veto."""

    def __init__(self, name: str) -> None:
        self.name = name

    def before_enqueue(self, job: Outgoing) -> None:
        if "veto" in job.args:
            raise PermissionError(self.name)
        job.headers[self.name] = job.headers.get("order", "")
        job.headers["order"] = job.headers.get("order", "") + self.name
        job.options = job.options.changed(priority=job.options.priority + 1)


async def test_middlewares_see_every_job_before_it_leaves() -> None:
    """In their order, by every way of enqueuing; one that raises stops the job."""
    app, client = recorded(middlewares=[Noting("a"), Noting("b")])

    @app.task
    def send(to: str) -> None: ...

    send.delay("x")
    await send.adelay("x")
    send.map(["x"])
    await send.amap(["x"])
    assert [envelope["headers"]["order"] for _, envelope, _ in client.pushed] == ["ab"] * 4
    assert client.pushed[0][2] == {"priority": 2}
    with pytest.raises(PermissionError):
        send.delay("veto")
    assert len(client.pushed) == 4


@pytest.mark.parametrize("last", ["\ud800", "x" * 1_100_000])
def test_a_map_with_a_job_that_cannot_be_sent_sends_none(last: str) -> None:
    """Also if it stands in a later request than the first."""
    app, client = recorded()

    @app.task
    def take(item: str) -> None: ...

    with pytest.raises((TypeError, TooLarge), match="take"):
        take.map([*map(str, range(MAX_BATCH)), last])
    assert client.pushed == []


def test_large_maps_are_cut_into_requests() -> None:
    """By number and by bytes, and the jobs come back in the order of the items."""
    app, client = recorded()

    @app.task
    def take(data: str) -> None: ...

    jobs = take.map(str(n) for n in range(MAX_BATCH + 1))
    assert client.batches == [MAX_BATCH, 1]
    assert [job.id for job in jobs] == list(range(1, MAX_BATCH + 2))
    client.batches.clear()
    take.map("x" * 1_000_000 for _ in range(20))
    assert sum(client.batches) == 20
    assert max(client.batches) * 1_000_000 < module.BATCH_BYTES


def test_clients_of_ended_loops_are_let_go() -> None:
    """A program that calls `asyncio.run` again and again does not gather connections."""
    made: list[weakref.ref[AsyncRecorder]] = []

    class Clinging(AsyncRecorder):
        """Holds on to its loop, as a real client does once it has connected."""

        def __init__(self) -> None:
            super().__init__(Recorder())
            self.loop = asyncio.get_running_loop()
            made.append(weakref.ref(self))

    app = App()
    app.connect_with(Recorder, Clinging)  # type: ignore[arg-type]

    async def ask() -> None:
        assert app.aclient is app.aclient

    for _ in range(3):
        asyncio.run(ask())
    gc.collect()
    assert [ref() is not None for ref in made] == [False, False, True]
