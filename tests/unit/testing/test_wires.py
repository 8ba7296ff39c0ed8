"""The clients' ends of in-process connections."""

import asyncio

import pytest

from flashq import ConnectionLost
from flashq.client.async_connection import Wire as AsyncWire
from flashq.engine.settings import Settings
from flashq.model import Instant
from flashq.testing.host import Host
from flashq.testing.wires import LocalLink, LocalWire


@pytest.fixture
def host() -> Host:
    """A server at the beginning of time."""
    return Host(Settings(), Instant(0, 0), patience_ms=1)


def test_answers_and_events_are_told_apart(host: Host) -> None:
    """Events that come between answers keep their order and hide no answer."""
    wire = LocalWire(host, 0)
    assert wire.ask_beside_events(b'{"cmd":"SUBSCRIBE","queue":"*"}\n', 10) == b'{"ok":true}'
    lines = [b'{"cmd":"PUSH","queue":"q","data":%d}\n' % n for n in range(3)]
    assert wire.ask_all(lines, 10) == [b'{"ok":true,"id":%d}' % n for n in (1, 2, 3)]
    assert [b'"job_id":%d' % n in wire.next_event(10) for n in (1, 2, 3)] == [True] * 3
    assert wire.answered


def test_a_wire_that_was_cut_says_so(host: Host) -> None:
    """Whoever asks there gets ConnectionLost, at once, and the pool finds it stale."""
    wire = LocalWire(host, 0)
    assert not wire.stale()
    host.cut_all()
    assert wire.stale()
    with pytest.raises(ConnectionLost):
        wire.ask(b'{"cmd":"PING"}\n', 10)
    with pytest.raises(ConnectionLost):
        wire.next_event(10)


async def test_a_link_that_was_cut_ends_its_wire(host: Host) -> None:
    """Whoever waits there is told."""
    wire = AsyncWire(asyncio.get_running_loop(), "in-process")
    link = LocalLink(host, wire)
    waiting = wire.ask(b'{"cmd":"PULL","queue":"q"}\n')
    await asyncio.sleep(0)
    host.cut_all()
    with pytest.raises(ConnectionLost):
        await waiting
    assert link.is_closing()
    await wire.close()


async def test_time_passes_only_when_nobody_acts(host: Host) -> None:
    """A look at a waiting connection moves the clock if nothing was asked since, by anybody, and not otherwise."""
    wire = AsyncWire(asyncio.get_running_loop(), "in-process")
    link = LocalLink(host, wire)
    waiting = wire.ask(b'{"cmd":"PULL","queue":"q","timeout":5000}\n')
    await asyncio.sleep(0)
    seen = host.activity
    LocalWire(host, 0).ask(b'{"cmd":"PING"}\n', 10)
    link._look(seen)
    assert host.now.steady == 0
    link._look(host.activity)
    assert await waiting == b'{"ok":true,"job":null}'
    assert host.now.steady == 5_000
    await wire.close()


async def test_a_fault_of_the_server_ends_the_wire(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for an answer that a broken command will not give; the fault goes to the loop's handler."""
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    fault = RuntimeError("planted")

    def planted(*_: object) -> None:
        raise fault

    monkeypatch.setattr(host.engine.intake, "push", planted)
    wire = AsyncWire(loop, "in-process")
    LocalLink(host, wire)
    with pytest.raises(ConnectionLost):
        await wire.ask(b'{"cmd":"PUSH","queue":"q","data":1}\n')
    assert told == [fault]
