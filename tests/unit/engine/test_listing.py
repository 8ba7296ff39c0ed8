"""Listing: all there is, newest first, in pages that bear change, with work that does not grow with the jobs."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.bench import Bench
from tests.unit.engine.stories import QUEUES, STORIES, TELL, Step, Teller

from flashq.engine import listing
from flashq.engine.jobs import CHUNK, CHUNK_BITS, MASK
from flashq.engine.listing import Listing
from flashq.model import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    FAILED,
    STATE_NAMES,
    UNKNOWN,
    WAITING,
    WAITING_CHILDREN,
)
from flashq.protocol.limits import MAX_ID, MAX_JOB_BYTES
from flashq.reasons import NoWorker

STATES = range(len(STATE_NAMES))


def ids(bench: Bench, queue: str | None = None, state: int = UNKNOWN, below: int = MAX_ID, most: int = 1_000) -> Any:
    """The ids of one page, and where the next one begins."""
    page = bench.engine.listing.page(None if queue is None else {bench.queue(queue)}, state, below, most)
    return [job.id for job in page.jobs], page.below


def go_on_from(bench: Bench, id: int) -> None:
    """The next job gets this id."""
    bench.engine.jobs.next_id = bench.memory.next_id = id


def naive(bench: Bench, queue: str | None, state: int) -> set[int]:
    """What is there, found by looking at every id."""
    jobs = bench.engine.jobs
    return {
        id
        for id in range(1, jobs.next_id)
        if jobs.state(id) != UNKNOWN
        and state in (UNKNOWN, jobs.state(id))
        and (queue is None or jobs.options(id).queue.name == queue)
    }


def test_every_state_of_every_queue(bench: Bench) -> None:
    """Newest first; no state is every state, no queue every queue; a queue without such jobs has none."""
    bench.push_batch({}, {}, {"max_attempts": 1}, {}, {})
    bench.push(delay=60_000)
    bench.push(depends_on=[4])
    bench.push("other")
    bench.pull(count=4)
    bench.ack(1)
    bench.ack(2)
    bench.fail(3)
    assert ids(bench) == ([8, 7, 6, 5, 4, 3, 2, 1], 0)
    assert ids(bench, "emails") == ([7, 6, 5, 4, 3, 2, 1], 0)
    by_state = {state: ids(bench, "emails", state) for state in STATES[1:]}
    assert by_state == {
        WAITING: ([5], 0), DELAYED: ([6], 0), ACTIVE: ([4], 0), COMPLETED: ([2, 1], 0), FAILED: ([3], 0),
        WAITING_CHILDREN: ([7], 0),
    }  # fmt: skip
    assert ids(bench, None, WAITING) == ([8, 5], 0)
    assert ids(bench, "other", FAILED) == ([], 0)


def test_several_queues_are_listed_together(bench: Bench) -> None:
    """Of any set of queues, in one order; of no queue there is nothing."""
    for name in ("a", "b", "c", "a"):
        bench.push(name)
    some = {bench.queue("a"), bench.queue("c")}
    for state in (UNKNOWN, WAITING):
        assert bench.engine.listing.find(some, state, MAX_ID, 10) == ([4, 3, 1], 0)
        assert bench.engine.listing.find(set(), state, MAX_ID, 10) == ([], 0)
    assert bench.engine.listing.find(some, FAILED, MAX_ID, 10) == ([], 0)


def test_a_job_that_was_taken_back_is_not_listed_by_its_old_place(bench: Bench) -> None:
    """After a restart it stands in the line and is active again, for the worker that still has it."""
    bench.push_batch({}, {})
    job = bench.pull_one()
    bench.restart()
    bench.engine.control.heartbeat(job.id, str(job.token), bench.now)
    assert ids(bench, "emails", WAITING) == ([2], 0)
    assert ids(bench, "emails", ACTIVE) == ([1], 0)
    assert bench.engine.explain.job(2, bench.now).reasons == [NoWorker(1, None)]


def test_a_full_page_says_where_the_next_begins_only_if_there_is_one(bench: Bench) -> None:
    """The last page is the one that says so, also when it is full."""
    bench.push_batch(*[{}] * 4)
    assert ids(bench, most=3) == ([4, 3, 2], 2)
    assert ids(bench, below=2, most=3) == ([1], 0)
    assert ids(bench, most=4) == ([4, 3, 2, 1], 0)
    assert ids(bench, state=WAITING, most=2) == ([4, 3], 3)
    assert ids(bench, state=WAITING, below=3, most=2) == ([2, 1], 0)


def test_pages_cross_the_chunks(bench: Bench) -> None:
    """Where the columns are cut is seen by nobody, also not when whole chunks are gone in between."""
    bench.push_batch(*[{}] * 5)
    go_on_from(bench, 3 * CHUNK - 2)
    bench.push_batch(*[{}] * 4)
    found: list[int] = []
    below = MAX_ID
    while below:
        page, below = ids(bench, "emails", below=below, most=2)
        found += page
    assert found == [3 * CHUNK + 1, 3 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK - 2, 5, 4, 3, 2, 1]


def test_a_page_is_no_larger_than_an_answer_may_be(bench: Bench) -> None:
    """Payloads of a megabyte make a short page that says where to go on; one job always fits."""
    bench.push_batch(*[{}] * 20, data=b'"%s"' % (b"x" * (MAX_JOB_BYTES - 2)))
    page, below = ids(bench)
    assert (len(page), below) == (15, page[-1])
    assert ids(bench, below=below) == ([5, 4, 3, 2, 1], 0)


def test_parents_and_texts_count_as_well(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand parents are as heavy as a payload."""
    monkeypatch.setattr(listing, "MAX_ANSWER_BYTES", 40_000)
    parents = bench.push_batch(*[{}] * 1_000).ids
    bench.push("other", depends_on=parents)
    bench.push("other", tags=["t" * 256] * 90)
    bench.push("other", depends_on=parents, tags=["t" * 256])
    assert [ids(bench, "other", below=below)[0] for below in (MAX_ID, 1_003, 1_002)] == [[1_003], [1_002], [1_001]]


