"""A server in the test's own process, as its user sees it."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from flashq import CallTimeout, FlashQ, NotFound, StaleAttempt, Unreachable
from flashq.engine.settings import Settings
from flashq.testing import LocalServer


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server whose clock begins at a round number, and whose patience no test would outlast."""
    with LocalServer(start=1_000_000, patience_ms=600_000) as local:
        yield local


@pytest.fixture
def q(server: LocalServer) -> FlashQ:
    """Its client."""
    return server.client()


def test_the_clock_stands_still_until_it_is_moved(server: LocalServer, q: FlashQ) -> None:
    """No call that is answered at once lets time pass, and a delayed job is due at its millisecond, not before."""
    q.push("q", "later", delay=60_000)
    assert q.pull("q", timeout=0) is None
    assert (server.clock.now, server.clock.next_due) == (1_000_000, 60_000)
    server.clock.advance(59_999)
    assert q.pull("q", timeout=0) is None
    server.clock.advance(1)
    job = q.pull("q", timeout=0)
    assert job is not None
    assert (job.data, job.started_at) == ("later", 1_060_000)


def test_what_falls_due_happens_at_its_moment(server: LocalServer, q: FlashQ) -> None:
    """One long step is all the short ones: a schedule fires at each of its instants, not once at the end."""
    q.set_cron("tick", "ticks", "*/10", {"n": 1})
    server.clock.advance(timedelta(seconds=60))
    jobs = q.pull_batch("ticks", 100, timeout=0)
    assert [job.created_at for job in jobs] == [1_000_000 + 10_000 * n for n in range(1, 7)]


def test_a_lease_ends_while_the_clock_is_moved(q: FlashQ) -> None:
    """The operator's numbers are taken, and an attempt that was silent for its lease is another's."""
    with LocalServer(settings=Settings(lease=5_000, default_backoff=0)) as server:
        client = server.client()
        client.push("q", 1)
        first = client.pull("q", timeout=0)
        assert first is not None
        server.clock.advance(5_000)
        second = client.pull("q", timeout=0)
        assert second is not None
        with pytest.raises(StaleAttempt):
            client.ack(first)
        client.ack(second)


def test_a_wait_in_a_plain_program_lets_time_pass_at_once(server: LocalServer, q: FlashQ) -> None:
    """Nobody else can act: the wait ends with what falls due next, or with its own time."""
    q.push("q", 1, delay=3_000_000)
    assert q.pull("other", timeout=500) is None
    assert server.clock.now == 1_000_500
    job = q.pull("q")
    assert job is not None
    assert server.clock.now == 4_000_000


def test_a_wait_for_nothing_is_given_up_at_once(server: LocalServer, q: FlashQ) -> None:
    """A test that would hang fails with a sentence, and what it waited for is not left parked to eat a later job."""
    with pytest.raises(CallTimeout, match="would wait for ever"):
        q.pull("q")
    assert server.clock.now == 1_000_000
    id = q.push("q", 1)
    job = q.pull("q", timeout=0)
    assert job is not None
    assert job.id == id


def test_a_wait_beside_an_endless_schedule_ends(server: LocalServer, q: FlashQ) -> None:
    """Something always falls due, none of it answers: the clock is moved a day and no further."""
    q.set_cron("tick", "ticks", "0 * * * *")
    with pytest.raises(CallTimeout, match="within a day"):
        q.pull("q")
    assert 24 * 3_600_000 < server.clock.now - 1_000_000 <= 26 * 3_600_000


async def test_coroutines_wait_for_each_other(server: LocalServer) -> None:
    """A parked pull is answered by a push of another coroutine, without any time passing."""
    async with server.aclient() as q, server.aclient() as other:
        waiting = asyncio.ensure_future(q.pull("q"))
        await q.ping()
        id = await other.push("q", 1)
        job = await waiting
        assert job is not None
        assert (job.id, server.clock.now) == (id, 1_000_000)


async def test_a_wait_of_a_coroutine_ends_when_nobody_acts() -> None:
    """After the patience, time passes to the end of the wait."""
    with LocalServer(start=0, patience_ms=1) as server:
        async with server.aclient() as q:
            assert await q.pull("q", timeout=3_600_000) is None
            assert server.clock.now == 3_600_000


