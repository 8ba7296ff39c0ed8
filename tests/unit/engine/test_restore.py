"""From rows back to an engine: whatever happened before, the restarted engine is the one that was."""

from collections.abc import Iterator

from hypothesis import given
from msgspec import structs
from tests.unit.engine.bench import START, Bench, nonces
from tests.unit.engine.remembered import Remembered
from tests.unit.engine.stories import STORIES, TELL, Step, fingerprint, line_of, tell

from flashq.engine.check import check
from flashq.engine.records import JobRow, Pushed, QueueRow, Snapshot, rows_of
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.model import COMPLETED, DELAYED, FAILED, WAITING, WAITING_CHILDREN, Instant
from flashq.storage.fold import Fold
from flashq.storage.records import decode, encode


def test_an_empty_snapshot_is_an_empty_engine() -> None:
    """The next id and the number of the boot are taken over."""
    engine = restore(Remembered().snapshot(epoch=7), Settings(), nonce=nonces(), now=START)
    assert (engine.jobs.next_id, engine.epoch, engine.outbox.recording) == (1, 7, True)
    assert check(engine) == []


def test_every_state_comes_back(bench: Bench) -> None:
    """Each job with all its members, at its place, and what was active is ready again."""
    waiting = bench.push(priority=-1, unique_key="k", job_id="c", tags=["t"], ttl=10**9)
    delayed = bench.push(delay=5_000)
    active = bench.push(timeout=100, priority=8)
    retried = bench.push(backoff=60_000, priority=9)
    done = bench.push(priority=9)
    dead = bench.push(max_attempts=1, priority=9)
    child = bench.push(depends_on=[waiting, done], delay=50)
    bench.pull(count=4)
    bench.fail(retried, "why")
    bench.fail(dead, "for good")
    bench.ack(done, result=b"[7]")
    bench.engine.control.progress(active, None, 30, "busy", bench.now)
    bench.take()
    before = fingerprint(bench.engine)
    bench.restart()
    assert fingerprint(bench.engine) == before
    ids = (waiting, delayed, active, retried, done, dead, child)
    assert bench.states(*ids) == [
        "waiting", "delayed", "waiting", "delayed", "completed", "failed", "waiting-children",
    ]  # fmt: skip
    assert bench.pulled_ids() == [active, waiting]
    assert bench.engine.lookup.result(done) == b"[7]"
    assert bench.admit(unique_key="k")[0] == bench.admit(job_id="c")[0] == waiting


def test_ids_are_never_reused(bench: Bench) -> None:
    """Not even those of jobs that nobody remembers."""
    id = bench.push()
    bench.cancel(id)
    bench.restart()
    assert bench.push() == id + 1


def test_active_jobs_return_to_their_old_places(bench: Bench) -> None:
    """The line is as if nobody had pulled."""
    bench.push_batch(*[{}] * 3)
    bench.pass_time(1)
    bench.push()
    bench.pull(count=2)
    bench.restart()
    assert bench.pulled_ids() == [1, 2, 3, 4]


def test_a_job_whose_delay_ended_before_the_restart_keeps_its_place(bench: Bench) -> None:
    """Becoming ready costs no disk; the place in the line follows from the time all the same."""
    late = bench.push(delay=100)
    bench.pass_time(200)
    newer = bench.push()
    bench.restart()
    assert bench.state(late) == "waiting"
    bench.tick()
    assert bench.pulled_ids() == [late, newer]


def test_a_worker_may_finish_a_delayed_job_at_once_after_the_restart(bench: Bench) -> None:
    """Before the first tick: a job that had been delivered is waiting and not delayed."""
    id = bench.push(delay=100)
    bench.pass_time(100)
    token = bench.pull_one().token
    bench.restart()
    assert isinstance(token, str)
    assert not bench.ack(id, token)


