"""Every invariant can be broken, and is then reported: a check that never speaks proves nothing."""

from collections.abc import Callable

import pytest
from tests.unit.engine.bench import Bench, waiter

from flashq.engine.check import check
from flashq.engine.engine import Engine
from flashq.engine.jobs import Extra
from flashq.engine.leases import Lease
from flashq.engine.queue import Queue
from flashq.engine.waiters import Call
from flashq.model import ACTIVE, COMPLETED, DELAYED, UNKNOWN, WAITING, WAITING_CHILDREN, EndedAttempt

LONELY = Lease("9.9.x", 0, 0, True, None, [], 0)


@pytest.fixture
def engine() -> Engine:
    """One job in every state: 1 waiting, 2 delayed, 3 active, 4 completed, 5 dead, 6 child of 1; 7 waits with a key."""
    bench = Bench()
    bench.push(priority=-1)
    bench.push(delay=60_000)
    bench.push(priority=9)
    bench.push(priority=8)
    bench.push(priority=7, max_attempts=1)
    bench.push(depends_on=[1])
    bench.push(unique_key="k", job_id="c")
    bench.pull(count=3)
    bench.ack(4, result=b"[4]")
    bench.fail(5)
    assert check(bench.engine) == []
    return bench.engine


def emails(engine: Engine) -> Queue:
    """The only queue."""
    return engine.queues.by_name["emails"]


def count_a_job_too_many(engine: Engine) -> None:
    """The chunk's counter."""
    engine.jobs.chunks[0].live += 1


def fall_behind_with_ids(engine: Engine) -> None:
    """The next id exists already."""
    engine.jobs.next_id = 7


def hold_a_waiting_job(engine: Engine) -> None:
    """A lease where there should be none."""
    engine.jobs.chunks[0].lease[1] = LONELY


def lose_bytes(engine: Engine) -> None:
    """The memory's account."""
    engine.jobs.bytes -= 1


def count_a_state_too_many(engine: Engine) -> None:
    """A queue's counter, and the total with it."""
    emails(engine).counts[DELAYED] += 1
    engine.queues.counts[DELAYED] += 1


def lose_a_place_in_line(engine: Engine) -> None:
    """A waiting job that no pull would find; the length is kept."""
    emails(engine).ready.take(2)
    emails(engine).ready.put(0, 2)
    emails(engine).ready.put(0, 3)


def forget_a_tombstone(engine: Engine) -> None:
    """The line's own account."""
    emails(engine).ready.tombstones += 1


def lose_a_dead_letter(engine: Engine) -> None:
    """A failed job that no listing shows."""
    emails(engine).dead.clear()


def lose_a_push(engine: Engine) -> None:
    """The sum of all that ever came."""
    emails(engine).pushed -= 1


def lose_a_queue(engine: Engine) -> None:
    """Jobs of a queue that nobody can name."""
    del engine.queues.by_name["emails"]


def miscount_the_total(engine: Engine) -> None:
    """The sum over the queues."""
    engine.queues.counts[COMPLETED] += 1


def lose_a_job_from_its_lease(engine: Engine) -> None:
    """An active job that no timeout would end."""
    engine.jobs.chunks[0].lease[3].ids = []


def hold_for_ever(engine: Engine) -> None:
    """Neither a deadline nor a worker."""
    engine.jobs.chunks[0].lease[3].deadline = 0


def miscount_a_lease(engine: Engine) -> None:
    """How many of its jobs are active."""
    engine.jobs.chunks[0].lease[3].open = 2


def lose_a_lease_timer(engine: Engine) -> None:
    """A deadline that nobody looks at."""
    engine.clocks.leases.entries().clear()


def park_nowhere(engine: Engine) -> None:
    """A client in a line, unknown to those who feed."""
    emails(engine).ready.take(9)
    emails(engine).waiters.park(waiter("ann", "emails", 1))


def let_a_client_wait_in_vain(engine: Engine) -> None:
    """Jobs are ready and a client waits."""
    ann = waiter("ann")
    emails(engine).waiters.park(ann)
    engine.parking.calls["ann"] = ann


def watch_what_is_over(engine: Engine) -> None:
    """A wait that nobody will end."""
    engine.watchers.park("ann", 5, None, Bench().now)


def keep_news_from_a_worker(engine: Engine) -> None:
    """There is something to tell, and the BEAT that waits for it is not told."""
    worker = engine.control.hello("w", [], 1, None, None, Bench().now)
    engine.beats.park("beat", worker, 50, Bench().now)
    worker.ended.append(EndedAttempt(1, "t", "cancelled"))


def park_for_nothing(engine: Engine) -> None:
    """A call that nobody would ever answer."""
    engine.parking.park(waiter("ann", "none"), None, Bench().now)
    engine.parking.calls["ben"] = Call(token="ben", leave=lambda: None)


