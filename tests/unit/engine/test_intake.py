"""Taking jobs in: order, delay, ttl, keys, parents, the clients' own ids, and the bounds on all of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw
from tests.unit.engine.bench import START, Bench
from tests.unit.engine.strategies import steps_of

from flashq.engine import intake as module
from flashq.engine.check import check
from flashq.engine.intake import DUPLICATE, FRESH, REPLAYED
from flashq.engine.jobs import EDGE_BYTES, JOB_BYTES
from flashq.engine.records import Added, Pushed
from flashq.errors import BadRequest, Duplicate, LimitReached, Overloaded, TooLarge
from flashq.model import JobSpec


def complete(bench: Bench, *ids: int) -> None:
    """Pull everything there is and acknowledge these."""
    bench.pull(count=1_000)
    for id in ids:
        bench.ack(id)


# --- order ---


def test_ids_count_from_one(bench: Bench) -> None:
    """The first job is number 1, over all queues."""
    assert [bench.push("a"), bench.push("b"), bench.push("a")] == [1, 2, 3]


def test_higher_priority_first_then_the_order_of_becoming_ready(bench: Bench) -> None:
    """Delays that end stand behind what became ready before, and never before what is more urgent."""
    plain, late, urgent = bench.push(), bench.push(delay=1_000), bench.push(priority=5)
    bench.pass_time(500)
    newer = bench.push()
    bench.pass_time(500)
    newest = bench.push()
    assert bench.pulled_ids() == [urgent, plain, newer, late, newest]


def test_a_delayed_job_never_hides_a_ready_one(bench: Bench) -> None:
    """However urgent the delayed one is."""
    bench.push(priority=100, delay=10)
    ready = bench.push(priority=-100)
    assert bench.pulled_ids() == [ready]


# --- delay ---


def test_a_delay_ends_at_its_millisecond(bench: Bench) -> None:
    """Not before, and then the job is waiting."""
    id = bench.push(delay=1_000)
    assert (bench.state(id), bench.job(id).run_at) == ("delayed", START.wall + 1_000)
    bench.pass_time(999)
    assert bench.state(id) == "delayed"
    assert bench.tick() == 1
    bench.pass_time(1)
    assert bench.state(id) == "waiting"


def test_a_delay_of_nothing_is_none(bench: Bench) -> None:
    """``delay`` 0 and a job without a delay are the same."""
    assert bench.state(bench.push(delay=0)) == "waiting"
    assert bench.tick() is None


def test_a_delay_that_ends_feeds_who_waits(bench: Bench) -> None:
    """A parked client gets the job at its time."""
    id = bench.push(delay=50)
    bench.park("ann")
    bench.pass_time(49)
    assert bench.delivered() == []
    bench.pass_time(1)
    assert bench.delivered() == [("ann", [id])]


def test_delays_follow_the_wall_clock(bench: Bench) -> None:
    """Set forward, overdue jobs run; set back, they wait for the time that people see."""
    id = bench.push(delay=3_600_000)
    bench.set_wall(-3_600_000)
    bench.pass_time(3_600_000)
    assert bench.state(id) == "delayed"
    bench.set_wall(3_600_000)
    bench.tick()
    assert bench.state(id) == "waiting"


def test_a_timer_of_another_delay_changes_nothing(bench: Bench) -> None:
    """Only the timer of the delay that the job is in makes it ready, and only once."""
    id = bench.push(delay=100)
    bench.engine.intake.delay_over(id, START.wall + 99, bench.now)
    assert bench.state(id) == "delayed"
    bench.pass_time(100)
    bench.engine.intake.delay_over(id, START.wall + 100, bench.now)
    assert bench.pulled_ids() == [id]


def test_a_push_feeds_who_waits(bench: Bench) -> None:
    """The job goes straight to the client that waits for it."""
    bench.park("ann")
    id = bench.push()
    assert (bench.state(id), bench.delivered()) == ("active", [("ann", [id])])


# --- job_id ---


def test_a_repeated_push_is_answered_with_the_first_job(bench: Bench) -> None:
    """The client's own id names one job over the whole server, whatever else the repeat says."""
    id = bench.push("a", job_id="mine")
    assert bench.admit("a", job_id="mine") == (id, REPLAYED)
    assert bench.admit("b", b"other", job_id="mine", delay=5, priority=9) == (id, REPLAYED)
    assert bench.engine.lookup.custom("mine") == id
    assert bench.pulled_ids("a") == [id]
    assert bench.pulled_ids("b") == []


