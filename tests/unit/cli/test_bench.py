"""The arithmetic of the self-test."""

from hypothesis import given
from hypothesis import strategies as st

from flashq.cli import bench


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_parts(total: int, size: int) -> None:
    """The parts make up the whole, and only the last may be smaller."""
    parts = bench._parts(total, size)
    assert sum(parts) == total
    assert all(part == size for part in parts[:-1])
    assert 1 <= parts[-1] <= size


def test_measure() -> None:
    """Each part is called once, and the figure counts jobs, not calls."""
    called: list[int] = []
    figure = bench._measure("push", "batches of 5", [5, 5, 2], called.append)
    assert called == [5, 5, 2]
    assert figure.jobs == 12
    assert 0 <= figure.p50_ms <= figure.p99_ms
    assert figure.jobs_per_second > 0


def test_take() -> None:
    """Jobs are taken once each."""
    jobs = [1, 2, 3]
    assert bench._take(jobs, 2) == [2, 3]  # type: ignore[arg-type, comparison-overlap]
    assert jobs == [1]


def test_the_machine() -> None:
    """A figure without its machine says nothing."""
    assert "cores" in bench.machine()
