"""A sparse column is a list, as far as anybody can tell."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flashq.engine.columns import Sparse

SLOTS = 8
VALUES = st.one_of(st.none(), st.integers(0, 3))
SLICES = st.tuples(st.integers(0, SLOTS), st.integers(0, SLOTS)).map(sorted)
WRITES = st.one_of(
    st.tuples(st.integers(0, SLOTS - 1), VALUES),
    SLICES.flatmap(
        lambda ends: st.tuples(
            st.just(slice(*ends)), st.lists(VALUES, min_size=ends[1] - ends[0], max_size=ends[1] - ends[0])
        )
    ),
)


@given(st.lists(VALUES, min_size=SLOTS, max_size=SLOTS), st.lists(WRITES))
def test_it_reads_as_a_list_does(held: list[Any], writes: list[tuple[Any, Any]]) -> None:
    """Slot by slot and in slices, whatever was written before in either way."""
    twin = [*held]
    column: Sparse[Any] = Sparse(held, range(SLOTS))
    for place, value in writes:
        twin[place] = value
        column[place] = value
        assert [column[slot] for slot in range(SLOTS)] == column[0:SLOTS] == twin
        assert [column[slot:SLOTS] for slot in range(SLOTS)] == [twin[slot:] for slot in range(SLOTS)]


def test_what_is_not_taken_over_is_nothing() -> None:
    """The slots of those who are no more."""
    assert Sparse(["a", "b", "c"], [1])[0:3] == [None, "b", None]
