"""The line of parked pulls: first come, first served, and leaving from anywhere."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.bench import waiter
from tests.unit.engine.strategies import steps_of

from flashq.engine.waiters import Waiters


def test_the_first_stays_first_until_it_is_popped() -> None:
    """Asking who is next takes nobody out; being served ends the waiting."""
    waiters = Waiters()
    ann, ben = waiter("ann", "q", 1), waiter("ben", "q", 5)
    waiters.park(ann)
    waiters.park(ben)
    assert waiters.first() is ann
    assert waiters.first() is ann
    assert waiters.pop() is ann
    assert (ann.parked, ben.parked) == (False, True)
    assert len(waiters) == 1


def test_leaving_from_the_middle() -> None:
    """Whoever leaves is no longer parked and no longer in line; leaving twice is nothing."""
    waiters = Waiters()
    parked = [waiter(token) for token in "abc"]
    for each in parked:
        waiters.park(each)
    assert waiters.leave("b") is parked[1]
    assert not parked[1].parked
    assert waiters.leave("b") is None
    assert [waiters.pop().token for _ in range(2)] == ["a", "c"]


@given(steps_of(st.tuples(st.sampled_from(["park", "pop", "leave"]), st.integers(0, 9)), 60))
def test_it_is_a_list(steps: list[tuple[str, int]]) -> None:
    """Against a naive twin: a list of tokens."""
    waiters = Waiters()
    naive: list[int] = []
    for number, (step, token) in enumerate(steps):
        if step == "park":
            waiters.park(waiter(number + 10))
            naive.append(number + 10)
        elif step == "pop" and naive:
            assert waiters.pop().token == naive.pop(0)
        elif step == "leave":
            left = naive[token] if token < len(naive) else -1
            found = waiters.leave(left)
            assert (found.token if found else -1) == left
            if found:
                naive.remove(left)
        assert len(waiters) == len(naive)
        assert bool(waiters) == bool(naive)
        if naive:
            assert waiters.first().token == naive[0]
