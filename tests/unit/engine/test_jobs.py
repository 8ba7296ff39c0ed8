"""Every job by its id: columns in chunks, written one by one or in runs, freed when nobody is left."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine.columns import Sparse
from flashq.engine.jobs import CHUNK, FEW, JOB_BYTES, LOOKED_AFTER, MASK, Extra, Jobs
from flashq.engine.queue import Options, Queue
from flashq.model import ACTIVE, UNKNOWN, WAITING

QUEUE = Queue("q")
PLAIN = QUEUE.options(0, 3, 1_000, 0, 0)
URGENT = QUEUE.options(9, 3, 1_000, 0, 0)


def test_ids_are_handed_out_without_gaps() -> None:
    """One by one and in runs, from where it is told to begin."""
    jobs = Jobs(next_id=7)
    assert jobs.add(PLAIN, b"1", 10, WAITING) == 7
    assert jobs.add_run(PLAIN, [b"2", b"3"], 10, WAITING) == 8
    assert jobs.add(URGENT, b"4", 10, WAITING) == 10
    assert jobs.next_id == 11


@pytest.mark.parametrize("start", [1, CHUNK - 2, CHUNK - 1, CHUNK, 2 * CHUNK - 1])
@pytest.mark.parametrize("count", [1, 2, 3, CHUNK, 2 * CHUNK + 5])
def test_a_run_is_the_same_as_its_jobs(start: int, count: int) -> None:
    """A run over any number of chunks writes what single jobs would have written."""
    payloads = [str(number).encode() for number in range(count)]
    run, single = Jobs(start), Jobs(start)
    assert run.add_run(PLAIN, payloads, 5, WAITING) == start
    for data in payloads:
        single.add(PLAIN, data, 5, WAITING)
    assert run.next_id == single.next_id
    assert run.bytes == single.bytes == sum(map(len, payloads)) + count * JOB_BYTES
    assert run.chunks.keys() == single.chunks.keys()
    for number, chunk in run.chunks.items():
        other = single.chunks[number]
        for columns in zip(*((one.data, one.options, one.created, one.lease) for one in (chunk, other)), strict=True):
            ours, theirs = (column[0:CHUNK] for column in columns)
            assert ours == theirs
            assert len(ours) == CHUNK
        assert (chunk.state, chunk.live) == (other.state, other.live)


def test_states_are_read_and_written() -> None:
    """A job that is not there is unknown, whatever its number."""
    jobs = Jobs()
    id = jobs.add(PLAIN, b"", 0, WAITING)
    jobs.set_state(id, ACTIVE)
    assert [jobs.state(id), jobs.state(id + 1), jobs.state(10**15)] == [ACTIVE, UNKNOWN, UNKNOWN]
    assert jobs.options(id) is PLAIN


@pytest.mark.parametrize(
    ("ids", "is_run"),
    [
        ([], False),
        ([5], False),
        ([5, 6], True),
        (list(range(1, CHUNK)), True),
        ([6, 5], False),
        ([5, 7], False),
        ([5, 7, 6, 8], False),
        ([5, 5, 7], False),
        ([CHUNK - 1, CHUNK], False),
        ([CHUNK, CHUNK + 1], True),
        ([9 * CHUNK, 9 * CHUNK + 1], False),
    ],
    ids=lambda value: str(value)[:20],
)
def test_consecutive_ids_of_a_chunk_are_a_run(ids: list[int], is_run: bool) -> None:
    """Two or more of them, in their order, in a chunk that exists; its slots are those of the ids."""
    jobs = Jobs()
    jobs.add_run(PLAIN, [b""] * (2 * CHUNK - 1), 0, WAITING)
    run = jobs.run(ids)
    assert (run is not None) == is_run
    if run is not None:
        assert run.chunk is jobs.chunks[ids[0] // CHUNK]
        assert (run.start, run.stop) == (ids[0] & MASK, (ids[-1] & MASK) + 1)


@pytest.mark.parametrize("ids", [[2, 3, 4], [4, 2, 3], [1, 2, 3, 4, 5]], ids=["run", "single", "all"])
def test_runs_are_forgotten_like_single_jobs(ids: list[int]) -> None:
    """Together or one by one: the same slots are free, the same extras are gone."""
    jobs = Jobs()
    jobs.add_run(PLAIN, [b"a" * n for n in range(5)], 0, WAITING)
    for id in range(1, 6):
        jobs.extra(id).custom_id = str(id)
        jobs.customs[str(id)] = id
    jobs.forget(ids)
    left = [id for id in range(1, 6) if id not in ids]
    assert [id for id in range(1, 6) if jobs.state(id) == WAITING] == left
    assert (list(jobs.extras), list(jobs.customs.values())) == (left, left)
    assert jobs.bytes == sum(id - 1 + JOB_BYTES for id in left)
    assert len(jobs.chunks) == bool(left)


def test_whether_any_job_of_many_has_extras() -> None:
    """One is enough."""
    jobs = Jobs()
    assert not jobs.have_extras([1, 2])
    jobs.extra(2)
    assert jobs.have_extras([1, 2])
    assert not jobs.have_extras([1, 3])


def test_a_restored_job_takes_the_place_it_had() -> None:
    """The next id stays what it was, whatever is put where."""
    jobs = Jobs(next_id=9_000)
    chunk = jobs.place(5_000, URGENT, b"abc", 7, WAITING)
    assert chunk is jobs.chunks[5_000 // CHUNK]
    assert (jobs.state(5_000), jobs.options(5_000), jobs.next_id) == (WAITING, URGENT, 9_000)
    assert (chunk.live, jobs.bytes) == (1, 3 + JOB_BYTES)


def test_extras_are_made_when_they_are_needed() -> None:
    """The first question makes them, the second finds them."""
    jobs = Jobs()
    extra = jobs.extra(3)
    assert extra == Extra()
    assert jobs.extra(3) is extra


def test_forgetting_frees_everything() -> None:
    """Slot, payload, extras, the client's own id and at last the chunk: nothing of a forgotten job stays."""
    jobs = Jobs()
    first = jobs.add_run(PLAIN, [b"abc"] * 3, 0, WAITING)
    jobs.extra(first).custom_id = "mine"
    jobs.customs["mine"] = first
    jobs.extra(first + 1).attempts = 1
    jobs.forget([first, first + 2])
    chunk = jobs.chunks[0]
    assert [jobs.state(first + place) for place in range(3)] == [UNKNOWN, WAITING, UNKNOWN]
    assert [chunk.data[first], chunk.options[first], chunk.lease[first]].count(None) == 3
    assert (jobs.customs, list(jobs.extras), jobs.bytes) == ({}, [first + 1], 3 + JOB_BYTES)
    jobs.forget([first + 1])
    assert (jobs.chunks, jobs.extras, jobs.bytes) == ({}, {}, 0)
    assert jobs.next_id == 4