@TELL
@given(
    before=STORIES,
    between=st.lists(st.lists(st.tuples(st.sampled_from(["push", "pull", "ack", "fail", "cancel", "retry", "special"]),
                                        st.integers(0, 30), st.integers(0, 30)), max_size=3), max_size=30),
    queue=st.sampled_from([None, *QUEUES]),
    state=st.sampled_from(STATES),
    most=st.integers(1, 5),
    effort=st.sampled_from([1, 3, 500, listing.EFFORT]),
    few=st.sampled_from([0, listing.FEW]),
)  # fmt: skip
def test_pages_neither_repeat_nor_skip_whatever_happens_between(
    before: list[Step],
    between: list[list[Step]],
    queue: str | None,
    state: int,
    most: int,
    effort: int,
    few: int,
) -> None:
    """What matched all the time is listed exactly once, however short the pages and however much happens meanwhile."""
    bench = Bench()
    go_on_from(bench, CHUNK - 20)
    teller = Teller(bench)
    for step in before:
        teller.tell(step)
    always, listed, below = naive(bench, queue, state), [], MAX_ID
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(listing, "EFFORT", effort)
        patched.setattr(listing, "FEW", few)
        while below:
            page, rest = ids(bench, queue, state, below, most)
            assert len(page) <= most
            assert set(page) <= naive(bench, queue, state)
            assert rest < below
            listed += page
            below = rest
            for step in between.pop() if between else ():
                teller.tell(step)
                always &= naive(bench, queue, state)
    assert listed == sorted(set(listed), reverse=True)
    assert always <= set(listed)


# --- bounded ---


def lines(run: Callable[[], Any]) -> int:
    """How many lines of Python are run, loops counted as often as they turn."""
    seen = 0

    def note(_: FrameType, event: str, __: Any) -> Any:
        nonlocal seen
        seen += event == "line"
        return note

    sys.settrace(note)
    try:
        run()
    finally:
        sys.settrace(None)
    return seen