def test_a_repeat_finds_the_job_in_every_state(bench: Bench) -> None:
    """Waiting, active, completed: as long as it is remembered the push is not done again."""
    id = bench.push(job_id="mine")
    bench.pull_one()
    assert bench.admit(job_id="mine") == (id, REPLAYED)
    bench.ack(id)
    assert bench.admit(job_id="mine") == (id, REPLAYED)


def test_a_forgotten_job_frees_its_client_id() -> None:
    """Cancelled or forgotten jobs are not remembered, so the next push is a new job."""
    bench = Bench(keep_completed=0)
    first = bench.push(job_id="mine")
    bench.cancel(first)
    second = bench.push(job_id="mine")
    complete(bench, second)
    assert bench.admit(job_id="mine") == (3, FRESH)
    assert check(bench.engine) == []


# --- unique keys ---


def test_a_key_is_held_by_one_living_job(bench: Bench) -> None:
    """The second push names the job that holds the key, and adds nothing."""
    id = bench.push(unique_key="k")
    assert bench.admit(unique_key="k") == (id, DUPLICATE)
    assert bench.pulled_ids() == [id]
    assert bench.admit(unique_key="k") == (id, DUPLICATE)  # also while it runs


def test_keys_belong_to_their_queue(bench: Bench) -> None:
    """The same key in another queue is another key."""
    bench.push("a", unique_key="k")
    assert bench.admit("b", unique_key="k")[1] == FRESH


def test_an_empty_key_is_a_key(bench: Bench) -> None:
    """Nothing is taken for absent that the client has sent."""
    id = bench.push(unique_key="", job_id="")
    assert bench.admit(unique_key="") == (id, DUPLICATE)
    assert bench.admit(job_id="") == (id, REPLAYED)


@pytest.mark.parametrize("members", [{}, {"delay": 60_000}], ids=["waiting", "delayed"])
def test_a_key_is_held_in_the_dead_letters(bench: Bench, members: dict[str, Any]) -> None:
    """A dead letter may be retried, so it keeps its key until it is purged."""
    id = bench.push(unique_key="k", max_attempts=1, **members)
    bench.bury(id) if not members else None
    assert bench.admit(unique_key="k") == (id, DUPLICATE)
    bench.bury(id)
    assert bench.admit(unique_key="k") == (id, DUPLICATE)
    bench.engine.control.purge_dead(bench.queue(), bench.now)
    assert bench.admit(unique_key="k")[1] == FRESH


@pytest.mark.parametrize("end", ["ack", "cancel", "expire"])
def test_a_key_is_free_when_the_job_is_over(bench: Bench, end: str) -> None:
    """Completed, cancelled and expired jobs hold nothing."""
    id = bench.push(unique_key="k", ttl=1_000)
    if end == "ack":
        complete(bench, id)
    elif end == "cancel":
        bench.cancel(id)
    else:
        bench.pass_time(1_000)
    assert bench.admit(unique_key="k") == (id + 1, FRESH)


# --- parents ---


def test_a_child_waits_for_all_its_parents(bench: Bench) -> None:
    """It runs when the last of them has completed, also one in another queue."""
    a, b = bench.push("a"), bench.push("b")
    child = bench.push(depends_on=[a, b, a])
    assert bench.state(child) == "waiting-children"
    assert bench.job(child).depends_on == [a, b, a]
    bench.pull("a")
    bench.ack(a)
    assert bench.state(child) == "waiting-children"
    bench.pull("b")
    bench.ack(b)
    assert bench.state(child) == "waiting"


def test_completed_parents_are_done_even_when_forgotten() -> None:
    """A parent that completed long ago holds nobody back."""
    bench = Bench(keep_completed=1)
    first, second = bench.push(), bench.push()
    complete(bench, first, second)
    assert bench.state(first) == "unknown"
    assert bench.state(bench.push(depends_on=[first, second])) == "waiting"


@pytest.mark.parametrize("parent", [0, 2, 99, 2**53 - 1])
def test_an_id_never_issued_is_no_parent(bench: Bench, parent: int) -> None:
    """Not even the job's own id; and the refusal leaves nothing behind."""
    bench.push()
    with pytest.raises(BadRequest, match=f"^Invalid: depends_on names unknown job {parent}$"):
        bench.push(depends_on=[1, parent])
    assert bench.push() == 2