def test_what_fell_due_meanwhile_fires_with_the_first_tick(bench: Bench) -> None:
    """Delays, ttls and one instant of each schedule, however long the server was away."""
    delayed, expiring = bench.push(delay=1_000), bench.push(ttl=1_000)
    bench.engine.control.set_cron("x", "made", b"0", "*/10", 0, "UTC", bench.now)
    bench.take()
    bench.now = Instant(START.wall + 86_400_000, 77)
    bench.restart()
    bench.tick()
    assert bench.states(delayed, expiring) == ["waiting", "unknown"]
    assert len(bench.pulled_ids("made")) == 1


def test_dead_letters_keep_the_order_in_which_they_came(bench: Bench) -> None:
    """Oldest first, which is not the order of their ids."""
    bench.push_batch(*[{"max_attempts": 1}] * 3)
    bench.pull(count=3)
    for id in (2, 3, 1):
        bench.fail(id)
        bench.pass_time(1)
    bench.restart()
    assert [job.id for job in bench.engine.lookup.dead_letters("emails", 10)] == [2, 3, 1]


def test_settings_and_schedules_survive(bench: Bench) -> None:
    """Pause, limits and crons; the bucket starts empty, so that a restart is no way around the limit."""
    control = bench.engine.control
    control.pause(bench.queue("paused"))
    control.set_rate(bench.queue("limited"), 10, bench.now)
    control.set_concurrency(bench.queue("narrow"), 1, bench.now)
    control.set_cron("x", "q", b"[1]", "*/10", 3, "UTC", bench.now)
    bench.take()
    for queue in ("paused", "limited", "narrow"):
        bench.push_batch({}, {}, queue=queue)
    bench.restart()
    assert [view.paused for view in bench.engine.lookup.queues()] == [False, False, True]
    assert bench.pulled_ids("paused") == []
    assert bench.pulled_ids("limited") == []
    assert len(bench.pulled_ids("narrow")) == 1
    bench.pass_time(100)
    assert len(bench.pulled_ids("limited")) == 1
    assert [(cron.name, cron.priority, bytes(cron.data)) for cron in bench.engine.lookup.crons()] == [("x", 3, b"[1]")]


def test_a_queue_whose_settings_were_cleared_is_not_brought_back(bench: Bench) -> None:
    """A queue that holds nothing is forgotten, as it was before the restart."""
    bench.engine.control.set_rate(bench.queue("x"), 5, bench.now)
    bench.engine.control.set_rate(bench.queue("x"), 0, bench.now)
    bench.take()
    bench.restart()
    assert "x" not in bench.engine.queues.by_name


def test_lost_parents_are_remembered(bench: Bench) -> None:
    """A child pushed after the restart does not take a cancelled parent for a completed one."""
    parent = bench.push()
    bench.cancel(parent)
    bench.restart()
    assert bench.state(bench.push(depends_on=[parent])) == "failed"


def test_children_wait_for_what_is_still_open(bench: Bench) -> None:
    """Parents that completed before the restart are done, dead letters are not."""
    done, dead, open = bench.push(), bench.push(max_attempts=1), bench.push("other")
    child = bench.push(depends_on=[done, dead, open])
    bench.pull(count=2)
    bench.ack(done)
    bench.fail(dead)
    bench.restart()
    assert bench.engine.graph.waits_for(child) == {dead, open}
    bench.pull("other")
    bench.ack(open)
    bench.engine.control.retry_dead(bench.queue(), dead, bench.now)
    bench.pull()
    bench.ack(dead)
    assert bench.state(child) == "waiting"


def test_rows_may_come_from_a_generator() -> None:
    """A million of them are never in a list."""
    plain = JobRow(1, "q", WAITING, 0, START.wall, START.wall, 0, 0, 3, 1_000, 0, 0, b"{}")
    rows = [
        plain,
        structs.replace(plain, id=2, state=DELAYED, run_at=START.wall + 5),
        structs.replace(plain, id=3, state=FAILED, message="why", attempts=3),
        structs.replace(plain, id=4, state=WAITING_CHILDREN, depends_on=[2]),
        structs.replace(plain, id=5, state=COMPLETED, done=9, done_at=START.wall, token="1.1.x", result=b"1"),
    ]
    queues = [QueueRow("q", pushed=13, completed=9)]
    snapshot = Snapshot(6, 2, 9, (row for row in rows), queues, [], [])
    engine = restore(snapshot, Settings(), nonce=nonces(), now=START)
    assert check(engine) == []
    assert engine.lookup.stats().completed == 9
    assert engine.finished.completions == 9
    assert engine.settle.ack(5, "1.1.x", None, START)


