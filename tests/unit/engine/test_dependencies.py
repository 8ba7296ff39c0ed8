"""Children and the parents that hold them back."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine.dependencies import Graph


def test_a_child_is_free_when_its_last_parent_is_done() -> None:
    """One parent of two is not enough; the last one frees the child, once."""
    graph = Graph()
    graph.hold(10, [1, 2])
    assert graph
    assert graph.completed(1) == []
    assert graph.waits_for(10) == {2}
    assert graph.completed(2) == [10]
    assert graph.completed(2) == []
    assert not graph


def test_children_come_in_the_order_in_which_they_were_held() -> None:
    """The order of pushing is the order of becoming free."""
    graph = Graph()
    for child in (30, 10, 20):
        graph.hold(child, [1])
    assert graph.fan_out(1) == 3
    assert graph.completed(1) == [30, 10, 20]
    assert graph.fan_out(1) == 0


def test_a_lost_parent_frees_its_children_of_all_parents() -> None:
    """A child whose parent will never complete waits for nobody any more, not even for its other parents."""
    graph = Graph()
    graph.hold(10, [1, 2])
    graph.hold(11, [2])
    assert graph.lost(1) == [10]
    assert graph.waits_for(10) == set()
    assert graph.completed(2) == [11]
    assert graph.lost(99) == []


def test_a_child_that_leaves_is_no_longer_counted() -> None:
    """A cancelled child is not told of its parents, and parents without children are not kept."""
    graph = Graph()
    graph.hold(10, [1, 2])
    graph.hold(11, [1])
    graph.drop(10)
    graph.drop(10)
    assert graph.fan_out(2) == 0
    assert graph.waiting() == {11: {1}}
    graph.drop(11)
    assert not graph


def test_a_parent_named_twice_is_one_parent() -> None:
    """A child that names a parent twice is free when that parent is done."""
    graph = Graph()
    graph.hold(10, [1, 1])
    assert graph.completed(1) == [10]


STEPS = st.tuples(
    st.sampled_from(["hold", "hold", "completed", "lost", "drop"]), st.sets(st.integers(1, 6), max_size=4)
)


@given(steps_of(STEPS, 50))
def test_it_is_a_dictionary_of_sets(steps: list[tuple[str, set[int]]]) -> None:
    """Against a naive twin: every child with the set of its parents, searched from end to end."""
    graph = Graph()
    naive: dict[int, set[int]] = {}
    next_child = 100
    for step, numbers in steps:
        if step == "hold" and numbers:
            graph.hold(next_child, sorted(numbers))
            naive[next_child] = set(numbers)
            next_child += 1
        elif step == "completed":
            for parent in sorted(numbers):
                free = [child for child, parents in naive.items() if parents == {parent}]
                naive = {child: parents - {parent} for child, parents in naive.items() if child not in free}
                assert graph.completed(parent) == free
        elif step == "lost":
            for parent in sorted(numbers):
                lost = [child for child, parents in naive.items() if parent in parents]
                naive = {child: parents for child, parents in naive.items() if child not in lost}
                assert graph.lost(parent) == lost
        else:
            for child in list(naive)[:1]:
                graph.drop(child)
                del naive[child]
        assert graph.waiting() == naive
        assert all(graph.fan_out(parent) == sum(parent in ps for ps in naive.values()) for parent in range(1, 7))
        assert bool(graph) == bool(naive)