def test_a_parent_among_the_dead_letters_keeps_the_child_waiting(bench: Bench) -> None:
    """It may be retried, and then the child runs."""
    parent = bench.push(max_attempts=1)
    bench.bury(parent)
    child = bench.push(depends_on=[parent])
    assert bench.state(child) == "waiting-children"
    assert bench.engine.control.retry_dead(bench.queue(), parent, bench.now) == 1
    complete(bench, parent)
    assert bench.state(child) == "waiting"


@pytest.mark.parametrize("end", ["cancelled", "expired", "purged"])
def test_a_child_of_a_lost_parent_is_a_dead_letter(bench: Bench, end: str) -> None:
    """The parent will never complete: the child goes to the dead letters at once, with the reason."""
    parent = bench.push(ttl=1_000, max_attempts=1)
    if end == "cancelled":
        bench.cancel(parent)
    elif end == "expired":
        bench.pass_time(1_000)
    else:
        bench.bury(parent)
        bench.engine.control.purge_dead(bench.queue(), bench.now)
    bench.told()
    child = bench.push(depends_on=[parent], delay=50, ttl=60)
    assert (bench.state(child), bench.job(child).progress_msg) == ("failed", f"dependency {parent} cancelled")
    assert bench.job(child).run_at == bench.now.wall  # since when it lies there
    assert bench.told() == [("pushed", child), ("failed", child)]
    assert [job.id for job in bench.engine.lookup.dead_letters("emails", 9)] == [child]
    bench.pass_time(1_000)
    assert bench.state(child) == "failed"
    bench.engine.control.retry_dead(bench.queue(), child, START)
    bench.take()
    assert bench.pulled_ids() == [child]


def test_a_lost_parent_in_a_batch(bench: Bench) -> None:
    """The events of a batch are told in the order of their causes as well."""
    parent = bench.push()
    bench.cancel(parent)
    bench.told()
    bench.push_batch({}, {"depends_on": [parent]})
    told = bench.told()
    assert told.index(("pushed", 3)) < told.index(("failed", 3))


def test_a_child_with_a_delay_waits_for_both(bench: Bench) -> None:
    """Parents first: the rest of the delay follows. Delay first: the child runs with its last parent."""
    parent = bench.push()
    patient, quick = bench.push(depends_on=[parent], delay=1_000), bench.push(depends_on=[parent], delay=100)
    bench.pass_time(500)
    assert bench.states(patient, quick) == ["waiting-children", "waiting-children"]
    complete(bench, parent)
    assert bench.states(patient, quick) == ["delayed", "waiting"]
    bench.pass_time(499)
    assert bench.state(patient) == "delayed"
    bench.pass_time(1)
    assert bench.state(patient) == "waiting"


def test_a_child_without_a_delay_runs_at_once_also_after_a_clock_jump(bench: Bench) -> None:
    """The wall clock set back makes no delay where there was none."""
    parent = bench.push()
    child = bench.push(depends_on=[parent])
    bench.set_wall(-3_600_000)
    complete(bench, parent)
    assert bench.state(child) == "waiting"


def test_a_child_that_gets_free_feeds_who_waits(bench: Bench) -> None:
    """Whoever is parked on the child's queue, which need not be the parent's."""
    parent = bench.push("a")
    child = bench.push("b", depends_on=[parent])
    bench.park("ann", "b")
    bench.pull("a")
    bench.ack(parent)
    assert bench.delivered() == [("ann", [child])]


def test_a_child_stands_where_it_became_ready(bench: Bench) -> None:
    """Not where it was pushed."""
    parent = bench.push("a")
    child = bench.push(depends_on=[parent])
    bench.pass_time(10)
    other = bench.push()
    bench.pull("a")
    bench.ack(parent)
    assert bench.pulled_ids() == [other, child]


