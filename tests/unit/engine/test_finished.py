"""The bounded memory of what is over: the newest completions, their results, the ids of what was dropped."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine import finished as module
from flashq.engine.finished import Finished

MUCH = 10**9


def done(finished: Finished, *ids: int, size: int = 1, result: bytes | None = None) -> list[int]:
    """Complete these jobs; returns what is forgotten for them."""
    first = finished.add(list(ids), [size] * len(ids))
    if result is not None:
        for number, id in enumerate(ids, first):
            finished.remember_result(number, id, result)
    return finished.trim()


def test_completions_are_numbered_without_gaps() -> None:
    """The first completion is number 1, and a batch gets consecutive numbers."""
    finished = Finished(10, 10, MUCH)
    assert finished.add([5, 6], [1, 1]) == 1
    assert finished.add([9], [1]) == 3
    assert finished.completions == 3
    assert finished.ids() == [5, 6, 9]
    assert len(finished) == 3


def test_the_oldest_are_forgotten_first() -> None:
    """Over the bound the oldest go, and the number says up to where."""
    finished = Finished(2, 10, MUCH)
    assert finished.forget == 1
    assert done(finished, 1, 2) == []
    assert done(finished, 3, 4, 5) == [1, 2, 3]
    assert finished.ids() == [4, 5]
    assert finished.forget == 4


def test_results_are_fewer_than_jobs() -> None:
    """The oldest results go first, while their jobs stay."""
    finished = Finished(10, 2, MUCH)
    assert finished.forget_results == 1
    for id in (1, 2, 3):
        assert done(finished, id, result=b"[]") == []
    assert finished.results == {2: b"[]", 3: b"[]"}
    assert finished.forget_results == 2


def test_a_forgotten_job_takes_its_result_along() -> None:
    """There is never a result of a job that is forgotten."""
    finished = Finished(1, 10, MUCH)
    done(finished, 1, result=b"1")
    assert done(finished, 2) == [1]
    assert finished.results == {}
    assert finished.forget_results == 3


def test_bytes_are_bounded_results_first() -> None:
    """Over the bound of bytes results are given up before jobs, then jobs until it fits."""
    finished = Finished(10, 10, 100)
    assert done(finished, 1, size=40, result=b"x" * 20) == []
    assert done(finished, 2, size=40) == []
    assert finished.results == {1: b"x" * 20}
    assert done(finished, 3, size=15, result=b"y") == []  # 40 + 40 + 15 and the newer result fit
    assert finished.results == {3: b"y"}
    assert done(finished, 4, size=90) == [1, 2, 3]
    assert finished.ids() == [4]
    assert finished.results == {}


def test_thousands_come_and_go() -> None:
    """In their order, over any number of batches; what is forgotten leaves nothing behind."""
    finished = Finished(10, 10, MUCH)
    gone: list[int] = []
    for first in range(0, 30_000, 300):
        gone += done(finished, *range(first, first + 300))
    gone += done(finished, *range(30_000, 33_000))
    assert gone == list(range(32_990))
    assert finished.ids() == list(range(32_990, 33_000))
    assert len(finished._batches) == 1


def test_a_job_over_the_bound_by_itself_is_forgotten_at_once() -> None:
    """Nothing is remembered beyond the bound, not even the newest."""
    finished = Finished(10, 10, 100)
    assert done(finished, 1, size=101) == [1]
    assert len(finished) == 0
    assert finished.forget == 2


def test_it_goes_on_after_a_restart() -> None:
    """What is restored counts towards the bounds, and the numbers go on."""
    finished = Finished(3, 3, MUCH)
    finished.restore(7, [(6, 60, 1, b"r"), (7, 70, 1, None)])
    assert (finished.completions, finished.forget, finished.forget_results) == (7, 6, 6)
    assert finished.results == {60: b"r"}
    assert done(finished, 80, 90) == [60]
    assert finished.results == {}


def test_the_dropped_are_remembered_up_to_a_bound() -> None:
    """As many dropped ids as the bound says, the newest; the oldest read as done."""
    finished = Finished(1, 1, MUCH)
    finished.drop(range(module.KEEP_DROPPED))
    finished.drop([-1, -2])
    assert len(finished.dropped) == module.KEEP_DROPPED
    assert 0 not in finished.dropped
    assert 1 not in finished.dropped
    assert 2 in finished.dropped
    assert -2 in finished.dropped


class Naive:
    """The twin: a list of [id, size, result], cut by the same three bounds."""

    def __init__(self, keep: int, keep_results: int, keep_bytes: int) -> None:
        self.jobs: list[tuple[int, int, bytes | None]] = []
        self.bounds = keep, keep_results, keep_bytes

    def trim(self) -> list[int]:
        """Cut; returns what is forgotten, oldest first."""
        keep, keep_results, keep_bytes = self.bounds
        while self.results() and (len(self.results()) > keep_results or self.held() > keep_bytes):
            oldest = next(iter(self.results()))
            self.jobs = [(id, size, None if id == oldest else result) for id, size, result in self.jobs]
        forgotten = []
        while self.jobs and (len(self.jobs) > keep or self.held() > keep_bytes):
            forgotten.append(self.jobs.pop(0)[0])
        return forgotten

    def held(self) -> int:
        """Bytes held."""
        return sum(size + len(result or b"") for _, size, result in self.jobs)

    def results(self) -> dict[int, bytes]:
        """Results by id, oldest first."""
        return {id: result for id, _, result in self.jobs if result is not None}


@given(
    bounds=st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 60)),
    steps=steps_of(st.tuples(st.integers(1, 4), st.integers(0, 20), st.none() | st.binary(max_size=10)), 30),
)
def test_it_is_a_list_that_is_cut(bounds: tuple[int, int, int], steps: list[tuple[int, int, bytes | None]]) -> None:
    """Against the naive twin: the same is forgotten, the same is kept, after every batch."""
    finished, naive = Finished(*bounds), Naive(*bounds)
    next_id = 1
    for count, size, result in steps:
        ids = list(range(next_id, next_id + count))
        next_id += count
        naive.jobs += [(id, size, result) for id in ids]
        assert done(finished, *ids, size=size, result=result) == naive.trim()
        assert finished.ids() == [id for id, _, _ in naive.jobs]
        assert finished.results == naive.results()
        assert finished.forget == finished.completions - len(naive.jobs) + 1
