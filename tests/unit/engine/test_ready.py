"""The line of a queue: priority first, then first in, first out; runs and single ids are one line."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine.ready import Ready


def test_higher_priorities_go_first_and_equal_ones_in_their_order() -> None:
    """Priority decides, then the order of arrival; negative priorities come last."""
    ready = Ready()
    for priority, id in ((0, 1), (5, 2), (-3, 3), (5, 4), (0, 5)):
        ready.put(priority, id)
    assert ready.take(10) == [2, 4, 1, 5, 3]
    assert ready.length == 0


def test_consecutive_ids_become_one_run() -> None:
    """However long a stretch of consecutive ids is, it costs one entry."""
    ready = Ready()
    for id in range(1, 1_001):
        ready.put(0, id)
    ready.put_run(0, 1_001, 2_001)
    ready.put(0, 2_001)
    assert ready.length == 2_001
    assert len(ready._lanes[0]) == 1
    assert ready.take(3) == [1, 2, 3]
    assert ready.ids()[:2] == [4, 5]


def test_a_run_after_a_gap_is_a_run_of_its_own() -> None:
    """A gap in the ids ends a run; nothing between is invented."""
    ready = Ready()
    ready.put_run(0, 1, 4)
    ready.put(0, 9)
    ready.put(0, 11)
    ready.put_run(0, 20, 22)
    ready.put(0, 30)
    assert ready.take(100) == [1, 2, 3, 9, 11, 20, 21, 30]


def test_put_front_keeps_the_order_given() -> None:
    """What is put back stands before the rest of its lane, in the order given, and opens the lane if need be."""
    ready = Ready()
    ready.put_front(0, [7])
    ready.put_run(0, 10, 12)
    ready.put_front(0, [3, 4])
    ready.put_front(9, [5])
    assert ready.length == 6
    assert ready.take(6) == [5, 3, 4, 7, 10, 11]


def test_tombstones_are_counted() -> None:
    """Whoever takes an id out says so, and whoever skips it says so."""
    ready = Ready()
    ready.put_run(0, 1, 4)
    ready.discard()
    ready.discard(2)
    ready.skipped(1)
    assert ready.tombstones == 2
    assert ready.length == 3


def test_an_id_that_left_and_came_back_counts_once() -> None:
    """Its old entries are tombstones, as many as it left; only the newest one stands for it."""
    ready = Ready()
    ready.put_run(0, 1, 3)
    for _ in range(2):
        ready.leave(1)
        ready.put(0, 1)
    assert (ready.ids(), ready.tombstones, ready.left) == ([1, 2, 1, 1], 2, {1: 2})
    ready.skipped(1)
    assert (ready.tombstones, ready.left) == (1, {1: 1})
    ready.skipped(1)
    assert (ready.tombstones, ready.left) == (0, {})


def test_rebuilding_keeps_the_newest_place_of_an_id_that_came_back() -> None:
    """The old ones go, as do all other tombstones."""
    ready = Ready()
    ready.put_run(0, 1, 4)
    ready.leave(1)
    ready.put(0, 1)
    ready.discard()
    ready.rebuild(lambda id: id != 3)
    assert (ready.ids(), ready.length, ready.tombstones, ready.left) == ([2, 1], 2, 0, {})


def test_a_line_of_tombstones_is_rebuilt() -> None:
    """Once tombstones are most of a long line, rebuilding leaves only those who wait, in their order."""
    ready = Ready()
    ready.put_run(0, 1, 2_001)
    ready.put(5, 3_000)
    crowded = []
    for count in (1_000, 1):
        ready.discard(count)
        crowded.append(ready.crowded)
    assert crowded == [False, True]  # a thousand are not yet enough
    ready.rebuild(lambda id: id > 1_001)
    assert (ready.length, ready.tombstones, ready.crowded) == (1_000, 0, False)
    assert ready.take(2_000) == [3_000, *range(1_002, 2_001)]


def test_few_tombstones_in_a_long_line_stay() -> None:
    """More than a thousand tombstones are no reason to rebuild a line of which they are the smaller part."""
    ready = Ready()
    ready.put_run(0, 1, 4_001)
    ready.discard(1_500)
    assert not ready.crowded


PRIORITIES = st.sampled_from([-5, 0, 0, 3, 2**31 - 1])
STEPS = st.one_of(
    st.tuples(st.just("put"), PRIORITIES, st.integers(1, 3)),
    st.tuples(st.just("run"), PRIORITIES, st.integers(1, 30)),
    st.tuples(st.just("front"), PRIORITIES, st.integers(1, 4)),
    st.tuples(st.just("take"), st.just(0), st.integers(0, 40)),
)


@given(steps_of(STEPS, 60))
def test_it_is_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    """Against a naive twin: a list a priority. Every answer and every length is the same."""
    ready = Ready()
    naive: dict[int, list[int]] = {}
    next_id = 1
    for step, priority, count in steps:
        ids = list(range(next_id, next_id + count))
        lane = naive.setdefault(priority, [])
        if step == "put":
            for id in ids:
                ready.put(priority, id)
            lane += ids
        elif step == "run":
            ready.put_run(priority, next_id, next_id + count)
            lane += ids
        elif step == "front":
            ready.put_front(priority, ids)
            naive[priority] = ids + lane
        else:
            line = [(p, id) for p in sorted(naive, reverse=True) for id in naive[p]]
            assert ready.take(count) == [id for _, id in line[:count]]
            for p, id in line[:count]:
                naive[p].remove(id)
        next_id += count + count % 2  # gaps now and then
        expected = [id for p in sorted(naive, reverse=True) for id in naive[p]]
        assert ready.ids() == expected
        assert ready.length == len(expected)


def test_the_foremost_are_seen_and_not_taken() -> None:
    """The heads of the lanes, the lane that holds something for the longest time first, whatever its priority."""
    ready = Ready()
    for priority, id in ((0, 1), (5, 7), (0, 2), (9, 20)):
        ready.put(priority, id)
    ready.put_run(5, 10, 15)
    assert ready.foremost(2, 3) == [[1, 2], [7, 10, 11]]
    assert ready.foremost(10, 1) == [[1], [7], [20]]
    assert ready.length == 9