def lose_a_delay(engine: Engine) -> None:
    """A delayed job that would never wake."""
    engine.clocks.delays.entries().clear()


def lose_a_key(engine: Engine) -> None:
    """A key that a second job could take."""
    emails(engine).keys.clear()


def keep_a_key(engine: Engine) -> None:
    """A key whose owner is gone."""
    emails(engine).keys["old"] = 99


def lose_a_custom_id(engine: Engine) -> None:
    """A client's id that a repeat would not find."""
    engine.jobs.customs.clear()


def keep_an_extra(engine: Engine) -> None:
    """Members of a job that is gone."""
    engine.jobs.extras[99] = Extra()


def lose_a_child(engine: Engine) -> None:
    """A child that nobody would free."""
    engine.graph.drop(6)


def wait_for_the_dead(engine: Engine) -> None:
    """A child of a parent that is over."""
    engine.graph.hold(6, [4])


def forget_a_completion(engine: Engine) -> None:
    """A completed job that would stay for ever."""
    engine.finished._batches.clear()


def keep_a_result(engine: Engine) -> None:
    """A result without its job."""
    engine.finished.results[99] = b"1"


BREAKS: list[tuple[Callable[[Engine], None], str]] = [
    (count_a_job_too_many, "chunk 0 counts 8 jobs and holds 7"),
    (fall_behind_with_ids, "job 7 is not below the next id 7"),
    (hold_a_waiting_job, "chunk 0: leases at slots [1] do not fit the states"),
    (lose_bytes, "bytes are accounted for"),
    (count_a_state_too_many, f"emails: counts 2 in state {DELAYED}, has 1"),
    (lose_a_place_in_line, "emails: waiting jobs [1, 7] are not in the line"),
    (forget_a_tombstone, "emails: the line of 2 less 1 is not 2"),
    (lose_a_dead_letter, "emails: dead letters and failed jobs differ"),
    (lose_a_push, "emails: 6 pushed, 6 live and 1 gone"),
    (lose_a_queue, "jobs of queues that are not known: ['emails']"),
    (miscount_the_total, "are not the sums of the queues"),
    (lose_a_job_from_its_lease, "active job 3 is not listed by its lease"),
    (hold_for_ever, "active job 3 has no end: neither a deadline nor a living worker"),
    (miscount_a_lease, "lease 1.1.n1 counts 2 jobs, holds 1"),
    (lose_a_lease_timer, "lease 1.1.n1 has a deadline and no timer"),
    (watch_what_is_over, "calls wait for the end of jobs that have ended: [5]"),
    (keep_news_from_a_worker, "a BEAT waits although there is something to tell it"),
    (park_for_nothing, "1 pulls and 0 other calls wait, 2 are parked"),
    (park_nowhere, "clients stand in 1 places in line and are parked for 0"),
    (let_a_client_wait_in_vain, "emails: clients wait although jobs are ready"),
    (lose_a_delay, "delayed job 2 has no timer"),
    (lose_a_key, "unique keys and their owners differ: [(('emails', 'k'), 7)]"),
    (keep_a_key, "unique keys and their owners differ: [(('emails', 'old'), 99)]"),
    (lose_a_custom_id, "the clients' own ids and their jobs differ"),
    (keep_an_extra, "there are extras of jobs that are forgotten"),
    (lose_a_child, "waiting children [6] are not those of the graph"),
    (wait_for_the_dead, "child 6 waits for parents that are over: [4]"),
    (forget_a_completion, "remembered completions and completed jobs differ"),
    (keep_a_result, "there are results of jobs that are forgotten"),
]


@pytest.mark.parametrize(("break_it", "report"), BREAKS, ids=[break_it.__name__ for break_it, _ in BREAKS])
def test_what_is_broken_is_reported(engine: Engine, break_it: Callable[[Engine], None], report: str) -> None:
    """One thing is put out of order by hand; a sentence of the report names it."""
    break_it(engine)
    assert any(report in sentence for sentence in check(engine)), check(engine)


@pytest.mark.parametrize("before", [WAITING, DELAYED, ACTIVE, COMPLETED, WAITING_CHILDREN])
@pytest.mark.parametrize("after", [UNKNOWN, WAITING, DELAYED, ACTIVE, COMPLETED, WAITING_CHILDREN])
def test_no_state_changes_by_itself(engine: Engine, before: int, after: int) -> None:
    """A state written over, whichever it is, never goes unnoticed."""
    id = {WAITING: 1, DELAYED: 2, ACTIVE: 3, COMPLETED: 4, WAITING_CHILDREN: 6}[before]
    engine.jobs.extra(id)
    engine.jobs.set_state(id, after)
    assert bool(check(engine)) == (before != after)


def test_the_check_changes_nothing(engine: Engine) -> None:
    """Asking twice gives the same, and nothing happens meanwhile."""
    engine.take_effects()
    assert check(engine) == check(engine) == []
    assert engine.take_effects() == ([], [], [])
