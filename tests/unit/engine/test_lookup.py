"""Read-only answers: jobs, states, results, lists and counts."""

import pytest
from tests.unit.engine.bench import START, Bench

from flashq.engine import lookup
from flashq.engine.watchers import Ending
from flashq.errors import NotFound
from flashq.model import QueueMetrics, QueueView, Stats


def fill(bench: Bench) -> None:
    """One job in every state, in the queue ``emails``."""
    bench.push_batch({}, {}, {"max_attempts": 1}, {}, {})
    bench.push(delay=60_000)
    bench.push(depends_on=[4])
    bench.pull(count=4)
    bench.ack(1, result=b"[1]")
    bench.ack(2)
    bench.fail(3, "why")


def test_states_are_words(bench: Bench) -> None:
    """Every state of the contract; an id that says nothing to us is unknown."""
    fill(bench)
    assert bench.states(1, 3, 4, 5, 6, 7, 8, 2**53 - 1) == [
        "completed", "failed", "active", "waiting", "delayed", "waiting-children", "unknown", "unknown",
    ]  # fmt: skip


def test_jobs_and_their_custom_ids(bench: Bench) -> None:
    """By our id and by the client's."""
    id = bench.push(job_id="mine")
    assert bench.engine.lookup.custom("mine") == id
    assert bench.engine.lookup.custom("yours") == 0
    assert bench.engine.lookup.job(0) is None
    job = bench.engine.lookup.job(id)
    assert job is not None
    assert job.custom_id == "mine"


def test_results_are_there_when_there_are_any(bench: Bench) -> None:
    """A job without a result, an unfinished one and an unknown one have none."""
    fill(bench)
    assert [bench.engine.lookup.result(id) for id in (1, 2, 4, 99)] == [b"[1]", None, None, None]


def test_progress_of_any_job_that_is_remembered(bench: Bench) -> None:
    """0 and no message as long as nothing was said; unknown jobs are not found."""
    fill(bench)
    assert bench.engine.lookup.progress(5) == (0, None)
    assert bench.engine.lookup.progress(3) == (0, "why")
    with pytest.raises(NotFound, match=r"^Job 99 not found$"):
        bench.engine.lookup.progress(99)


def test_dead_letters_oldest_first(bench: Bench) -> None:
    """Up to the count; a queue that does not exist has none and is not made."""
    bench.push_batch(*[{"max_attempts": 1}] * 4)
    bench.pull(count=4)
    for id in (3, 1, 4, 2):
        bench.fail(id)
    lookup = bench.engine.lookup
    assert [job.id for job in lookup.dead_letters("emails", 3)] == [3, 1, 4]
    assert [job.id for job in lookup.dead_letters("emails", 100)] == [3, 1, 4, 2]
    assert lookup.dead_letters("emails", 0) == []
    assert lookup.dead_letters("nothing", 5) == []
    assert "nothing" not in bench.engine.queues.by_name


def test_queues_are_listed_by_name(bench: Bench) -> None:
    """Those that hold a job or a setting, also when their jobs are over; not those on which somebody only waits."""
    fill(bench)
    control = bench.engine.control
    control.pause(bench.queue("b"))
    control.set_rate(bench.queue("a"), 5, bench.now)
    control.set_concurrency(bench.queue("c"), 6, bench.now)
    bench.park("ann", "d")
    assert bench.engine.lookup.queues() == [
        QueueView("a", 0, 0, 0, 0, 0, False, 5, None),
        QueueView("b", 0, 0, 0, 0, 0, True, None, None),
        QueueView("c", 0, 0, 0, 0, 0, False, None, 6),
        QueueView("emails", 2, 1, 1, 1, 2, False, None, None),
    ]


def test_stats_are_sums_over_all_queues(bench: Bench) -> None:
    """One number a state."""
    fill(bench)
    bench.push("other")
    assert bench.engine.lookup.stats() == Stats(
        queued=2, processing=1, delayed=1, dlq=1, completed=2, waiting_children=1
    )


def test_counters_are_not_forgotten_with_the_jobs() -> None:
    """Completed means ever completed."""
    bench = Bench(keep_completed=1)
    bench.push_batch(*[{}] * 5)
    bench.pull(count=5)
    for id in range(1, 6):
        bench.ack(id)
    assert bench.engine.lookup.stats().completed == 5
    assert bench.engine.lookup.metrics(bench.now.wall).total_completed == 5