def thinned(jobs: Jobs) -> list[int]:
    """The chunks that were thinned out."""
    return [number for number, chunk in jobs.chunks.items() if isinstance(chunk.data, Sparse)]


def fill(jobs: Jobs, chunks: int) -> None:
    """Jobs up to the end of so many further chunks."""
    jobs.add_run(PLAIN, [b""] * (chunks * CHUNK - (jobs.next_id & MASK)), 0, WAITING)


def test_chunks_of_which_little_is_left_become_small() -> None:
    """As others come, and only those: of the newest, and of the full ones, every slot is needed."""
    jobs = Jobs(CHUNK)
    fill(jobs, 6)
    jobs.forget([id for id in range(CHUNK, 3 * CHUNK) if id % 1_000])
    jobs.forget([*range(3 * CHUNK, 4 * CHUNK)])
    assert thinned(jobs) == []
    fill(jobs, 4)
    assert thinned(jobs) == [1, 2]
    jobs.forget([*range(4 * CHUNK + FEW, 5 * CHUNK)])
    jobs.forget([*range(5 * CHUNK + FEW + 1, 6 * CHUNK)])
    fill(jobs, 4 * LOOKED_AFTER)
    assert thinned(jobs) == [1, 2, 4]


def test_the_newest_chunk_stays_as_it_is() -> None:
    """Though it was empty, and freed, before others came into it."""
    jobs = Jobs(CHUNK)
    for _ in range(10):
        jobs.forget([jobs.add(PLAIN, b"", 0, WAITING)])
    jobs.add(PLAIN, b"", 0, WAITING)
    assert thinned(jobs) == []


