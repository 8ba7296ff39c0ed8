"""Unit tests of `flashq.engine.explain`: every reason is a fact, and nothing else is told as one."""

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.bench import START, Bench
from tests.unit.engine.stories import STORIES, TELL, Step, Teller

from flashq.engine import explain
from flashq.engine.check import check
from flashq.engine.ready import Ready
from flashq.errors import NotFound
from flashq.model import WAITING, Instant
from flashq.reasons import (
    Ahead,
    Basis,
    Completed,
    Concurrency,
    Delayed,
    Dependencies,
    Explanation,
    Failed,
    Gone,
    Holder,
    NoWorker,
    Parent,
    Paused,
    RateLimited,
    Running,
    WorkersBusy,
)

NOBODY = NoWorker(0, None)


def why(bench: Bench, id: int) -> list[Any]:
    """The reasons of now."""
    return list(bench.engine.explain.job(id, bench.now).reasons)


def told(bench: Bench, id: int) -> Explanation:
    """The whole explanation of now."""
    return bench.engine.explain.job(id, bench.now)


# --- ready, and not running ---


def test_nobody_asks(bench: Bench) -> None:
    """A job at the head of an open queue lacks nothing but somebody who wants it."""
    id = bench.push()
    assert told(bench, id) == Explanation(id, "emails", "waiting", START.wall, [NOBODY])
    bench.push()
    bench.pull()
    bench.pass_time(300)
    assert why(bench, 2) == [NoWorker(active=1, since_delivery_ms=300)]


def test_workers_that_are_busy(bench: Bench) -> None:
    """Workers of the queue are counted with their room; those of other queues are not."""
    worker = bench.hello("one")
    bench.hello("two")
    bench.engine.control.hello("other", ["reports"], 99, None, None, bench.now)
    bench.push_batch({}, {})
    bench.pull(worker=worker)
    bench.pass_time(5)
    assert why(bench, 2) == [WorkersBusy(workers=2, concurrency=8, since_delivery_ms=5)]


def test_a_paused_queue(bench: Bench) -> None:
    """Also of a job that is not ready yet: it would not run then either."""
    bench.park("somebody")
    bench.engine.control.pause(bench.queue())
    ready, delayed, child = bench.push(), bench.push(delay=5), bench.push(depends_on=[1])
    assert why(bench, ready) == [Paused()]
    assert [type(reason) for reason in why(bench, delayed)] == [Delayed, Paused]
    assert [type(reason) for reason in why(bench, child)] == [Dependencies, Paused]
    assert told(bench, ready).estimated_start is None


def test_a_rate_limit(bench: Bench) -> None:
    """Told only while the bucket is empty, with the ms until it holds a token."""
    bench.engine.control.set_rate(bench.queue(), 4, bench.now)
    bench.push_batch(*[{}] * 6)
    assert why(bench, 1) == [NOBODY]
    bench.pull(count=4)
    bench.pass_time(100)
    assert why(bench, 5) == [RateLimited(limit=4, frees_in_ms=150), NoWorker(4, 100)]
    bench.pass_time(149)
    assert why(bench, 5)[0] == RateLimited(limit=4, frees_in_ms=1)
    bench.pass_time(1)
    assert why(bench, 5) == [NoWorker(4, 250)]
    assert bench.pulled_ids() == [5]


def test_asking_takes_no_token(bench: Bench) -> None:
    """However often somebody asks, the bucket gives what it would have given."""
    bench.engine.control.set_rate(bench.queue(), 1, bench.now)
    bench.push_batch({}, {}, {})
    bench.pull()
    for _ in range(10):
        bench.pass_time(99)
        assert isinstance(why(bench, 2)[0], RateLimited)
    bench.pass_time(10)
    assert bench.pulled_ids() == [2]