@TELL
@given(STORIES)
def test_a_restart_changes_nothing(story: list[Step]) -> None:
    """After any story: the engine made from its records is the engine that wrote them, and goes on writing."""
    bench = tell(story).bench
    before = fingerprint(bench.engine)
    lines = {queue: line_of(bench.engine, queue) for queue in ("red", "green")}
    untouched = bench.engine.lookup.stats().processing == 0 and all(
        step[0] not in ("hand_back", "release", "bye") for step in story
    )
    bench.restart()
    assert fingerprint(bench.engine) == before
    if untouched:
        assert {queue: line_of(bench.engine, queue) for queue in lines} == lines
    bench.restart()
    assert fingerprint(bench.engine) == before


@TELL
@given(STORIES, STORIES)
def test_a_story_goes_on_after_a_restart(first: list[Step], second: list[Step]) -> None:
    """Old tokens, new tokens, old timers, new timers: no step after the restart breaks an invariant."""
    teller = tell(first)
    teller.bench.restart()
    for step in second:
        teller.tell(step)
        assert check(teller.bench.engine) == []
    before = fingerprint(teller.bench.engine)
    teller.bench.restart()
    assert fingerprint(teller.bench.engine) == before


@TELL
@given(STORIES)
def test_storage_and_the_naive_memory_agree_on_every_record(story: list[Step]) -> None:
    """What storage makes of an engine's records, through their bytes, is what they add up to one by one."""
    memory = tell(story).bench.memory
    fold = Fold()
    fold.feed(decode(encode(memory.log)))
    fold.settle()
    empty = Snapshot(1, 2, 0, jobs=[], queues=[], crons=[], dropped=[])
    folded, naive = fold.over(empty), memory.snapshot(2)
    assert list(folded.jobs) == list(naive.jobs)
    assert sorted(folded.queues, key=lambda row: row.name) == sorted(naive.queues, key=lambda row: row.name)
    assert folded.crons == sorted(naive.crons, key=lambda row: row.name)
    assert (folded.next_id, folded.completions, folded.dropped) == (naive.next_id, naive.completions, naive.dropped)


@TELL
@given(STORIES)
def test_a_stretch_restores_like_its_rows(story: list[Step]) -> None:
    """Plain waiting jobs may come as one record: the engine is the same, to the order of its lines."""
    bench = tell(story).bench
    bench.restart()
    rows = list(bench.memory.snapshot(epoch=9).rows())
    engines = []
    for jobs in (rows, list(_stretches(rows))):
        snapshot = bench.memory.snapshot(epoch=9)
        snapshot.jobs = jobs
        engines.append(restore(snapshot, Settings(), nonce=nonces(), now=bench.now))
        assert check(engines[-1]) == []
    assert fingerprint(engines[0]) == fingerprint(engines[1])
    for queue in ("red", "green"):
        assert line_of(engines[0], queue) == line_of(engines[1], queue)


def _stretches(rows: list[JobRow]) -> Iterator[JobRow | Pushed]:
    """Neighbours that are plain, as records."""
    run: Pushed | None = None
    for row in rows:
        options = (row.priority, row.max_attempts, row.backoff, row.ttl, row.timeout)
        alone = Pushed(row.queue, row.id, row.created_at, *options, [row.data])
        if row != rows_of(alone)[0]:
            alone = None  # type: ignore[assignment]
        if run is not None and alone is not None:
            longer = structs.replace(alone, first=run.first, data=[*run.data, row.data])
            if structs.replace(run, data=longer.data) == longer and row.id == run.first + len(run.data):
                run = longer
                continue
        if run is not None:
            yield run
        run = alone
        if run is None:
            yield row
    if run is not None:
        yield run