def test_a_job_has_no_more_children_than_the_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One child too many is refused; for jobs that are over there is nothing to count."""
    monkeypatch.setattr(module, "MAX_FAN_OUT", 2)
    parent, done = bench.push(), bench.push("other")
    bench.pull("other")
    bench.ack(done)
    children = [bench.push(depends_on=[parent]) for _ in range(2)]
    with pytest.raises(LimitReached, match=rf"^job {parent} has too many children \(max 2\)$"):
        bench.push(depends_on=[done, parent])
    bench.cancel(children[0])
    bench.push(depends_on=[parent, done])


def test_a_batch_cannot_pass_the_bound_on_children(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The children of one batch count together, and the whole batch is refused."""
    monkeypatch.setattr(module, "MAX_FAN_OUT", 2)
    parent = bench.push()
    with pytest.raises(LimitReached, match=rf"^jobs\[2\]: job {parent} has too many children \(max 2\)$"):
        bench.push_batch(*[{"depends_on": [parent]}] * 3)
    assert bench.engine.lookup.stats().waiting_children == 0
    bench.push_batch(*[{"depends_on": [parent]}] * 2)


# --- batches ---


def test_a_uniform_batch_is_one_record(bench: Bench) -> None:
    """A thousand jobs of one kind: consecutive ids, one record, the whole batch in order."""
    admitted = bench.push_batch(*[{"priority": 3, "timeout": 50}] * 1_000)
    assert (admitted.ids, admitted.duplicates, admitted.replayed) == (list(range(1, 1_001)), [], [])
    (record,) = bench.memory.log
    assert isinstance(record, Pushed)
    assert bench.pulled_ids(count=2_000) == admitted.ids


def test_a_mixed_batch_is_its_jobs_one_by_one(bench: Bench) -> None:
    """Ids are aligned with the input; places of jobs that existed before are named."""
    old = bench.push(unique_key="held", job_id="known")
    admitted = bench.push_batch(
        {},
        {"priority": 9},
        {"unique_key": "held"},
        {"unique_key": "new"},
        {"unique_key": "new"},
        {"job_id": "known"},
        {"job_id": "twice"},
        {"job_id": "twice"},
        {"delay": 10},
        {"depends_on": [old]},
        {"tags": ["a"]},
    )
    assert admitted.ids == [2, 3, old, 4, 4, old, 5, 5, 6, 7, 8]
    assert (admitted.duplicates, admitted.replayed) == ([2, 4], [5, 7])
    assert bench.told() == [("pushed", id) for id in range(1, 9)]
    assert bench.pulled_ids() == [3, 1, 2, 4, 5, 8]


def test_an_invalid_job_refuses_the_whole_batch(bench: Bench) -> None:
    """Its place is named, and not one job of it is taken in."""
    with pytest.raises(BadRequest, match=r"^Invalid: jobs\[1\]: depends_on names unknown job 7$"):
        bench.push_batch({}, {"depends_on": [7]})
    assert bench.push() == 1
    assert len(bench.memory.log) == 1


def test_a_batch_feeds_who_waits(bench: Bench) -> None:
    """One job wakes one waiter, in the order in which they came."""
    for name in ("ann", "ben", "eve"):
        bench.park(name)
    bench.push_batch({}, {})
    assert bench.delivered() == [("ann", [1]), ("ben", [2])]


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-2, 2),
        "delay": st.sampled_from([0, 10]),
        "ttl": st.sampled_from([0, 10]),
        "timeout": st.sampled_from([0, 10]),
        "max_attempts": st.sampled_from([0, 1, 3]),
        "backoff": st.sampled_from([0, 1_000]),
        "unique_key": st.sampled_from(["a", "b"]),
        "job_id": st.sampled_from(["x", "y"]),
        "tags": st.just(["t"]),
        "depends_on": st.sampled_from([[], [1], [1, 1]]),
        "collect": st.booleans(),
    },
)


@given(steps_of(MEMBERS, 12).filter(bool))
def test_a_batch_is_the_same_as_single_pushes(specs: list[dict[str, Any]]) -> None:
    """Whatever the batch: the same jobs in the same order, the same answers, the same memory."""
    batch, single = Bench(), Bench()
    for bench in (batch, single):
        bench.push()
    admitted = batch.push_batch(*specs)
    outcomes = [single.admit(**spec) for spec in specs]
    assert admitted.ids == [id for id, _ in outcomes]
    assert admitted.duplicates == [place for place, (_, outcome) in enumerate(outcomes) if outcome == DUPLICATE]
    assert admitted.replayed == [place for place, (_, outcome) in enumerate(outcomes) if outcome == REPLAYED]
    assert batch.memory.snapshot(2) == single.memory.snapshot(2)
    assert sorted(batch.told()) == sorted(single.told())
    assert check(batch.engine) == check(single.engine) == []
    assert batch.pulled_ids() == single.pulled_ids()


