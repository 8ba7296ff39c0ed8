"""Unit tests of `flashq.observe.streams`."""

import gc
import weakref
from collections.abc import Callable

import pytest
from msgspec import Raw

from flashq.model import Event
from flashq.observe import ring as ring_module
from flashq.observe import streams as streams_module
from flashq.observe.events import ALL, Hub
from flashq.observe.streams import (
    BEAT_SECONDS,
    KEEP_SECONDS,
    LINGER_SECONDS,
    STUCK_SECONDS,
    TOGETHER,
    Ending,
    Portion,
    Stream,
    Streams,
)


class Listener:
    """The door's side of a stream: the test says how much is unread, and takes portions by itself."""

    def __init__(self, rig: "Rig", queue: str = "q", *, beats: bool = True) -> None:
        self.woken = 0
        self.turns = 0
        self.bytes = 0
        self.revoked = False
        self.told_to_go: list[Ending] = []
        self.was_cut = False
        self.stream = Stream(rig.streams, self, lambda: self.revoked, beats=beats)
        rig.streams.add(self.stream)
        rig.hub.subscribe(self.stream, queue, frozenset())

    def wake(self) -> None:
        """Something is there."""
        self.woken += 1

    def unread(self) -> int:
        """As the test says."""
        return self.bytes

    def go_on(self) -> None:
        """Its turn."""
        self.turns += 1

    def turn_out(self, ending: Ending) -> None:
        """It is told to go."""
        self.told_to_go.append(ending)

    def cut(self) -> None:
        """It is cut off."""
        self.was_cut = True

    def heard(self) -> list[int | str]:
        """Everything that there is to take, in order: ids of jobs, and the marks between them."""
        found: list[int | str] = []
        while (portion := self.stream.take()) is not None:
            found += ["reset"] * portion.reset
            found += [f"lagged {portion.lagged}"] if portion.lagged else []
            found += [told.event.job_id for told in portion.events]
        return found


class Rig:
    """A hub and streams whose clock the test turns."""

    def __init__(self) -> None:
        self.watched = False
        self.hub = Hub(self._watch)
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.soon: list[Callable[[], None]] = []
        self.streams = Streams(self.hub, self)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """As a loop does; `seconds` is its clock."""
        self.due.append((delay, callback))

    def call_soon(self, callback: Callable[[], None]) -> None:
        """As a loop does; the test takes its turns."""
        self.soon.append(callback)

    def _watch(self, watched: bool) -> None:
        self.watched = watched

    def seconds(self, count: int) -> None:
        """Time passes."""
        for _ in range(count):
            due, self.due = self.due, []
            assert len(due) <= 1, "one clock for all streams"
            for _, call in due:
                call()

    def push(self, *ids: int, queue: str = "q") -> None:
        """Events."""
        self.hub.publish([Event("pushed", queue, id, 5) for id in ids])


def test_what_comes_is_handed_on_once() -> None:
    """The door is woken, and each event is taken once and in order."""
    rig = Rig()
    listener = Listener(rig)
    rig.push(1)
    rig.push(2)
    assert listener.woken == 2
    assert listener.heard() == [1, 2]
    assert listener.heard() == []


def test_a_burst_is_no_loss() -> None:
    """More at once than a backlog holds is sent out of what all share: in order, once, without a hole."""
    rig = Rig()
    listener = Listener(rig)
    rig.push(*range(5_000))
    first = listener.stream.take()
    assert first is not None
    rig.push(*range(5_000, 5_010), queue="other")
    rig.push(5_000, 5_001)
    assert [told.event.job_id for told in first.events] + listener.heard() == list(range(5_002))
    rig.push(5_002)
    assert listener.heard() == [5_002]


def test_a_slow_listener_loses_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not among the newest any more is lost to it, and it is told exactly how many of its own."""
    monkeypatch.setattr(ring_module, "MAX_KEPT", 2_000)
    rig = Rig()
    listener, other = Listener(rig), Listener(rig, "other")
    for id in range(4_000):
        rig.push(id)
        rig.push(id, queue="other")
    kept = [*range(3_000, 4_000)]
    assert listener.heard() == [*range(1_000), "lagged 2000", *kept]
    rig.push(*range(10_000, 10_100))
    assert other.heard() == [*range(1_000), "lagged 2050", *range(3_050, 4_000)]
    rig.push(5, queue="other")
    assert other.heard() == [5]


def test_a_listener_that_stays_behind_is_told_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses add up to what is missing, however often it falls behind while it catches up."""
    monkeypatch.setattr(ring_module, "MAX_KEPT", 500)
    rig = Rig()
    listener = Listener(rig)
    heard: list[int] = []
    lost = pushed = 0
    data = Raw(b"1" * 2_000)
    for round_ in range(40):
        rig.hub.publish([Event("pushed", "q", id, 5, data) for id in range(pushed, pushed + 300)])
        pushed += 300
        for _ in range(round_ % 7):
            portion = listener.stream.take()
            if portion is not None:
                lost += portion.lagged
                heard += [told.event.job_id for told in portion.events]
                assert len(heard) + lost == heard[-1] + 1
    assert lost > 0
    assert heard == sorted(set(heard))


