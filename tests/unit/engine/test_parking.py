"""Unit tests of `flashq.engine.parking`."""

from collections.abc import Hashable

import pytest

from flashq.engine import parking as module
from flashq.engine.effects import Outbox
from flashq.engine.parking import Parking
from flashq.engine.timers import Timers
from flashq.engine.waiters import Call
from flashq.errors import Overloaded
from flashq.model import Instant

NOW = Instant(1_700_000_000_000, 1_000)


class Lot:
    """A parking, and whoever has left the place where it stood."""

    def __init__(self) -> None:
        self.outbox = Outbox(recording=False)
        self.timers: Timers[Call] = Timers(lambda _, call: call.parked)
        self.parking = Parking(self.timers, self.outbox)
        self.left: list[Hashable] = []

    def park(self, token: Hashable, wait_ms: int | None = None) -> Call:
        """A call waits."""
        call = Call(token=token, leave=lambda: self.left.append(token))
        self.parking.park(call, wait_ms, NOW)
        return call


def test_a_call_that_is_unparked_leaves_its_place() -> None:
    """Once, and the second time is told that there was nothing to take back."""
    lot = Lot()
    call = lot.park("ann")
    assert len(lot.parking) == 1
    assert lot.parking.unpark("ann")
    assert not lot.parking.unpark("ann")
    assert (lot.left, call.parked, len(lot.parking), lot.outbox.deliveries) == (["ann"], False, 0, [])


def test_a_call_whose_time_is_over_is_answered_with_nothing() -> None:
    """It has a timer exactly when it does not wait for ever; one that was served meanwhile is not answered again."""
    lot = Lot()
    lot.park("patient")
    call, served = lot.park("ann", wait_ms=50), lot.park("ben", wait_ms=20)
    lot.parking.forget(served)
    assert lot.timers.due(NOW.steady + 50, 9) == [(NOW.steady + 20, served), (NOW.steady + 50, call)]
    lot.parking.give_up(served)
    lot.parking.give_up(call)
    assert lot.outbox.take_deliveries() == [("ann", [])]
    assert (lot.left, list(lot.parking.calls)) == (["ann"], ["patient"])


def test_a_time_that_is_over_leaves_no_timer_behind() -> None:
    """So it is not counted among the timers without a meaning, for which all of them would be swept."""
    lot = Lot()
    asked: list[Call] = []
    lot.timers._alive = lambda _, call: bool(asked.append(call)) or call.parked
    for number in range(1_200):
        lot.park(number, wait_ms=50)
    lot.park("patient", wait_ms=60)
    for _, call in lot.timers.due(NOW.steady + 50, 1_200):
        lot.parking.give_up(call)
    assert len(lot.outbox.deliveries) == 1_200
    assert not asked
    assert len(lot.timers) == 1


def test_who_is_served_stays_where_it_stands() -> None:
    """Whoever serves has taken it out already: nobody is asked to leave."""
    lot = Lot()
    lot.parking.forget(lot.park("ann"))
    assert lot.left == []


def test_there_are_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused and leaves no trace; whoever leaves makes room."""
    monkeypatch.setattr(module, "MAX_WAITS", 1)
    lot = Lot()
    lot.park("ann")
    with pytest.raises(Overloaded, match=r"^Too many waiting calls \(max 1\)$"):
        lot.park("ben", wait_ms=5)
    assert (list(lot.parking.calls), len(lot.timers)) == (["ann"], 0)
    lot.parking.unpark("ann")
    lot.park("ben")


def test_those_whose_time_is_over_give_up_in_slices() -> None:
    """Oldest first; and it is said how long nothing more of this kind will happen."""
    lot = Lot()
    assert lot.parking.wait(NOW) is None
    for number in range(3):
        lot.park(number, 10 + number)
    lot.park("patient")
    assert lot.parking.wait(NOW) == 10
    late = Instant(NOW.wall + 11, NOW.steady + 11)
    assert lot.parking.wait(late) == 0
    lot.parking.end_overdue(late, 1)
    assert lot.left == [0]
    lot.parking.end_overdue(late, 10)
    assert lot.left == [0, 1]
    assert lot.parking.wait(late) == 1
