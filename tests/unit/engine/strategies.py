"""How hypothesis builds what many properties need."""

from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


def steps_of(elements: st.SearchStrategy[T], most: int) -> st.SearchStrategy[list[T]]:
    """Lists of any length up to ``most``, all lengths equally likely; a plain list strategy gives five on average."""
    return st.integers(0, most).flatmap(lambda count: st.lists(elements, min_size=count, max_size=count))
