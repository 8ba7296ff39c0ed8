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


def naive_ahead(ready: Ready, priority: int, id: int, waiting: set[int]) -> int:
    """How many waiting jobs stand before one, found by walking along the line."""
    left = dict(ready.left)
    count = 0
    for other in ready.ids():
        if left.get(other):
            left[other] -= 1
        elif other == id:
            return count
        else:
            count += other in waiting
    raise AssertionError(f"{id} is not in the line")


STEPS = st.tuples(
    st.sampled_from(["put", "put", "run", "take", "drop", "leave"]), st.integers(-2, 2), st.integers(1, 5)
)


@given(steps=steps_of(STEPS, 30), effort=st.sampled_from([1, 2, 5, 1_000]))
def test_what_goes_first_is_counted_from_either_end(steps: list[tuple[str, int, int]], effort: int) -> None:
    """Whatever came, went and came back: the number is that of a walk, or a lower bound that says it is one."""
    ready, waiting, priorities, next_id = Ready(), set[int](), dict[int, int](), 1
    for verb, priority, count in steps:
        if verb in ("put", "run"):
            new = range(next_id, next_id + (1 if verb == "put" else count))
            if verb == "put":
                ready.put(priority, next_id)
            else:
                ready.put_run(priority, new.start, new.stop)
            waiting |= set(new)
            priorities |= dict.fromkeys(new, priority)
            next_id = new.stop + priority % 2
        elif verb == "take":
            for id in ready.take(count):
                if id in waiting and id not in ready.left:
                    waiting.discard(id)
                else:
                    ready.skipped(id)
        elif waiting:
            id = sorted(waiting)[count % len(waiting)]
            if verb == "drop" and id not in ready.left:
                waiting.discard(id)
                ready.discard()
            elif verb == "leave":
                ready.leave(id)
                ready.put(priorities[id], id)

    def count_waiting(first: int, stop: int) -> int:
        return len(waiting & set(range(first, stop)))

    assert ready.length - ready.tombstones == len(waiting)
    for id in waiting:
        expected = naive_ahead(ready, priorities[id], id, waiting)
        found, exact = ready.ahead(priorities[id], id, count_waiting, effort)
        assert found == expected if exact else found <= expected
        assert exact or effort < 1_000


def test_a_long_line_is_counted_from_the_nearer_end() -> None:
    """Behind a hundred thousand entries, few steps are enough for who stands at either end, and too few in between."""
    ready = Ready()
    for id in range(0, 200_000, 2):
        ready.put(0, id)

    def all_wait(first: int, stop: int) -> int:
        return stop - first

    assert ready.ahead(0, 18, all_wait, 100) == (9, True)
    assert ready.ahead(0, 199_998, all_wait, 100) == (99_999, True)
    assert ready.ahead(0, 100_000, all_wait, 100) == (100, False)


def test_too_many_priorities_are_not_counted() -> None:
    """A line of one job a priority is looked through no further than any other."""
    ready = Ready()
    for id in range(1, 200):
        ready.put(id, id)
    assert ready.ahead(5, 5, lambda first, stop: stop - first, 100) == (0, False)
    assert ready.ahead(5, 5, lambda first, stop: stop - first, 200) == (194, True)