def test_a_concurrency_limit(bench: Bench) -> None:
    """Who holds the slots: the newest ten, and how many in all."""
    bench.engine.control.set_concurrency(bench.queue(), 12, bench.now)
    bench.push_batch(*[{}] * 14)
    bench.pull(count=11)
    assert why(bench, 12) == [NoWorker(11, 0)]
    bench.pass_time(7)
    bench.pull()
    found = why(bench, 13)[0]
    assert isinstance(found, Concurrency)
    assert (found.limit, found.active, len(found.holders)) == (12, 12, 10)
    assert found.holders[:2] == [Holder(12, START.wall + 7), Holder(11, START.wall)]


def test_others_go_first(bench: Bench) -> None:
    """By priority and then by order; jobs that were taken back, or wait in other queues, do not count."""
    bench.push_batch(*[{}] * 5)
    bench.push("other")
    bench.push(priority=9)
    bench.push(delay=1_000)
    bench.cancel(2)
    assert [why(bench, id)[0] for id in (1, 3, 5)] == [Ahead(count, True) for count in (1, 2, 4)]
    assert why(bench, 7) == [NOBODY]


def test_a_line_too_long_to_count_is_not_guessed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least so many, and no estimate."""
    monkeypatch.setattr(explain, "EFFORT", 3)
    for _ in range(10):
        bench.push()
        bench.push("other")
    bench.pull()
    bench.pass_time(2_000)
    assert why(bench, 11)[0] == Ahead(3, exact=False)
    assert told(bench, 11).estimated_start is None
    assert why(bench, 19)[0] == Ahead(8, exact=True)
    assert told(bench, 19).estimated_start is not None


# --- not ready ---


def test_a_delay_and_a_backoff(bench: Bench) -> None:
    """The first says until when, the second also why it is tried again."""
    id = bench.push(delay=500, backoff=1_000)
    assert why(bench, id) == [Delayed(START.wall + 500, False, 0, None)]
    bench.pass_time(500)
    bench.pull()
    bench.fail(id, "no route")
    assert why(bench, id) == [Delayed(bench.now.wall + 1_000, True, 1, "no route")]


def test_a_job_released_for_later_is_no_retry(bench: Bench) -> None:
    """It has not failed."""
    id = bench.push()
    bench.pull()
    bench.release(id, delay=50)
    assert why(bench, id) == [Delayed(START.wall + 50, False, 0, None)]


def test_parents(bench: Bench) -> None:
    """Those that have not completed, with their states: a dead letter among them is the one to look at."""
    bench.push_batch({}, {"max_attempts": 1}, {}, {"delay": 99})
    bench.pull(count=2)
    bench.ack(1)
    bench.fail(2)
    child = bench.push(depends_on=[4, 3, 2, 1])
    parents = [Parent(2, "failed"), Parent(3, "waiting"), Parent(4, "delayed")]
    assert why(bench, child) == [Dependencies(3, parents)]
    later = bench.push(depends_on=[3], delay=70)
    assert why(bench, later) == [Dependencies(1, [Parent(3, "waiting")]), Delayed(START.wall + 70, False, 0, None)]


def test_many_parents_are_counted_and_the_oldest_named(bench: Bench) -> None:
    """A thousand parents make an answer of a hundred."""
    ids = bench.push_batch(*[{}] * 1_000).ids
    (found,) = why(bench, bench.push(depends_on=ids))
    assert found.count == 1_000
    assert [parent.id for parent in found.parents] == ids[: explain.MOST_PARENTS]


# --- begun ---


def test_running_under_a_lease(bench: Bench) -> None:
    """The deadline is the lease's, and moves with each sign of life."""
    id = bench.push()
    bench.pull()
    lease = bench.settings.lease
    assert why(bench, id) == [Running(None, START.wall, START.wall + lease, "lease", 0, None)]
    bench.pass_time(100)
    bench.engine.control.progress(id, None, 40, "almost half", bench.now)
    assert why(bench, id) == [Running(None, START.wall, bench.now.wall + lease, "lease", 40, "almost half")]