async def test_a_wait_of_a_coroutine_for_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails with a sentence; the client connects anew and goes on, and no parked pull is left to eat a job."""
    monkeypatch.setattr("flashq.testing.wires.GIVE_UP_MS", 5)
    with LocalServer(patience_ms=1) as server:
        async with server.aclient() as q:
            with pytest.raises(CallTimeout, match="would wait for ever"):
                await q.pull("q")
            id = await q.push("q", 1)
            job = await q.pull("q", timeout=0)
            assert job is not None
            assert job.id == id


async def test_a_wait_in_another_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that did not make the server lets others go first, then time pass, and gives up in the end."""
    monkeypatch.setattr("flashq.testing.host.GIVE_UP_MS", 5)
    with LocalServer(start=0, patience_ms=1) as server:
        q = server.client()
        waiting = asyncio.ensure_future(asyncio.to_thread(q.pull, "q", 60_000))
        assert await waiting is None
        assert server.clock.now == 60_000
        with pytest.raises(CallTimeout, match="would wait for ever"):
            await asyncio.to_thread(q.pull, "q")


async def test_a_wait_in_another_thread_is_woken() -> None:
    """What another thread pushes arrives at once, however long the patience is."""
    with LocalServer(start=0, patience_ms=30_000) as server:
        q = server.client()
        waiting = asyncio.ensure_future(asyncio.to_thread(q.pull, "q", 60_000))
        while not server.engine.clocks.waits.entries():
            await asyncio.sleep(0)
        id = q.push("q", 1)
        job = await waiting
        assert job is not None
        assert (job.id, server.clock.now) == (id, 0)


def test_a_restart_keeps_what_was_confirmed(server: LocalServer, q: FlashQ) -> None:
    """Jobs, delays and results come back, active jobs run again, and the client notices nothing."""
    done, running = q.push("q", "done"), q.push("q", "running")
    q.push("q", "later", delay=1_000)
    first = q.pull("q", timeout=0)
    assert first is not None
    q.ack(first, {"n": 1})
    q.pull("q", timeout=0)
    server.restart()
    assert (q.state(done), q.result(done), q.state(running)) == ("completed", {"n": 1}, "waiting")
    again = q.pull("q", timeout=0)
    assert again is not None
    assert again.id == running
    server.clock.advance(1_000)
    later = q.pull("q", timeout=0)
    assert later is not None
    assert later.data == "later"
    server.restart()
    assert q.push("q", "not sent twice, so it must not be lost once") == 4


async def test_a_restart_and_the_async_client(server: LocalServer) -> None:
    """It connects again as it does to a real server."""
    async with server.aclient() as q:
        id = await q.push("q", 1)
        server.restart()
        assert await q.push("q", "not sent twice, so it must not be lost once") == id + 1
        assert await q.state(id) == "waiting"


def test_a_closed_server_lets_nobody_in(server: LocalServer, q: FlashQ) -> None:
    """Both an old client and a new one are told that nobody is there, and soon."""
    q.ping()
    server.close()
    with pytest.raises(Unreachable):
        q.ping()
    with pytest.raises(Unreachable):
        server.client().connect()


def test_events(server: LocalServer, q: FlashQ) -> None:
    """A subscription sees events; where none will come, it waits in the server's time."""
    with q.subscribe("q") as events:
        id = q.push("q", 1)
        event = events.next()
        assert (event.event_type, event.job_id, event.timestamp) == ("pushed", id, 1_000_000)
        with pytest.raises(CallTimeout):
            events.next(5_000)
        assert server.clock.now == 1_005_000


def test_errors_are_the_real_ones(q: FlashQ) -> None:
    """What the server refuses has its own name, in pipelines too."""
    with pytest.raises(NotFound):
        q.ack(12345)
    with q.pipeline(keep_errors=True) as p:
        refused, pushed = p.ack(12345), p.push("q", 1)
    assert isinstance(refused.error, NotFound)
    assert pushed.result() == 1