def test_a_chunk_that_is_thinned_out_is_small() -> None:
    """One old job keeps some kilobytes, where a list for each column would be a hundred and more."""
    tracemalloc.start()
    try:
        jobs = Jobs(0)
        fill(jobs, 100)
        jobs.forget([id for id in range(100 * CHUNK) if id & MASK])
        before = tracemalloc.get_traced_memory()[0]
        for chunk in jobs.chunks.values():
            chunk.thin_out()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert before / 100 > 128 * 1024
    assert after / 100 < 6 * 1024


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5)),
    st.tuples(st.just("run"), st.integers(1, 3_000)),
    st.tuples(st.just("forget"), st.integers(1, 5_000)),
    st.tuples(st.just("thin"), st.integers(0, 5)),
)


@given(steps_of(STEPS, 12), st.integers(1, 2 * CHUNK))
def test_it_is_a_dictionary(steps: list[tuple[str, int]], start: int) -> None:
    """Against a naive twin: a dictionary by id."""
    jobs = Jobs(start)
    naive: dict[int, tuple[Any, ...]] = {}
    next_id = start
    for step, count in steps:
        options: Options = URGENT if count % 2 else PLAIN
        if step == "add":
            naive[next_id] = (b"x" * count, options, count, WAITING)
            assert jobs.add(options, b"x" * count, count, WAITING) == next_id
            next_id += 1
        elif step == "run":
            payloads = [b"y" * (number % 3) for number in range(count)]
            assert jobs.add_run(options, payloads, count, ACTIVE) == next_id
            for data in payloads:
                naive[next_id] = (data, options, count, ACTIVE)
                next_id += 1
        elif step == "thin":
            for chunk in list(jobs.chunks.values())[count:]:
                chunk.thin_out()
        else:
            gone = list(naive)[:: count % 2 + 1][:count]
            jobs.forget(gone)
            for id in gone:
                del naive[id]
        assert jobs.bytes == sum(len(job[0]) + JOB_BYTES for job in naive.values())
        assert sum(chunk.live for chunk in jobs.chunks.values()) == len(naive)
        assert len(jobs.chunks) == len({id // CHUNK for id in naive})
    for id in range(start, next_id):
        expected = naive.get(id)
        assert jobs.state(id) == (expected[3] if expected else UNKNOWN)
        if expected:
            chunk = jobs.chunks[id // CHUNK]
            assert (chunk.data[id & MASK], chunk.options[id & MASK], chunk.created[id & MASK]) == expected[:3]


def test_a_range_is_counted_across_chunks() -> None:
    """Jobs in a state between two ids, wherever the columns are cut, also where a chunk is missing."""
    jobs = Jobs()
    jobs.place_run(CHUNK - 3, PLAIN, [b""] * 6, 0, WAITING)
    jobs.place_run(3 * CHUNK, PLAIN, [b""] * 2, 0, WAITING)
    jobs.set_state(CHUNK, ACTIVE)
    assert jobs.count(1, 4 * CHUNK, WAITING) == 7
    assert jobs.count(1, 4 * CHUNK, ACTIVE) == 1
    assert [jobs.count(CHUNK - 3, CHUNK + n, WAITING) for n in (-3, -2, 0, 1, 2, 9)] == [0, 1, 3, 3, 4, 5]
    assert jobs.count(3 * CHUNK + 1, 3 * CHUNK + 2, WAITING) == 1
    assert jobs.count(5, 5, WAITING) == 0