def test_running_under_a_timeout_and_a_clock_that_is_set(bench: Bench) -> None:
    """The deadline is told on the clock of people; that nobody can set decides when it comes."""
    id = bench.push(timeout=5_000)
    bench.pull()
    bench.set_wall(3_600_000)
    bench.now = Instant(bench.now.wall + 1_000, bench.now.steady + 1_000)
    assert why(bench, id) == [Running(None, START.wall, bench.now.wall + 4_000, "timeout", 0, None)]


def test_running_with_a_worker(bench: Bench) -> None:
    """Its name, and the moment at which its silence ends the attempt; a timeout of the job's own comes first."""
    worker = bench.hello("mail-1")
    bench.push_batch({}, {"timeout": 9_000})
    bench.pull(count=2, worker=worker)
    bench.pass_time(1_000)
    bench.engine.control.beat("mail-1", bench.now)
    silence = bench.now.wall + bench.settings.worker_silence
    assert why(bench, 1) == [Running("mail-1", START.wall, silence, "silence", 0, None)]
    assert why(bench, 2) == [Running("mail-1", START.wall, START.wall + 9_000, "timeout", 0, None)]


def test_over(bench: Bench) -> None:
    """Completed, with or without a result; a dead letter, since when and why."""
    bench.push_batch({"backoff": 0}, {}, {"max_attempts": 1})
    bench.pull(count=3)
    bench.fail(1, "once")
    bench.pass_time(5)
    bench.pull()
    bench.ack(1, result=b"1")
    bench.ack(2)
    bench.fail(3, "no route")
    assert why(bench, 1) == [Completed(START.wall + 5, 1, result=True)]
    assert why(bench, 2) == [Completed(START.wall, 0, result=False)]
    assert why(bench, 3) == [Failed(START.wall + 5, 1, 1, "no route")]


def test_gone() -> None:
    """What left without completing is known for a while; what was forgotten is told as that."""
    bench = Bench(keep_completed=1)
    bench.push_batch({}, {}, {})
    bench.cancel(2)
    bench.pull(count=2)
    bench.ack(1)
    bench.ack(3)
    assert told(bench, 1) == Explanation(1, None, "unknown", START.wall, [Gone(dropped=False)])
    assert told(bench, 2) == Explanation(2, None, "unknown", START.wall, [Gone(dropped=True)])


@pytest.mark.parametrize("id", [0, 2, 2**53 - 1])
def test_what_never_was_is_not_found(bench: Bench, id: int) -> None:
    """There is nothing to explain."""
    bench.push()
    with pytest.raises(NotFound, match=f"^Job {id} not found$"):
        bench.engine.explain.job(id, bench.now)


def test_ttl_and_key(bench: Bench) -> None:
    """As long as they mean something: a dead letter holds its key and expires no more, a completed job has none."""
    bench.push_batch({"ttl": 9_000, "unique_key": "k", "max_attempts": 1}, {"ttl": 9_000, "unique_key": "l"})
    for id, key in ((1, "k"), (2, "l")):
        assert (told(bench, id).expires_at, told(bench, id).unique_key) == (START.wall + 9_000, key)
    bench.pull(count=2)
    assert told(bench, 1).expires_at == START.wall + 9_000
    bench.fail(1)
    bench.ack(2)
    assert (told(bench, 1).expires_at, told(bench, 1).unique_key) == (None, "k")
    assert (told(bench, 2).expires_at, told(bench, 2).unique_key) == (None, None)


# --- when ---


def drain(bench: Bench, seconds: int, a_second: int) -> None:
    """Deliver so many jobs a second, in batches; they are done at once."""
    for _ in range(seconds):
        for worker in bench.engine.workers:
            bench.engine.control.beat(worker, bench.now)
        for id in bench.pulled_ids(count=a_second):
            bench.ack(id)
        bench.pass_time(1_000)


def test_an_estimate_from_what_was_delivered_meanwhile(bench: Bench) -> None:
    """Ten a second go, twenty go first: two seconds, and the numbers that say so."""
    bench.hello()
    bench.push_batch(*[{}] * 230)
    drain(bench, 20, 10)
    found = told(bench, 221)
    assert (found.estimated_start, found.estimate_basis) == (bench.now.wall + 2_100, Basis(21, 200, 20_000, None))