def crowded(others: int) -> Bench:
    """Ten jobs each of four queues in other states, then ``others`` waiting jobs of another queue on top of them."""
    bench = Bench(keep_completed=10, keep_bytes=1 << 40, max_bytes=1 << 40)
    engine = bench.engine
    for name in ("dead", "waiting", "delayed", "active"):
        bench.push_batch(*[{"max_attempts": 1, "delay": 60_000 if name == "delayed" else None}] * 10, queue=name)
    for job in bench.pull("dead", 10):
        bench.fail(job.id)
    bench.pull("active", 10)
    crowd = bench.queue("crowd")
    options = crowd.options(0, 3, 1_000, 0, 0)
    engine.jobs.add_run(options, [b"{}"] * others, bench.now.wall, WAITING)
    engine.queues.move(crowd, UNKNOWN, WAITING, others)
    crowd.ready.put_run(0, engine.jobs.next_id - others, engine.jobs.next_id)
    return bench


@pytest.fixture(scope="module")
def million() -> Bench:
    """A million jobs on top of a few."""
    return crowded(1_000_000)


@pytest.mark.parametrize(
    ("queue", "state"),
    [("dead", FAILED), ("waiting", WAITING), ("delayed", DELAYED), ("active", ACTIVE), (None, FAILED)],
)
def test_ten_jobs_are_found_behind_a_million_in_one_page(million: Bench, queue: str | None, state: int) -> None:
    """What is rare in its state, or known to its queue, comes at once, after fewer lines than there are chunks x 16."""
    found: list[Any] = []
    steps = lines(lambda: found.append(ids(million, queue, state)))
    assert len(found[0][0]) == 10
    assert found[0][1] == 0
    assert steps < (1_000_000 >> CHUNK_BITS) * 16


@pytest.mark.parametrize("others", [200_000, 1_000_000])
@pytest.mark.parametrize(
    ("queue", "state"), [("dead", UNKNOWN), ("crowd", WAITING), ("crowd", UNKNOWN), (None, WAITING)]
)
def test_the_work_of_a_page_does_not_grow_with_the_jobs(
    million: Bench, others: int, queue: str | None, state: int
) -> None:
    """No page of a hundred costs more lines than the effort allows, whether two hundred thousand wait or a million."""
    bench = million if others == 1_000_000 else crowded(others)
    assert lines(lambda: ids(bench, queue, state, most=100)) < 6_000


def test_the_worst_search_is_bounded(million: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of two queues mixed in every chunk: each has to be looked at, so the page ends when the effort does."""
    bench = crowded(0)
    crowd, rare = (bench.queue(name).options(0, 3, 1_000, 0, 0) for name in ("crowd", "rare"))
    for _ in range(30):
        bench.engine.jobs.add_run(crowd, [b"{}"] * (CHUNK - 1), bench.now.wall, WAITING)
        bench.engine.jobs.add_run(rare, [b"{}"], bench.now.wall, DELAYED)
    for options, state, count in ((crowd, WAITING, 30 * (CHUNK - 1)), (rare, DELAYED, 30)):
        bench.engine.queues.move(options.queue, UNKNOWN, state, count)
    listing_of = bench.engine.listing
    found = listing_of.find({rare.queue}, UNKNOWN, MAX_ID, 1_000)
    assert 0 < len(found.ids) < 30
    assert found.below > 0
    assert lines(lambda: listing_of.find({rare.queue}, UNKNOWN, MAX_ID, 1_000)) < 5 * listing.EFFORT
    assert listing_of.find({rare.queue}, DELAYED, MAX_ID, 1_000).below == 0


def test_a_listing_stands_on_the_columns_alone(bench: Bench) -> None:
    """It needs nothing but the jobs; the chunk of a job is where its id says."""
    id = bench.push()
    assert Listing(bench.engine.jobs).find(None, UNKNOWN, MAX_ID, 1).ids == [id]
    assert bench.engine.jobs.chunks[id >> CHUNK_BITS].state[id & MASK] == WAITING
