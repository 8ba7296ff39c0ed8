"""The whole: what is due is done at its time, in slices, and the same calls always give the same effects."""

from hypothesis import given
from tests.unit.engine.bench import START, Bench
from tests.unit.engine.stories import SMALL, STORIES, TELL, Step, Teller, tell

from flashq.engine.check import check
from flashq.engine.lifecycle import MOVES
from flashq.model import COMPLETED, UNKNOWN, Instant


def test_an_idle_engine_waits_for_nothing(bench: Bench) -> None:
    """There is no polling: without a deadline there is no next tick."""
    assert bench.tick() is None
    bench.push()
    assert bench.tick() is None


def test_the_tick_says_when_to_come_again(bench: Bench) -> None:
    """The nearest of all deadlines, on whichever clock it is."""
    bench.park("ann", "nothing", wait_ms=9_000)
    assert bench.tick() == 9_000
    bench.hello()
    bench.push(delay=8_000)
    assert bench.tick() == 8_000
    bench.push("other", timeout=7_000)
    bench.pull("other")
    assert bench.tick() == 7_000
    bench.push(ttl=6_000)
    assert bench.tick() == 6_000
    bench.engine.control.set_cron("x", "q", b"0", "*/5", 0, "UTC", bench.now)
    assert bench.tick() == 5_000
    bench.engine.control.set_rate(bench.queue("limited"), 1, bench.now)
    bench.push_batch({}, {}, queue="limited")
    bench.pull("limited")
    bench.park("ben", "limited")
    assert bench.tick() == 1_000
    bench.set_wall(4_500)
    assert bench.tick() == 500
    bench.set_wall(-3_600_000)
    assert bench.tick() == 1_000


def test_everything_falls_due_at_its_millisecond(bench: Bench) -> None:
    """Each kind of timer, in one turn: leases, workers, expiries, delays, crons, refills, waits."""
    worker = bench.hello()
    held = bench.push("held", timeout=30_000, max_attempts=1)
    bench.pull("held")
    lost = bench.push("lost", max_attempts=1)
    bench.pull("lost", worker=worker)
    expiring, delayed = bench.push("idle", ttl=30_000), bench.push("late", delay=30_000)
    bench.engine.control.set_cron("x", "made", b"0", "*/30", 0, "UTC", bench.now)
    bench.park("ann", "nothing", wait_ms=30_000)
    bench.now = Instant(START.wall + 29_999, START.steady + 29_999)
    bench.tick()
    assert bench.states(held, lost, expiring, delayed) == ["active", "active", "waiting", "delayed"]
    assert bench.delivered() == []
    bench.now = Instant(START.wall + 30_000, START.steady + 30_000)
    bench.tick()
    assert bench.states(held, lost, expiring, delayed) == ["failed", "failed", "unknown", "waiting"]
    assert bench.delivered() == [("ann", [])]
    assert bench.pulled_ids("made") == [delayed + 1]


def test_time_that_nobody_could_use_ends_no_lease(bench: Bench) -> None:
    """Every deadline of an attempt or a worker moves by it, once, whatever bounds it; a parked call's does not."""
    bench.push("timed", timeout=1_000)
    bench.pull("timed")
    bench.push()
    bench.push()
    bench.pull(count=2)
    worker = bench.hello()
    bench.park("ann", "nothing", wait_ms=500)
    leases = [lease for _, _, lease in bench.engine.clocks.leases.entries()]
    before = [lease.deadline for lease in leases], worker.deadline
    bench.go_on(5_000)
    bench.engine.stood_still(5_000, bench.now)
    assert [lease.deadline - 5_000 for lease in leases] == before[0]
    assert worker.deadline - 5_000 == before[1]
    assert check(bench.engine) == []
    bench.pass_time(999)
    assert bench.engine.lookup.stats().processing == 3
    assert len(bench.engine.parking) == 0
    bench.pass_time(1)
    assert bench.engine.lookup.stats().processing == 2


def test_who_was_heard_since_has_lost_nothing(bench: Bench) -> None:
    """An attempt or a worker that began, or was renewed, behind the time that was lost lasts as long as any."""
    bench.push()
    bench.push()
    renewed = bench.pull_one()
    old = bench.hello("old")
    bench.go_on(5_000)
    bench.pull()
    bench.hello("old")
    new = bench.hello("new")
    bench.engine.control.heartbeat(renewed.id, renewed.token, bench.now)
    leases = [lease for _, _, lease in bench.engine.clocks.leases.entries()]
    before = [lease.deadline for lease in leases], old.deadline, new.deadline
    bench.engine.stood_still(5_000, bench.now)
    assert ([lease.deadline for lease in leases], old.deadline, new.deadline) == before


def test_a_bucket_that_refills_feeds_who_waits(bench: Bench) -> None:
    """At the millisecond of the token, by the tick alone."""
    bench.engine.control.set_rate(bench.queue(), 4, bench.now)
    bench.push_batch(*[{}] * 5)
    bench.pull(count=5)
    bench.park("ann")
    assert bench.tick() == 250
    bench.now = Instant(START.wall, START.steady + 250)
    bench.tick()
    assert bench.delivered() == [("ann", [5])]