def test_the_past_comes_before_the_present() -> None:
    """Who comes back hears what it missed, then what has happened since, without a hole and nothing twice."""
    rig = Rig()
    first = Listener(rig)
    rig.push(1)
    seen = rig.hub.position
    rig.streams.remove(first.stream)
    rig.push(*range(2, 3_000))
    again = Listener(rig)
    again.stream.replay(seen)
    rig.push(3_000, 3_001)
    assert again.heard() == list(range(2, 3_002))


def test_who_missed_nothing_is_told_nothing() -> None:
    """Coming back at once is coming for the first time."""
    rig = Rig()
    listener = Listener(rig)
    listener.stream.replay(rig.hub.position)
    assert listener.heard() == []
    rig.push(1)
    assert listener.heard() == [1]


@pytest.mark.parametrize("number", [None, 0, 10**9])
def test_a_past_that_is_not_known_is_said_to_be(number: int | None) -> None:
    """Another boot's number, one that is too old, one that never was: the listener has to look for itself."""
    rig = Rig()
    listener = Listener(rig)
    listener.stream.replay(number)
    rig.push(1)
    assert listener.heard() == ["reset", 1]


def test_a_past_that_goes_while_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener so slow that what it missed is forgotten meanwhile learns that there is a hole."""
    monkeypatch.setattr(ring_module, "MAX_KEPT", 20)
    rig = Rig()
    first = Listener(rig)
    seen = rig.hub.position
    data = Raw(b"1" * 30_000)
    rig.hub.publish([Event("pushed", "q", id, 5, data) for id in range(20)])
    rig.streams.remove(first.stream)
    again = Listener(rig)
    again.stream.replay(seen)
    portion = again.stream.take()
    assert portion is not None
    assert [told.event.job_id for told in portion.events] == [0, 1, 2]
    rig.push(*range(100, 110))
    assert again.heard() == ["reset"]
    rig.push(110)
    assert again.heard() == [110]


def test_the_quiet_give_signs_of_life() -> None:
    """After so much silence, again after as much, and not while there is something else to say."""
    rig = Rig()
    listener, other = Listener(rig), Listener(rig, beats=False)
    rig.seconds(BEAT_SECONDS - 1)
    assert not listener.stream.beat
    rig.push(1)
    assert listener.heard() == [1]
    rig.seconds(BEAT_SECONDS - 1)
    assert not listener.stream.beat
    woken = listener.woken
    rig.seconds(1)
    assert listener.stream.beat
    assert listener.woken == woken + 1
    assert not other.stream.beat


def test_where_a_listener_stands() -> None:
    """Only one that was told everything stands at the newest event, also when that was not for it."""
    rig = Rig()
    listener = Listener(rig)
    rig.push(1, queue="other")
    assert listener.stream.position == rig.hub.position
    rig.push(1)
    assert listener.stream.position is None
    listener.heard()
    assert listener.stream.position == rig.hub.position
    for number in (rig.hub.position - 1, None):
        listener.stream.replay(number)
        assert listener.stream.position is None


def test_one_that_reads_nothing_is_let_go() -> None:
    """Told so after so many seconds without progress, and cut off if it does not even read that."""
    rig = Rig()
    stuck, slow = Listener(rig), Listener(rig)
    stuck.bytes, slow.bytes = 500_000, 500_000
    for _ in range(STUCK_SECONDS - 1):
        rig.seconds(1)
        slow.bytes -= 1
        rig.push(1)
    assert stuck.told_to_go == []
    rig.seconds(1)
    assert stuck.told_to_go == [Ending.TOO_SLOW]
    assert stuck.stream.ending is Ending.TOO_SLOW
    assert not stuck.was_cut
    rig.seconds(LINGER_SECONDS)
    assert stuck.was_cut
    assert stuck.told_to_go == [Ending.TOO_SLOW]
    rig.seconds(STUCK_SECONDS - LINGER_SECONDS - 2)
    assert slow.told_to_go == []


def test_a_token_taken_back_ends_the_stream() -> None:
    """Within a second, and what it had not been told it is never told."""
    rig = Rig()
    listener, other = Listener(rig), Listener(rig)
    rig.push(1)
    listener.revoked = True
    rig.seconds(1)
    rig.push(2)
    assert listener.stream.ending is Ending.REVOKED
    assert listener.heard() == []
    assert other.heard() == [1, 2]


def test_a_server_that_leaves_ends_all() -> None:
    """What was told already still goes out, nothing else does; the first reason to end is the one that counts."""
    rig = Rig()
    listener, other = Listener(rig), Listener(rig)
    other.stream.end(Ending.UNSUPPORTED)
    rig.push(1)
    rig.streams.end()
    rig.push(2)
    assert listener.stream.ending is Ending.GOING_AWAY
    assert listener.heard() == [1]
    assert other.stream.ending is Ending.UNSUPPORTED
    assert other.heard() == []
    rig.streams.remove(listener.stream)
    rig.streams.remove(other.stream)
    rig.seconds(1)
    assert not rig.due
    assert not rig.watched


def test_what_waits_for_one_that_goes_weighs_nothing() -> None:
    """Else the bound that all share would be full some day, of what nobody can ever read."""
    rig = Rig()
    stays, goes = Listener(rig), Listener(rig)
    rig.push(1, 2, 3)
    both = rig.streams.total.bytes
    rig.streams.remove(goes.stream)
    assert 0 < rig.streams.total.bytes == both // 2
    rig.push(4)
    assert stays.heard() == [1, 2, 3, 4]
    assert rig.streams.total.bytes == 0


def test_one_that_goes_is_freed_without_the_collector() -> None:
    """It comes late: in a server that is busy, hours later."""
    rig = Rig()
    gc.collect()
    gc.disable()
    try:
        listener = Listener(rig)
        rig.push(1)
        gone = weakref.ref(listener)
        rig.streams.remove(listener.stream)
        del listener
        assert gone() is None
    finally:
        gc.enable()


def test_events_are_kept_a_minute_longer() -> None:
    """So that who comes back within it finds them; then nothing is made and no clock runs."""
    rig = Rig()
    assert not rig.due
    listener = Listener(rig)
    rig.seconds(5)
    seen = rig.hub.position
    rig.streams.remove(listener.stream)
    rig.seconds(KEEP_SECONDS - 1)
    rig.push(1)
    back = Listener(rig)
    back.stream.replay(seen)
    assert back.heard() == [1]
    seen = rig.hub.position
    rig.streams.remove(back.stream)
    rig.seconds(KEEP_SECONDS)
    assert not rig.watched
    assert not rig.due
    late = Listener(rig)
    assert rig.watched
    late.stream.replay(seen)
    assert late.heard() == ["reset"]


def test_many_streams_share_one_clock() -> None:
    """However many come and go, there is one timer."""
    rig = Rig()
    for _ in range(50):
        rig.streams.remove(Listener(rig, ALL).stream)
        Listener(rig, ALL)
    assert len(rig.due) == 1
    assert rig.due[0][0] == streams_module.TICK_SECONDS
    assert len(rig.streams) == 50


def test_everybody_has_a_turn() -> None:
    """A few listeners in each turn of the loop, in the order in which they asked, each once."""
    rig = Rig()
    listeners = [Listener(rig) for _ in range(TOGETHER + 3)]
    for listener in listeners:
        rig.streams.in_turn(listener)
    (next_turn,), rig.soon = rig.soon, []
    next_turn()
    assert [listener.turns for listener in listeners] == [1] * TOGETHER + [0] * 3
    assert rig.streams.busy
    rig.streams.in_turn(listeners[0])
    (next_turn,), rig.soon = rig.soon, []
    next_turn()
    assert [listener.turns for listener in listeners] == [2] + [1] * (TOGETHER + 2)
    assert not rig.streams.busy
    assert rig.soon == []


def test_an_empty_portion_is_none() -> None:
    """The three parts of a portion are what decides whether there is one."""
    assert not any(Portion(reset=False, lagged=0, events=[]))
    assert any(Portion(reset=True, lagged=0, events=[]))