def test_what_was_idle_before_the_job_came_does_not_count(bench: Bench) -> None:
    """A queue that trickled for want of jobs is measured by how it drains, once there is a drain to measure."""
    bench.hello()
    for _ in range(10):
        bench.push()
        drain(bench, 5, 1)
    bench.push_batch(*[{}] * 1_000)
    assert told(bench, 1_010).estimate_basis == Basis(1_000, 10, 50_000, None)
    drain(bench, 10, 50)
    assert told(bench, 1_010).estimate_basis == Basis(500, 500, 10_000, None)


def test_an_estimate_by_the_rate_limit(bench: Bench) -> None:
    """Somebody waits and only the bucket says no: it says exactly when."""
    bench.engine.control.set_rate(bench.queue(), 2, bench.now)
    bench.push_batch({}, {})
    bench.pull(count=2)
    bench.park("somebody", count=100)
    bench.push_batch({}, {}, {})
    found = told(bench, 5)
    assert (found.estimated_start, found.estimate_basis) == (START.wall + 1_500, Basis(3, 0, 0, 2))
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    assert told(bench, 5).estimated_start is None


def test_the_slower_of_pace_and_rate_limit_decides(bench: Bench) -> None:
    """A limit set a moment ago counts more than how fast it went before."""
    bench.hello()
    bench.push_batch(*[{}] * 130)
    drain(bench, 10, 10)
    bench.engine.control.set_rate(bench.queue(), 1, bench.now)
    found = told(bench, 130)
    assert (found.estimated_start, found.estimate_basis) == (bench.now.wall + 29_000, Basis(30, 100, 10_000, 1))


def test_no_estimate_without_a_basis(bench: Bench) -> None:
    """Nothing delivered in the last minute, nobody there at all, or a job that is not ready."""
    bench.push_batch(*[{}] * 5)
    assert told(bench, 5).estimated_start is None
    drain(bench, 2, 1)
    assert told(bench, 5).estimated_start is None  # whoever pulled them is gone
    bench.hello()
    assert told(bench, 5).estimated_start is not None
    assert told(bench, bench.push(delay=5)).estimated_start is None
    bench.pull()
    bench.pass_time(61_000)
    assert told(bench, 5).estimated_start is None


# --- read only, and bounded ---


@TELL
@given(story=STORIES, restart=st.booleans())
def test_asking_changes_nothing_and_is_true(story: list[Step], restart: bool) -> None:
    """After any story every job can be explained; what is counted is what there is, and no invariant suffers."""
    bench = Bench(max_returns=2)
    teller = Teller(bench)
    for step in story:
        teller.tell(step)
    if restart:
        bench.restart()
    engine = bench.engine
    for id in range(1, engine.jobs.next_id):
        found = told(bench, id)
        assert found.state == bench.state(id)
        assert found.reasons or found.state == "waiting"
        if engine.jobs.state(id) != WAITING:
            continue
        queue = engine.queues.by_name[str(found.queue)]
        left = dict(queue.ready.left)
        before = 0
        for other in queue.ready.ids():
            if left.get(other):
                left[other] -= 1
            elif other == id:
                break
            else:
                before += engine.jobs.state(other) == WAITING
        counts = [reason.count for reason in found.reasons if isinstance(reason, Ahead)]
        assert counts == [before] * (before > 0)
    assert check(engine) == []
    assert engine.take_effects() == ([], [], [])


def test_the_work_does_not_grow_with_the_line() -> None:
    """In the middle of a line of two hundred thousand single entries the counting ends when the effort does."""
    line = Ready()
    for id in range(0, 400_000, 2):
        line.put(0, id)
    lines = 0

    def note(_: FrameType, event: str, __: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return note

    sys.settrace(note)
    try:
        found = line.ahead(0, 200_000, lambda start, stop: stop - start, explain.EFFORT)
    finally:
        sys.settrace(None)
    assert found == (explain.EFFORT, False)
    assert lines < 20 * explain.EFFORT