def test_a_job_that_becomes_ready_in_the_last_moment_is_still_delivered(bench: Bench) -> None:
    """When the job and the end of the wait fall into one turn, the job wins."""
    id = bench.push(delay=100)
    bench.park("ann", wait_ms=100)
    bench.now = Instant(START.wall + 100, START.steady + 100)
    bench.tick()
    assert bench.delivered() == [("ann", [id])]


def test_a_million_at_once_are_done_in_slices() -> None:
    """No turn does more than its slice of each kind; the next one follows at once."""
    bench = Bench(slice=2)
    for _ in range(5):
        bench.push(delay=10)
    bench.now = Instant(START.wall + 10, START.steady + 10)
    waits = []
    ready = []
    for _ in range(3):
        waits.append(bench.tick())
        ready.append(bench.engine.lookup.stats().queued)
    assert (waits, ready) == ([0, 0, None], [2, 4, 5])


def test_delays_that_end_together_are_ready_in_the_order_of_their_ids(bench: Bench) -> None:
    """Ties are broken by id, whenever their timers were set."""
    first = bench.push(backoff=500)
    bench.pull_one()
    second = bench.push(delay=1_000)
    bench.pass_time(500)
    bench.fail(first)
    bench.pass_time(500)
    assert bench.pulled_ids() == [first, second]


def test_a_slice_of_schedules() -> None:
    """Schedules are dearer than other timers and have a slice of their own."""
    bench = Bench(cron_slice=2)
    for name in "abc":
        bench.engine.control.set_cron(name, "q", b"0", "*/10", 0, "UTC", bench.now)
    bench.now = Instant(START.wall + 10_000, START.steady + 10_000)
    assert bench.tick() == 0
    assert bench.tick() == 10_000
    assert len(bench.pulled_ids("q")) == 3


@TELL
@given(STORIES)
def test_no_story_breaks_an_invariant(story: list[Step]) -> None:
    """After every step of every story all is well, and every job has made only moves that are in the table."""
    teller = Teller(Bench(**SMALL))
    bench = teller.bench
    before: dict[int, int] = {}
    for step in story:
        teller.tell(step)
        assert check(bench.engine) == []
        after = {id: bench.engine.jobs.state(id) for id in range(1, bench.engine.jobs.next_id)}
        for id, state in after.items():
            old = before.get(id, UNKNOWN)
            assert old in (state, COMPLETED) or state in reachable(old), (id, old, state)
            assert not (id in before and old == UNKNOWN and state != UNKNOWN), "what is gone does not come back"
        before = after


def reachable(state: int) -> set[int]:
    """Where moves of the table lead from a state, without coming from nothing again; a step may be several moves."""
    reached = {after for before, after in MOVES if before == state}
    for _ in MOVES:
        reached |= {after for before, after in MOVES if before in reached - {UNKNOWN}}
    return reached


@TELL
@given(STORIES)
def test_the_same_calls_give_the_same_effects(story: list[Step]) -> None:
    """Twice the same story: the same answers, records, events and deliveries, byte for byte."""
    first, second = tell(story), tell(story)
    assert first.answers == second.answers
    assert first.held == second.held
    assert first.bench.memory.log == second.bench.memory.log
    assert first.bench.events == second.bench.events


@TELL
@given(STORIES)
def test_every_job_finds_an_end(story: list[Step]) -> None:
    """Whatever happened: once the brakes are off and workers do their work, nothing is left but dead letters."""
    bench = tell([*story, ("uncron", 0, 0), ("uncron", 0, 1), ("uncron", 0, 2)]).bench
    control = bench.engine.control
    for name in ("red", "green"):
        queue = bench.queue(name)
        control.resume(queue, bench.now)
        control.set_rate(queue, 0, bench.now)
        control.set_concurrency(queue, 0, bench.now)
    bench.take()
    for _ in range(20):
        bench.pass_time(3_600_000)
        for name in ("red", "green"):
            control.retry_dead(bench.queue(name), None, bench.now)
            for job in bench.pull(name, 1_000):
                bench.ack(job.id)
            for _, jobs in bench.deliveries:
                for job in jobs:
                    if bench.state(job.id) == "active":
                        bench.ack(job.id)
            bench.deliveries.clear()
    stats = bench.engine.lookup.stats()
    assert (stats.queued, stats.processing, stats.delayed, stats.dlq, stats.waiting_children) == (0, 0, 0, 0, 0)
    assert check(bench.engine) == []


def test_delays_that_end_together_end_in_the_order_of_ids(bench: Bench) -> None:
    """A retry that was set last does not stand behind a job that was pushed later."""
    first = bench.push(backoff=1_000)
    bench.pull_one()
    second = bench.push(delay=1_000)
    bench.fail(first)
    bench.pass_time(1_000)
    assert bench.pulled_ids() == [first, second]