# --- flows ---


def test_a_flow_is_pushed_in_one_step(bench: Bench) -> None:
    """Ids and events in the order of the list, parents by place behind those by id; who waits is fed at the end."""
    parent = bench.push("other")
    bench.park("ann", "b")
    bench.told()
    admitted = bench.push_flow({"queue": "a"}, {"queue": "b"}, {"queue": "a", "after": [1, 0], "depends_on": [parent]})
    assert (admitted.ids, admitted.replayed) == ([2, 3, 4], [])
    assert bench.states(2, 3, 4) == ["waiting", "active", "waiting-children"]
    assert bench.job(4).depends_on == [parent, 3, 2]
    assert bench.told() == [("pushed", 2), ("pushed", 3), ("pushed", 4), ("active", 3)]
    assert bench.delivered() == [("ann", [3])]
    bench.pull("a")
    bench.pull("other")
    for id in (2, 3, parent):
        assert bench.state(4) == "waiting-children"
        bench.ack(id)
    assert bench.state(4) == "waiting"


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        ({"after": [2]}, BadRequest, r"^Invalid: jobs\[2\]: after names place 2, which is not before it$"),
        ({"depends_on": [3]}, BadRequest, r"^Invalid: jobs\[2\]: depends_on names unknown job 3$"),
        ({"unique_key": "k"}, Duplicate, r"^jobs\[2\]: Duplicate job with key: k$"),
        ({"unique_key": "a"}, Duplicate, r"^jobs\[2\]: Duplicate job with key: a \(jobs\[0\] has it\)$"),
        ({"after": [0] * 10_001}, TooLarge, r"^jobs\[2\]: Too many parents \(10001, max 10000\)$"),
        (
            {"after": [0] * 50_001, "depends_on": [1] * 50_000},
            TooLarge,
            r"^Too many dependencies \(100001, max 100000\)$",
        ),
    ],
)
def test_a_flow_is_refused_whole(bench: Bench, bad: dict[str, Any], error: type[Exception], text: str) -> None:
    """Whatever is wrong is found before the first job is taken in. Ids that the flow would get are unknown to it."""
    bench.push(unique_key="k")
    before, bytes_before = list(bench.memory.log), bench.engine.jobs.bytes
    with pytest.raises(error, match=text):
        bench.push_flow({"unique_key": "a"}, {"queue": "b", "unique_key": "a"}, bad)
    bench.take()
    assert (bench.memory.log, bench.engine.jobs.bytes) == (before, bytes_before)


def test_a_known_job_stands_for_itself_in_a_flow(bench: Bench) -> None:
    """As a parent too, whether it was known before or stands twice in the list; what else it says is not looked at."""
    known = bench.push(job_id="c")
    specs = ({"job_id": "c", "unique_key": "k"}, {"job_id": "d", "unique_key": "k", "after": [0]}, {"job_id": "d"})
    admitted = bench.push_flow(*specs, {"after": [2, 0]})
    assert (admitted.ids, admitted.replayed) == ([known, 2, 2, 3], [0, 2])
    assert (bench.job(2).depends_on, bench.job(3).depends_on) == ([known], [2, known])
    assert bench.push_flow(*specs).replayed == [0, 1, 2]


