"""Times in buckets: against a naive twin, and the ends of the scale."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine.histogram import JOB_TIMES_MS, Histogram

BOUNDS = (1, 5, 10, 100)


def naive(values: list[int]) -> tuple[tuple[int, ...], int]:
    """Each value looked at by itself, with no bisection."""
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[sum(value > bound for bound in BOUNDS)] += 1
    return tuple(counts), sum(max(0, value) for value in values)


@pytest.mark.parametrize(
    ("value", "bucket"), [(-7, 0), (0, 0), (1, 0), (2, 1), (5, 1), (6, 2), (100, 3), (101, 4), (10**9, 4)]
)
def test_what_lies_on_a_bound_is_below_it(value: int, bucket: int) -> None:
    """A bucket is named by its upper bound and includes it, as Prometheus has it; the last one has no bound."""
    single, many = Histogram(BOUNDS, 1_000), Histogram(BOUNDS, 1_000)
    single.add(value)
    many.add_since([-value], 0)
    for histogram in (single, many):
        assert histogram.read().counts == tuple(int(place == bucket) for place in range(5))


def test_a_weight_is_so_many_observations() -> None:
    """A batch that shares its time costs one call and counts for each of its jobs."""
    weighed, repeated = Histogram(BOUNDS, 1_000), Histogram(BOUNDS, 1_000)
    weighed.add(7, 3)
    for _ in range(3):
        repeated.add(7)
    assert weighed.read() == repeated.read()
    assert weighed.read().total == 21


def test_what_was_read_does_not_change() -> None:
    """A reader in another thread holds a copy, whatever is observed meanwhile."""
    histogram = Histogram(BOUNDS, 1_000)
    before = histogram.read()
    histogram.add(1)
    assert before.counts == (0,) * 5
    assert before.unit == 1_000


@given(
    steps_of(st.lists(st.integers(-50, 200), min_size=1, max_size=40), 10),
    st.integers(0, 10**12),
)
def test_batches_count_as_their_jobs_do(batches: list[list[int]], now: int) -> None:
    """Whatever the order and the spread of a batch's moments: the counts are those of one look at each."""
    histogram = Histogram(BOUNDS, 1_000)
    for took in batches:
        moments = [now - each for each in took]
        histogram.add_since(moments, now)
        assert moments == [now - each for each in took], "the caller's list is not ours to sort"
    counts, total = naive([each for took in batches for each in took])
    assert histogram.read().counts == counts
    assert histogram.read().total == total


def test_the_bounds_of_jobs_ascend() -> None:
    """Bisection among bounds out of order would put observations anywhere."""
    assert list(JOB_TIMES_MS) == sorted(set(JOB_TIMES_MS))
