"""The inside of the in-process server: turns, time, and what happens when a command breaks something."""

import pytest

from flashq.engine.settings import Settings
from flashq.model import Instant
from flashq.testing.host import Door, Host


@pytest.fixture
def host() -> Host:
    """A server at the beginning of time."""
    return Host(Settings(), Instant(0, 0), patience_ms=1)


def opened(host: Host) -> tuple[Door, list[bytes], list[str]]:
    """A connection, what it receives and whether it was lost."""
    received: list[bytes] = []
    lost: list[str] = []
    return host.connect(received.append, lambda: lost.append("lost")), received, lost


def test_an_answer_is_there_when_the_request_has_been_fed(host: Host) -> None:
    """What a command changes is durable and told before the call that sent it returns."""
    door, received, _ = opened(host)
    door.feed(b'{"cmd":"PUSH","queue":"q","data":1}\n')
    assert received == [b'{"ok":true,"id":1}\n']
    assert door.owed == 0


def test_what_waits_is_owed(host: Host) -> None:
    """A parked pull counts until it is answered; an event is no answer."""
    door, received, _ = opened(host)
    door.feed(b'{"cmd":"SUBSCRIBE","queue":"q"}\n{"cmd":"PULL","queue":"q","reqId":"a"}\n')
    assert door.owed == 1
    door.feed(b'{"cmd":"PUSH","queue":"q","data":1}\n')
    assert door.owed == 0
    assert sum(line.startswith(b'{"event"') for each in received for line in each.splitlines()) == 2


def test_a_cut_connection_gives_up_its_wait(host: Host) -> None:
    """A job that comes afterwards is not handed to somebody who has gone."""
    gone, _, lost = opened(host)
    gone.feed(b'{"cmd":"PULL","queue":"q"}\n')
    gone.cut()
    gone.cut()
    door, received, _ = opened(host)
    door.feed(b'{"cmd":"PUSH","queue":"q","data":1}\n{"cmd":"GETSTATE","id":1}\n')
    assert received[-1].endswith(b'{"ok":true,"id":1,"state":"waiting"}\n')
    assert lost == ["lost"]


def test_time_stops_where_something_comes_about(host: Host) -> None:
    """`advance_until` looks after each thing that falls due, and goes no further than it may."""
    door, received, _ = opened(host)
    for delay in (100, 200, 300):
        door.feed(b'{"cmd":"PUSH","queue":"q","data":1,"delay":%d}\n' % delay)
    before = host.engine.lookup.stats().queued
    assert before == 0
    assert host.advance_until(lambda: host.engine.lookup.stats().queued == 2)
    assert host.now == Instant(200, 200)
    assert not host.advance_until(lambda: False, 50)
    assert host.now == Instant(200, 200)
    assert host.next_due_ms() == 100
    assert len(received) == 3


def test_more_than_one_slice_falls_due_at_once(host: Host) -> None:
    """A thousand jobs are one tick's slice: what is beyond it happens at the same moment, not later."""
    door, _, _ = opened(host)
    for _ in range(2_500):
        door.feed(b'{"cmd":"PUSH","queue":"q","data":1,"delay":10}\n')
    host.advance(10)
    assert host.engine.lookup.stats().queued == 2_500


def test_a_command_that_breaks_is_not_hidden(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the server comes up in the test that met it, and nobody goes on with what it left behind."""
    door, _, lost = opened(host)

    def planted(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(host.engine.intake, "push", planted)
    with pytest.raises(RuntimeError, match="planted"):
        door.feed(b'{"cmd":"PUSH","queue":"q","data":1}\n')
    with pytest.raises(ConnectionRefusedError):
        opened(host)
    assert lost == ["lost"]