def test_the_children_of_a_job_are_bounded_in_a_flow_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those it had and those it gets count together; a flow that is sent again is not refused for its own children."""
    monkeypatch.setattr(module, "MAX_FAN_OUT", 3)
    parent = bench.push(job_id="p")
    bench.push(depends_on=[parent])
    specs = ({"job_id": "p"}, {"job_id": "x", "after": [0]}, {"job_id": "y", "depends_on": [parent]})
    with pytest.raises(LimitReached, match=r"^jobs\[3\]: job 1 has too many children \(max 3\)$"):
        bench.push_flow(*specs, {"after": [0]})
    assert bench.push_flow(*specs).ids == [1, 3, 4]
    assert bench.push_flow(*specs).replayed == [0, 1, 2]
    with pytest.raises(LimitReached, match=r"^jobs\[4\]: one of its parents in the flow has too many children"):
        bench.push_flow({}, *[{"after": [0]}] * 4)


def test_parents_count_towards_the_memory() -> None:
    """An edge costs memory: pushes are refused for it, and what a completed job needed for its edges is free again."""
    bench = Bench(max_bytes=4 * JOB_BYTES + 3 * EDGE_BYTES)
    ids = bench.push_flow({}, {"after": [0]}, data=b"").ids
    for refused in (bench.push_flow, bench.push_batch):
        with pytest.raises(Overloaded):
            refused({"depends_on": [ids[0]] * 3}, {}, data=b"")
    with pytest.raises(Overloaded):
        bench.push(depends_on=[ids[0]] * 4, data=b"")
    bench.push(depends_on=[ids[0]] * 2, data=b"")
    assert bench.engine.jobs.bytes == 3 * JOB_BYTES + 3 * EDGE_BYTES
    complete(bench, ids[0])
    complete(bench, ids[1])
    assert bench.engine.jobs.bytes == 3 * JOB_BYTES + 2 * EDGE_BYTES


def test_the_edges_of_a_batch_are_bounded(bench: Bench) -> None:
    """As those of a flow: a line could hold millions of them."""
    parent = bench.push()
    with pytest.raises(TooLarge, match=r"^Too many dependencies \(110000, max 100000\)$"):
        bench.push_batch(*[{"depends_on": [parent] * 10_000}] * 11)


# --- collecting ---


def test_a_job_is_given_what_its_parents_returned(bench: Bench) -> None:
    """Before the push, after it, nothing, a parent twice: aligned with the parents, after restarts and retries too."""
    before, after, nothing, forgotten = (bench.push() for _ in range(4))
    bench.pull(count=4)
    bench.ack(before, result=b"1")
    child = bench.push("q", depends_on=[after, before, nothing, after], collect=True, backoff=0)
    assert bench.job(child).inputs == [Raw(b"null"), Raw(b"1"), Raw(b"null"), Raw(b"null")]
    bench.ack(nothing)
    bench.engine.settle.ack_batch([after, forgotten], None, {after: b"[2]", forgotten: b"3"}, bench.now)
    bench.take()
    expected = [Raw(b"[2]"), Raw(b"1"), Raw(b"null"), Raw(b"[2]")]
    assert bench.pull_one("q").inputs == expected
    bench.fail(child)
    bench.restart()
    assert bench.pull_one("q").inputs == expected
    bench.release(child, delay=5)
    bench.pass_time(5)
    bench.pull_one("q")
    bench.fail(child, dead=True)
    bench.restart()
    assert bench.engine.lookup.dead_letters("q", 1)[0].inputs == expected
    bench.engine.control.retry_dead(bench.queue("q"), None, bench.now)
    assert bench.pull_one("q").inputs == expected
    bench.ack(child)
    assert bench.job(child).inputs is UNSET
    assert bench.engine.jobs.collectors == 0


def test_results_outlive_their_job() -> None:
    """A child has what its parent returned also when the server has forgotten the parent."""
    bench = Bench(keep_completed=0, keep_results=0)
    parent, other = bench.push(), bench.push()
    child = bench.push("q", depends_on=[parent, other], collect=True)
    bench.pull(count=2)
    bench.ack(parent, result=b"1")
    bench.restart()
    bench.pull(count=1)
    bench.ack(other, result=b"2")
    assert bench.states(parent, other) == ["unknown", "unknown"]
    assert bench.pull_one("q").inputs == [Raw(b"1"), Raw(b"2")]
    assert child == 3


def test_too_much_to_collect(bench: Bench) -> None:
    """Nothing of it is kept; the job is dead when it would run, with both numbers, and no retry brings it back."""
    parents = [bench.push() for _ in range(3)]
    child = bench.push("q", depends_on=parents, collect=True, delay=5)
    plain = bench.push("q", depends_on=parents)
    bench.pull(count=3)
    empty = bench.engine.jobs.bytes
    for parent, result in zip(parents[:2], (b"5" * 5 * 1024**2, b"4" * 4 * 1024**2), strict=True):
        bench.ack(parent, result=result)
    assert bench.state(child) == "waiting-children"
    assert bench.engine.jobs.bytes == empty
    bench.restart()
    bench.pull(count=1)
    bench.ack(parents[2], result=b"1")
    assert bench.states(child, plain) == ["failed", "waiting"]
    assert bench.job(child).progress_msg == "inputs are too large (9437185 bytes, max 8388608)"
    bench.restart()
    assert bench.engine.control.retry_dead(bench.queue("q"), child, bench.now) == 0
    late = bench.push("q", depends_on=parents, collect=True)
    assert bench.state(late) == "failed"
    bench.restart()
    assert bench.states(child, late) == ["failed", "failed"]


# --- defaults, records, events, memory ---


def test_absent_members_take_the_servers_defaults() -> None:
    """``max_attempts`` and ``backoff`` have defaults that an operator may set; 0 is not absent."""
    bench = Bench(default_max_attempts=7, default_backoff=5)
    job = bench.job(bench.push())
    assert (job.max_attempts, job.backoff) == (7, 5)
    job = bench.job(bench.push(max_attempts=0, backoff=0))
    assert (job.max_attempts, job.backoff) == (0, 0)


def test_a_special_job_is_recorded_whole(bench: Bench) -> None:
    """One record with everything that the client gave."""
    bench.push(
        data=b"[1]", priority=2, delay=5, ttl=9, timeout=8, max_attempts=4, backoff=6, unique_key="k", tags=["t"],
        job_id="c",
    )  # fmt: skip
    (record,) = bench.memory.log
    assert isinstance(record, Added)
    row = record.row
    assert (row.id, row.queue, row.data, row.priority, row.state) == (1, "emails", b"[1]", 2, 2)
    assert (row.created_at, row.run_at) == (START.wall, START.wall + 5)
    assert (row.ttl, row.timeout, row.max_attempts, row.backoff) == (9, 8, 4, 6)
    assert (row.unique_key, row.custom_id, row.tags) == ("k", "c", ["t"])


def test_a_pushed_event_carries_the_payload(bench: Bench) -> None:
    """For single jobs and batches; not for jobs that existed before."""
    bench.push(data=b'"x"', job_id="c")
    bench.push(job_id="c")
    bench.push_batch({"job_id": "c"}, {}, data=b'"y"')
    assert [(event.job_id, event.queue, event.timestamp, event.data) for event in bench.events] == [
        (1, "emails", START.wall, Raw(b'"x"')),
        (2, "emails", START.wall, Raw(b'"y"')),
    ]


def test_no_events_when_nobody_listens(bench: Bench) -> None:
    """A job's whole life without one event being made."""
    bench.engine.outbox.watched = False
    parent = bench.push(max_attempts=1)
    bench.cancel(parent)
    bench.push(depends_on=[parent])
    id = bench.push_batch({}, {"tags": ["t"]}).ids[0]
    complete(bench, id)
    assert bench.told() == []


