"""The timers by kind, and when an entry of theirs has lost its meaning."""

import pytest
from tests.unit.engine.bench import START, Bench

from flashq.engine.clocks import expires_at, may_expire


def alive(bench: Bench, timers: str) -> list[bool]:
    """Whether each entry of these timers still means something."""
    clock = getattr(bench.engine.clocks, timers)
    return [clock._alive(due, item) for due, _, item in sorted(clock.entries(), key=lambda entry: entry[:2])]


def test_a_delay_means_something_until_it_is_over(bench: Bench) -> None:
    """A cancelled job's delay means nothing; a retry's delay is another one than the first."""
    bench.push(delay=10)
    cancelled = bench.push(delay=20)
    assert alive(bench, "delays") == [True, True]
    bench.cancel(cancelled)
    assert alive(bench, "delays") == [True, False]


def test_an_expiry_means_something_until_the_job_is_over(bench: Bench) -> None:
    """A running job may come back, so its entry stays; completed and dead jobs do not expire, nor does what is gone."""
    ids = [bench.push(ttl=10_000, max_attempts=1) for _ in range(4)]
    assert alive(bench, "expiries") == [True] * 4
    bench.pull(count=3)
    bench.ack(ids[0])
    bench.fail(ids[1])
    assert alive(bench, "expiries") == [False, False, True, True]
    assert [may_expire(bench.engine.jobs, id) for id in (*ids, 99)] == [False, False, False, True, False]
    bench.cancel(ids[2])
    bench.cancel(ids[3])
    assert alive(bench, "expiries") == [False] * 4


def test_failing_for_ever_does_not_pile_up(bench: Bench) -> None:
    """A job with a ttl has one entry, however often it is tried again."""
    id = bench.push(ttl=10_000, max_attempts=0, backoff=0)
    for _ in range(50):
        bench.pull_one()
        bench.fail(id)
    assert len(bench.engine.clocks.expiries) == 1


def test_the_end_of_a_ttl(bench: Bench) -> None:
    """It counts from the push; a job without a ttl never expires."""
    jobs = bench.engine.jobs
    assert expires_at(jobs, bench.push(ttl=7, delay=5)) == START.wall + 7
    assert expires_at(jobs, bench.push()) == 0


@pytest.mark.parametrize("end", ["ack", "fail", "cancel"])
def test_a_lease_means_something_while_it_holds_a_job(bench: Bench, end: str) -> None:
    """Whichever way the last of its jobs ends."""
    id = bench.push()
    bench.pull_one()
    assert alive(bench, "leases") == [True]
    getattr(bench, end)(id)
    assert alive(bench, "leases") == [False]


def test_a_wait_means_something_while_it_is_parked(bench: Bench) -> None:
    """Being served and leaving both end it."""
    bench.park("ann", wait_ms=100)
    bench.park("ben", wait_ms=200)
    bench.park("eve", wait_ms=300)
    bench.engine.parking.unpark("ben")
    bench.push()
    assert alive(bench, "waits") == [False, False, True]


def test_a_worker_means_something_until_it_leaves(bench: Bench) -> None:
    """BYE ends its timer's meaning."""
    bench.hello("a")
    bench.hello("b")
    bench.engine.control.bye("a", bench.now)
    assert alive(bench, "workers") == [False, True]


def test_a_refill_means_something_until_it_is_planned_anew(bench: Bench) -> None:
    """A changed rate makes the old plan meaningless."""
    queue = bench.queue()
    bench.engine.control.set_rate(queue, 1, bench.now)
    bench.push_batch({}, {})
    bench.pull_one()
    bench.park("ann")
    assert alive(bench, "refills") == [True]
    bench.engine.control.set_rate(queue, 2, bench.now)
    bench.pull(count=2)
    assert alive(bench, "refills") == [False]


@pytest.mark.parametrize("timers", ["waits", "leases", "expiries", "delays"])
def test_what_ended_early_does_not_pile_up(bench: Bench, timers: str) -> None:
    """Thousands of waits, leases, ttls and delays of an hour that end within the second leave a short heap."""
    hour = 3_600_000
    for number in range(5_000):
        if timers == "waits":
            bench.park(number, wait_ms=hour)
        if timers == "delays":
            bench.cancel(bench.push(delay=hour))
        else:
            id = bench.push(ttl=hour if timers == "expiries" else None, timeout=hour)
            if timers == "expiries" and number % 2:
                bench.cancel(id)
                continue
            if timers != "waits":
                bench.pull_one()
            bench.ack(id)
    assert len(getattr(bench.engine.clocks, timers)) <= 2_002
