"""What happens later: in order of time, never early, and no heap of what has lost its meaning."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine.timers import Alarm, Timers


def make(alive: set[str] | None = None) -> Timers[str]:
    """Timers whose items mean something as long as they are in ``alive`` (None: always)."""
    return Timers(lambda _, item: alive is None or item in alive)


def test_nothing_fires_early() -> None:
    """An entry comes out at its millisecond and not before."""
    timers = make()
    assert timers.next_due() is None
    timers.at(100, "a")
    assert timers.next_due() == 100
    assert timers.due(99, 10) == []
    assert timers.due(100, 10) == [(100, "a")]
    assert timers.due(100, 10) == []


def test_equal_times_come_out_in_the_order_in_which_they_went_in() -> None:
    """The order of causes is the order of effects; items are never compared."""
    timers: Timers[object] = Timers(lambda _, __: True)
    items = [object() for _ in range(20)]
    for item in items:
        timers.at(7, item)
    assert [item for _, item in timers.due(7, 100)] == items


def test_no_more_than_a_slice_comes_out() -> None:
    """A million entries at once do not come out at once."""
    timers = make()
    for number in range(5):
        timers.at(number, str(number))
    assert timers.due(10, 2) == [(0, "0"), (1, "1")]
    assert timers.next_due() == 2


def test_stale_entries_are_swept_when_they_are_the_most() -> None:
    """A thousand stale entries stay; one more, and those that mean nothing are gone."""
    alive = {"x"}
    timers = make(alive)
    timers.at(5_000, "x")
    for number in range(1_001):
        timers.at(number, "gone")
    for _ in range(1_000):
        timers.stale()
    assert len(timers) == 1_002
    timers.stale()
    assert len(timers) == 1
    assert timers.next_due() == 5_000


def test_a_heap_of_living_entries_is_not_swept() -> None:
    """Stale entries that are the smaller part of the heap wait for their time."""
    timers = make()
    for number in range(4_000):
        timers.at(number, "x")
    for _ in range(1_500):
        timers.stale()
    assert len(timers.entries()) == 4_000


def test_whoever_sleeps_is_told_of_what_comes_earlier() -> None:
    """The alarm is shared: it rings when an entry becomes the first of its heap, and not otherwise."""
    alarm = Alarm()
    timers, others = Timers[str](lambda _, __: True, alarm), Timers[str](lambda _, __: True, alarm)
    rung = []
    for which, due in ((timers, 100), (timers, 100), (timers, 200), (others, 300), (timers, 99)):
        alarm.rung = False
        which.at(due, "x")
        rung.append(alarm.rung)
    assert rung == [True, False, False, True, True]


@given(steps_of(st.tuples(st.integers(0, 50), st.booleans()), 80), st.integers(1, 5))
def test_it_is_a_sorted_list(steps: list[tuple[int, bool]], most: int) -> None:
    """Against a naive twin: a list that is sorted by time and arrival before each question."""
    timers = make()
    naive: list[tuple[int, int]] = []
    for number, (time, ask) in enumerate(steps):
        if ask:
            naive.sort()
            expected = [entry for entry in naive if entry[0] <= time][:most]
            assert timers.due(time, most) == [(due, str(serial)) for due, serial in expected]
            naive = naive[len(expected) :]
        else:
            timers.at(time, str(number))
            naive.append((time, number))
        assert timers.next_due() == min((due for due, _ in naive), default=None)
        assert len(timers) == len(naive)