def test_without_a_journal_nothing_is_recorded(bench: Bench) -> None:
    """A memory-only server pays for no records."""
    bench.engine.outbox.recording = False
    id = bench.push(backoff=0, tags=["t"])
    bench.pull_one()
    bench.fail(id)
    assert bench.memory.log == []


def test_pushes_are_refused_when_the_memory_is_used_up() -> None:
    """Singles and batches; everything else goes on, and what it frees is there for new jobs."""
    bench = Bench(max_bytes=3 * (JOB_BYTES + 10), keep_completed=0)
    ids = bench.push_batch({}, {}, data=b"x" * 10).ids
    with pytest.raises(Overloaded, match=r"^Memory for jobs is used up \(340 bytes held, max 510\)$"):
        bench.push_batch({}, {}, data=b"x" * 10)
    ids.append(bench.push(data=b"x" * 10))
    bench.cancel(ids.pop())
    ids += bench.push_batch({}, data=b"x" * 10).ids  # to the last byte
    with pytest.raises(Overloaded):
        bench.push(data=b"")
    with pytest.raises(Overloaded):
        bench.push_batch({}, data=b"")
    complete(bench, *ids)
    assert bench.push(data=b"x" * 10) == 5
    assert check(bench.engine) == []


def test_a_spec_is_not_changed(bench: Bench) -> None:
    """The caller's list of parents stays his."""
    parent = bench.push()
    spec = JobSpec(data=Raw(b"1"), depends_on=[parent, parent], tags=["t"])
    bench.engine.intake.push(bench.queue(), spec, b"1", bench.now)
    bench.take()
    assert (spec.depends_on, spec.tags) == ([parent, parent], ["t"])
