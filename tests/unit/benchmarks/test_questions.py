"""Every benchmark runs, in a size that proves only that; and the arithmetic of those that have some."""

import pytest
from benchmarks import hot_path, http, latency, memory, recovery, scaling, streams, throughput, worker
from benchmarks.hot_path import count_calls
from benchmarks.latency import Timetable, percentile
from benchmarks.report import TINY, Question


@pytest.mark.parametrize(
    "question",
    [
        hot_path.run,
        throughput.push_batches,
        throughput.pull_and_ack,
        throughput.pipelined,
        throughput.one_at_a_time,
        latency.run,
        memory.run,
        recovery.run,
        scaling.run,
        worker.run,
        http.steady,
        streams.run,
    ],
    ids=lambda question: f"{question.__module__}.{question.__name__}",
)
@pytest.mark.slow
def test_it_runs(question: Question) -> None:
    """A benchmark that no longer runs is found by the tests and not on the day of the release."""
    results = list(question(TINY))
    assert results
    for result in results:
        assert len(result.samples) >= 1
        assert all(sample >= 0 for sample in result.samples)


def test_calls_are_counted_and_work_itself_is_not() -> None:
    """The number of Python functions called, however little time they take."""

    def called() -> int:
        return 1

    assert count_calls(lambda: called() + called() + len("abc")) == (5, 2)


def test_jobs_are_due_by_the_clock_and_once() -> None:
    """A timetable gives out what has fallen due since it was last asked, no more than there is."""
    table = Timetable(jobs=10, rate=100, start=5.0)
    assert list(table.due(4.0)) == []
    assert list(table.due(5.0)) == [0]
    assert list(table.due(5.035)) == [1, 2, 3]
    assert list(table.due(5.035)) == []
    assert list(table.due(99.0)) == [4, 5, 6, 7, 8, 9]


def test_latency_counts_from_the_moment_a_job_was_due() -> None:
    """A job that was sent late because the server was stuck has waited all that time."""
    table = Timetable(jobs=2, rate=100, start=5.0)
    table.answered(0, 5.5)
    table.answered(1, 5.5)
    assert table.latencies == pytest.approx([0.5, 0.49])
    assert table.done


def test_percentiles_of_few_and_of_many() -> None:
    """The last value stands for what lies beyond the samples."""
    values = [float(value) for value in range(100)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 99.9)) == (50.0, 99.0, 99.0)
    assert percentile([3.0], 50) == 3.0