def test_metrics(bench: Bench) -> None:
    """Totals, rates of the last minute, and a line a queue."""
    fill(bench)
    bench.push("other")
    bench.engine.control.set_rate(bench.queue("other"), 5, bench.now)
    bench.pass_time(1_000)
    metrics = bench.engine.lookup.metrics(bench.now.wall)
    assert (metrics.total_pushed, metrics.total_completed, metrics.total_failed) == (8, 2, 1)
    assert (metrics.jobs_per_second, metrics.avg_latency_ms) == (1.0, 0.0)
    assert metrics.queues == [QueueMetrics("emails", 2, 1, 1, None), QueueMetrics("other", 1, 0, 0, 5)]


def test_endings(bench: Bench) -> None:
    """A job that is over says how it ended; one that is not, and one that is not known, say no more than that."""
    bench.push_batch({}, {})
    bench.push("others")
    bench.pull(count=2)
    bench.ack(1, result=b"[1]")
    bench.bury(2, "boom")
    found = [bench.engine.lookup.ending(id) for id in (1, 2, 3, 9)]
    assert found == [
        Ending("completed", b"[1]"), Ending("failed", error="boom"), Ending("waiting"), Ending("unknown"),
    ]  # fmt: skip


def test_schedules(bench: Bench) -> None:
    """By name, with the last instant only once there was one."""
    control = bench.engine.control
    for name in ("b", "a"):
        control.set_cron(name, "q", b"[1]", "*/10", 2, "Europe/Rome", bench.now)
    first, second = bench.engine.lookup.crons()
    assert [first.name, second.name] == ["a", "b"]
    assert (first.queue, bytes(first.data), first.schedule, first.priority) == ("q", b"[1]", "*/10", 2)
    assert (first.timezone, first.last_run, first.next_run) == ("Europe/Rome", None, START.wall + 10_000)
    bench.pass_time(10_000)
    assert bench.engine.lookup.crons()[0].last_run == START.wall + 10_000


def test_workers(bench: Bench) -> None:
    """By name, with what they said and what they did."""
    bench.hello("b")
    worker = bench.hello("a")
    bench.push_batch(*[{}] * 3)
    bench.pull(count=3, worker=worker)
    bench.ack(1)
    bench.fail(2)
    first, second = bench.engine.lookup.workers()
    assert (first.id, second.id) == ("a", "b")
    assert (first.queues, first.concurrency, first.host, first.pid) == (["emails"], 4, "host", 4711)
    assert (first.active, first.processed, first.failed, first.last_heartbeat) == (1, 2, 1, START.wall)


def test_dead_letters_are_bounded_in_bytes(bench: Bench) -> None:
    """One answer holds as many as fit, and always one."""
    for _ in range(20):
        bench.bury(bench.push(data=b'"%s"' % (b"x" * 1_000_000)))
    assert len(bench.engine.lookup.dead_letters("emails", 100)) == 16


def test_the_oldest_waiting_job(bench: Bench) -> None:
    """Since when it may run: from its push, the end of its delay or its retry; whatever its priority is."""
    since = bench.engine.lookup.waiting_since
    queue = bench.queue()
    assert since(queue) == 0
    bench.push(delay=50)
    assert since(queue) == 0
    bench.pass_time(80)
    bench.push(priority=7)
    assert since(queue) == START.wall + 50
    bench.pull(count=2)
    assert since(queue) == 0
    bench.pass_time(20)
    bench.fail(1, delay=0)
    bench.pass_time(20)
    assert since(queue) == START.wall + 100


def test_the_oldest_waiting_job_is_found_behind_cancelled_ones(bench: Bench) -> None:
    """What was cancelled stays in the line for a while and is not waiting; past a bound nothing is looked for."""
    most = lookup.OLDEST_PLACES
    for _ in range(most):
        bench.push()
        bench.pass_time(1)
    for id in range(1, most):
        bench.cancel(id)
    assert bench.engine.lookup.waiting_since(bench.queue()) == START.wall + most - 1
    bench.push()
    bench.cancel(most)
    assert bench.engine.lookup.waiting_since(bench.queue()) == 0
