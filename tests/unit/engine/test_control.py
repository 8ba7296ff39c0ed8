"""What operators and running workers ask for: brakes, dead letters, progress, signs of life, schedules."""

import pytest
from msgspec import Raw
from tests.unit.engine.bench import START, Bench

from flashq.engine import control as module
from flashq.engine import queue as queue_module
from flashq.engine.check import check
from flashq.engine.jobs import JOB_BYTES
from flashq.engine.records import CronDeleted, CronSet, QueueSet
from flashq.errors import BadRequest, LimitReached, NotActive, NotFound, StaleAttempt
from flashq.model import JobSpec
from flashq.protocol.limits import MAX_MESSAGE_BYTES

LEASE = 30 * 60_000


# --- brakes ---


def test_brakes_are_recorded_as_they_now_are(bench: Bench) -> None:
    """Each change writes all three settings of the queue."""
    control, queue = bench.engine.control, bench.queue()
    control.pause(queue)
    control.set_rate(queue, 5, bench.now)
    control.set_concurrency(queue, 7, bench.now)
    control.resume(queue, bench.now)
    control.set_rate(queue, 0, bench.now)
    bench.take()
    assert bench.memory.log == [
        QueueSet("emails", True, 0, 0),
        QueueSet("emails", True, 5, 0),
        QueueSet("emails", True, 5, 7),
        QueueSet("emails", False, 5, 7),
        QueueSet("emails", False, 0, 7),
    ]


def test_a_queue_without_jobs_is_forgotten_with_its_last_setting(bench: Bench) -> None:
    """Whoever sets and clears leaves nothing behind."""
    control = bench.engine.control
    control.pause(bench.queue())
    control.set_rate(bench.queue(), 5, bench.now)
    control.resume(bench.queue(), bench.now)
    assert "emails" in bench.engine.queues.by_name
    control.set_rate(bench.queue(), 0, bench.now)
    assert "emails" not in bench.engine.queues.by_name


@pytest.mark.parametrize("brake", ["pause", "rate", "concurrency"])
def test_loosening_a_brake_feeds_who_waits(bench: Bench, brake: str) -> None:
    """At once, and not with the next push."""
    control, queue = bench.engine.control, bench.queue()
    bench.push_batch({}, {})
    if brake == "pause":
        control.pause(queue)
    elif brake == "rate":
        control.set_rate(queue, 1, bench.now)
        bench.pull_one()
    else:
        control.set_concurrency(queue, 1, bench.now)
        bench.pull_one()
    bench.park("ann")
    assert bench.delivered() == []
    if brake == "pause":
        control.resume(queue, bench.now)
    elif brake == "rate":
        control.set_rate(queue, 0, bench.now)
    else:
        control.set_concurrency(queue, 0, bench.now)
    bench.take()
    assert len(bench.delivered()) == 1


def test_a_new_rate_starts_with_a_full_bucket(bench: Bench) -> None:
    """And the plan of the old one is forgotten."""
    control, queue = bench.engine.control, bench.queue()
    bench.push_batch(*[{}] * 10)
    control.set_rate(queue, 1, bench.now)
    bench.pull_one()
    bench.park("ann", count=2)
    control.set_rate(queue, 3, bench.now)
    bench.take()
    assert bench.delivered() == [("ann", [2, 3])]
    assert bench.pulled_ids() == [4]


# --- dead letters ---


def test_retrying_all_dead_letters(bench: Bench) -> None:
    """All of them, ready now behind what waits, with their attempts back to 0; and who waits is fed."""
    ids = bench.push_batch(*[{"max_attempts": 1}] * 3).ids
    bench.pull(count=3)
    for id in reversed(ids):
        bench.fail(id, "why")
    other = bench.push()
    bench.pass_time(10)
    assert bench.engine.control.retry_dead(bench.queue(), None, bench.now) == 3
    bench.take()
    job = bench.job(2)
    assert (bench.state(2), job.attempts, job.run_at, job.progress_msg) == ("waiting", 0, START.wall + 10, "why")
    assert bench.pulled_ids() == [other, 3, 2, 1]
    assert bench.engine.control.retry_dead(bench.queue(), None, bench.now) == 0


def test_retrying_one_dead_letter(bench: Bench) -> None:
    """The others stay; an id that is no dead letter of this queue is none."""
    first, second = bench.push(max_attempts=1), bench.push(max_attempts=1)
    elsewhere = bench.push("other", max_attempts=1)
    for id in (first, second, elsewhere):
        bench.bury(id)
    bench.park("ann")
    for id in (elsewhere, 99):
        assert bench.engine.control.retry_dead(bench.queue(), id, bench.now) == 0
    assert bench.engine.control.retry_dead(bench.queue(), second, bench.now) == 1
    bench.take()
    assert bench.delivered() == [("ann", [second])]
    assert bench.states(first, second) == ["failed", "active"]
    bench.fail(second)
    assert bench.state(second) == "failed"


def test_a_retried_dead_letter_expires_at_its_time(bench: Bench) -> None:
    """The ttl goes on counting from the push."""
    id = bench.push(ttl=1_000, max_attempts=1)
    bench.bury(id)
    bench.pass_time(500)
    bench.engine.control.retry_dead(bench.queue(), id, bench.now)
    bench.pass_time(499)
    assert bench.state(id) == "waiting"
    bench.pass_time(1)
    assert bench.state(id) == "unknown"


def test_a_retry_of_overdue_dead_letters_lets_them_go(bench: Bench) -> None:
    """They are expired and not counted as retried."""
    overdue, fine = bench.push(ttl=100, max_attempts=1), bench.push(max_attempts=1)
    bench.bury(overdue)
    bench.bury(fine)
    bench.pass_time(100)
    assert bench.engine.control.retry_dead(bench.queue(), None, bench.now) == 1
    bench.take()
    assert bench.states(overdue, fine) == ["unknown", "waiting"]


def test_purging_dead_letters(bench: Bench) -> None:
    """All of one queue; keys are free, children are lost, and there is no event for each."""
    id, elsewhere = bench.push(max_attempts=1, unique_key="k"), bench.push("other", max_attempts=1)
    child = bench.push("children", depends_on=[id])
    for dead in (id, elsewhere):
        bench.bury(dead)
    bench.told()
    assert bench.engine.control.purge_dead(bench.queue(), bench.now) == 1
    assert bench.engine.control.purge_dead(bench.queue(), bench.now) == 0
    bench.take()
    assert bench.states(id, elsewhere, child) == ["unknown", "failed", "failed"]
    assert bench.told() == [("failed", child)]
    assert bench.queue().purged == 1


# --- progress and heartbeat ---


def test_progress_is_kept_and_told(bench: Bench) -> None:
    """Percent and message; a report without a message keeps the old one; over 100 is 100."""
    id = bench.push()
    bench.pull_one()
    control = bench.engine.control
    control.progress(id, None, 40, "half way", bench.now)
    control.progress(id, None, 250, None, bench.now)
    bench.take()
    assert bench.engine.lookup.progress(id) == (100, "half way")
    assert [(event.event_type, event.progress) for event in bench.events[-2:]] == [("progress", 40), ("progress", 100)]
    bench.ack(id)
    assert bench.engine.lookup.progress(id) == (100, "half way")


def test_progress_needs_a_running_attempt(bench: Bench) -> None:
    """Waiting, finished and unknown jobs have none; another's token is stale."""
    waiting, done = bench.push(priority=-1), bench.push()
    bench.pull_one()
    bench.ack(done)
    for id in (waiting, done, 99):
        with pytest.raises(NotActive, match=f"^Job {id} not found in processing$"):
            bench.engine.control.progress(id, None, 1, None, bench.now)
    bench.pull_one()
    with pytest.raises(StaleAttempt):
        bench.engine.control.progress(waiting, "1.9.x", 1, None, bench.now)


def test_long_messages_are_cut_between_characters(bench: Bench) -> None:
    """By bytes, never within a character."""
    id = bench.push()
    bench.pull_one()
    bench.engine.control.progress(id, None, 1, "x" + "é" * MAX_MESSAGE_BYTES, bench.now)
    bench.take()
    message = bench.engine.lookup.progress(id)[1]
    assert message == "x" + "é" * ((MAX_MESSAGE_BYTES - 1) // 2)


@pytest.mark.parametrize("sign", ["heartbeat", "progress"])
def test_signs_of_life_renew_the_servers_lease(bench: Bench, sign: str) -> None:
    """Counted from the last of them."""
    id = bench.push()
    bench.pull_one()
    for _ in range(3):
        bench.pass_time(LEASE - 1)
        if sign == "heartbeat":
            bench.engine.control.heartbeat(id, None, bench.now)
        else:
            bench.engine.control.progress(id, None, 1, None, bench.now)
    bench.pass_time(LEASE - 1)
    assert bench.state(id) == "active"
    bench.pass_time(1)
    assert bench.state(id) == "delayed"


def test_a_jobs_own_timeout_is_not_renewed(bench: Bench) -> None:
    """An attempt may not run longer, whatever it says."""
    id = bench.push(timeout=1_000)
    bench.pull_one()
    bench.pass_time(999)
    bench.engine.control.heartbeat(id, None, bench.now)
    bench.engine.control.progress(id, None, 99, None, bench.now)
    bench.pass_time(1)
    assert bench.state(id) == "delayed"


@pytest.mark.parametrize("id", [1, 99])
def test_a_heartbeat_needs_a_running_attempt(bench: Bench, id: int) -> None:
    """Nobody renews what nobody holds."""
    bench.push()
    with pytest.raises((NotFound, NotActive), match=f"^Job {id} not found$"):
        bench.engine.control.heartbeat(id, None, bench.now)


# --- workers ---


def test_a_worker_that_beats_keeps_its_jobs(bench: Bench) -> None:
    """For as long as it lives; 30 s of silence are one too many."""
    worker = bench.hello()
    id = bench.push()
    bench.pull_one(worker=worker)
    for _ in range(200):
        bench.pass_time(29_999)
        bench.engine.control.beat(worker.name, bench.now)
    assert (bench.state(id), worker.last_beat) == ("active", bench.now.wall)
    bench.pass_time(29_999)
    assert bench.state(id) == "active"
    bench.pass_time(1)
    assert (bench.state(id), bench.job(id).progress_msg) == ("delayed", "worker lost")
    assert bench.told()[-2:] == [("timeout", id), ("retrying", id)]
    assert worker.gone
    with pytest.raises(NotFound, match=r"^Worker 'worker-1' not found$"):
        bench.engine.control.beat(worker.name, bench.now)


def test_a_lost_workers_jobs_fail_in_the_order_in_which_it_got_them(bench: Bench) -> None:
    """Retried and dead letters alike, over all its deliveries, however many."""
    worker = bench.hello()
    bench.push_batch(*[{"backoff": 0}] * 40)
    for count in (1, 2, 3, *[1] * 20, 14):
        bench.pull(count=count, worker=worker)
    bench.pass_time(30_000)
    assert worker.active == 0
    assert worker.failed == 40
    assert bench.pulled_ids() == list(range(1, 41))


def test_a_worker_that_leaves_hands_everything_back(bench: Bench) -> None:
    """Uncounted, in the old order, before what waits; and it is no longer known."""
    worker = bench.hello()
    bench.push_batch(*[{}] * 30)
    for count in (2, 1, *[1] * 20, 3):
        bench.pull(count=count, worker=worker)
    bench.ack(2)
    bench.engine.control.bye(worker.name, bench.now)
    bench.take()
    assert worker.gone
    assert bench.engine.lookup.workers() == []
    assert bench.job(1).attempts == 0
    assert bench.pulled_ids() == [1, *range(3, 31)]
    for verb in (bench.engine.control.bye, bench.engine.control.beat):
        with pytest.raises(NotFound, match=r"^Worker 'worker-1' not found$"):
            verb(worker.name, bench.now)
    bench.pass_time(30_000)
    assert bench.state(1) == "active"  # nothing is left of the worker's timer


def test_a_worker_that_died_ends_what_it_held(bench: Bench) -> None:
    """Its attempts end as failed with the text of its end, none of them as timed out, and go to nobody of its name."""
    worker = bench.hello()
    bench.push_batch({"backoff": 0}, {"max_attempts": 1}, {})
    bench.pull(count=3, worker=worker)
    bench.park("c", worker=worker)
    bench.told()
    bench.engine.control.bye(worker.name, bench.now, "killed by signal 9")
    bench.take()
    assert bench.states(1, 2, 3) == ["active", "failed", "delayed"]
    assert [bench.job(id).progress_msg for id in (1, 2, 3)] == ["killed by signal 9"] * 3
    assert [bench.job(id).attempts for id in (1, 2, 3)] == [1, 1, 1]
    assert {kind for kind, _ in bench.told()} == {"retrying", "failed", "active"}
    assert (worker.active, bench.delivered()) == (0, [("c", [1])])


def test_hello_again_is_a_sign_of_life(bench: Bench) -> None:
    """What it says of itself is taken anew, what it holds stays its own."""
    worker = bench.hello()
    id = bench.push()
    bench.pull_one(worker=worker)
    bench.pass_time(20_000)
    again = bench.engine.control.hello(worker.name, ["a", "b"], 9, None, None, bench.now)
    assert again is worker
    assert (worker.queues, worker.concurrency, worker.host, worker.pid) == (["a", "b"], 9, None, None)
    bench.pass_time(29_999)
    assert bench.state(id) == "active"


def test_a_lost_worker_may_come_back(bench: Bench) -> None:
    """As a new one of the same name."""
    old = bench.hello()
    bench.pass_time(30_000)
    new = bench.hello()
    assert new is not old
    assert [worker.id for worker in bench.engine.lookup.workers()] == ["worker-1"]


def test_a_timer_of_a_worker_that_left_says_nothing(bench: Bench) -> None:
    """Its successor of the same name lives on."""
    control = bench.engine.control
    old = bench.hello()
    control.bye(old.name, bench.now)
    bench.pass_time(15_000)
    bench.hello()
    control.workers_silent([old], bench.now)
    bench.pass_time(15_000)
    assert len(bench.engine.lookup.workers()) == 1


def test_there_are_no_more_workers_than_the_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused; one that is known may say HELLO again."""
    monkeypatch.setattr(module, "MAX_WORKERS", 1)
    bench.hello("a")
    with pytest.raises(LimitReached, match=r"^Too many workers \(max 1\)$"):
        bench.hello("b")
    bench.hello("a")


def test_workers_follow_the_steady_clock(bench: Bench) -> None:
    """A jump of the wall clock loses nobody."""
    worker = bench.hello()
    bench.set_wall(86_400_000)
    bench.tick()
    assert not worker.gone


# --- schedules ---


def test_a_schedule_pushes_its_job(bench: Bench) -> None:
    """At its instants, with its payload and priority, and the schedule moves on in the same records."""
    bench.engine.control.set_cron("x", "emails", b'{"n":1}', "*/10", 4, "UTC", bench.now)
    bench.push()
    bench.pass_time(20_000)
    first, second, plain = bench.pull(count=5)
    assert (bytes(first.data), first.priority, second.priority, plain.priority) == (b'{"n":1}', 4, 4, 0)
    assert second.created_at - first.created_at == 10_000
    moved = [record.row.last_run for record in bench.memory.log if isinstance(record, CronSet)]
    assert moved == [0, START.wall, START.wall + 10_000] or moved == [0, first.created_at, second.created_at]
    (cron,) = bench.engine.lookup.crons()
    assert (cron.last_run, cron.next_run) == (second.created_at, second.created_at + 10_000)


def test_a_schedule_gives_its_jobs_what_it_was_set_with(bench: Bench) -> None:
    """All of it, after a restart too; while a live job holds the key an instant is skipped and the schedule goes on."""
    given = JobSpec(data=Raw(), timeout=5, ttl=90_000, backoff=7, max_attempts=8, unique_key="k", tags=["t"])
    bench.engine.control.set_cron("x", "emails", b"0", "*/10", 0, "UTC", bench.now, given)
    bench.take()
    bench.restart()
    bench.pass_time(30_000)
    (job,) = bench.pull(count=5)
    assert (job.timeout, job.ttl, job.backoff, job.max_attempts) == (5, 90_000, 7, 8)
    assert (job.unique_key, job.tags) == ("k", ["t"])
    bench.ack(job.id)
    bench.pass_time(10_000)
    assert bench.pull_one().id == job.id + 1
    (cron,) = bench.engine.lookup.crons()
    assert (cron.timeout, cron.unique_key, cron.tags, bench.engine.control.missed_crons) == (5, "k", ["t"], 0)


def test_a_schedule_feeds_who_waits(bench: Bench) -> None:
    """Like any other push."""
    bench.engine.control.set_cron("x", "emails", b"0", "*/10", 0, "UTC", bench.now)
    bench.park("ann")
    bench.pass_time(10_000)
    assert bench.delivered() == [("ann", [1])]


def test_a_schedule_that_is_set_wakes_the_sleeper(bench: Bench) -> None:
    """Whoever sleeps until the next deadline is told that there may be an earlier one."""
    bench.engine.clocks.alarm.rung = False
    bench.engine.control.set_cron("x", "emails", b"0", "*/10", 0, "UTC", bench.now)
    assert bench.engine.clocks.alarm.rung


def test_deleting_a_schedule(bench: Bench) -> None:
    """It fires no more and is recorded as gone; there is nothing to delete twice."""
    control = bench.engine.control
    control.set_cron("x", "emails", b"0", "*/10", 0, "UTC", bench.now)
    control.delete_cron("x")
    bench.take()
    assert bench.memory.log[-1] == CronDeleted("x")
    with pytest.raises(NotFound, match=r"^Cron job not found$"):
        control.delete_cron("x")
    bench.pass_time(60_000)
    assert bench.pulled_ids() == []


def test_a_wrong_schedule_is_refused_and_not_recorded(bench: Bench) -> None:
    """Nothing has changed."""
    with pytest.raises(BadRequest):
        bench.engine.control.set_cron("x", "emails", b"0", "nonsense", 0, "UTC", bench.now)
    bench.take()
    assert bench.memory.log == []


def test_an_instant_without_room_for_its_job_is_skipped_and_counted() -> None:
    """The schedule goes on, and the next instant finds its job when there is room again."""
    bench = Bench(max_bytes=2 * (JOB_BYTES + 10), keep_completed=0)
    bench.engine.control.set_cron("x", "emails", b"0", "*/10", 0, "UTC", bench.now)
    full = [bench.push("other"), bench.push("other")]
    bench.pass_time(10_000)
    assert bench.engine.control.missed_crons == 1
    bench.pull("other", 2)
    bench.ack(full[0])
    bench.pass_time(10_000)
    assert len(bench.pulled_ids()) == 1
    assert check(bench.engine) == []


def test_a_schedule_finds_no_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many queues are no reason to stop: the instant is skipped."""
    bench.engine.control.set_cron("x", "emails", b"0", "*/10", 0, "UTC", bench.now)
    monkeypatch.setattr(queue_module, "MAX_QUEUES", 0)
    bench.pass_time(10_000)
    assert bench.engine.control.missed_crons == 1


def test_the_last_instant_of_a_schedule_is_recorded_as_its_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule without a next instant is gone after a restart as well."""
    bench.engine.control.set_cron("x", "emails", b"0", "*/10", 0, "UTC", bench.now)
    schedule = bench.engine.crons._by_name["x"].schedule
    monkeypatch.setattr(type(schedule), "next_after", lambda *_: None)
    bench.pass_time(10_000)
    assert bench.memory.log[-1] == CronDeleted("x")
    assert bench.engine.lookup.crons() == []


def test_a_silent_worker_is_not_given_what_another_lost(bench: Bench) -> None:
    """Both are lost before the first attempt ends, so the job is waiting again after one failed attempt and not two."""
    one, two = bench.hello("one"), bench.hello("two")
    id = bench.push(backoff=0, max_attempts=9)
    bench.pull_one(worker=one)
    bench.park("call", worker=two)
    bench.pass_time(30_000)
    assert bench.job(id).attempts == 1
    assert bench.delivered() == [("call", [id])]
    bench.pass_time(60_000)
    assert bench.job(id).attempts == 1


def test_a_worker_is_relieved_of_what_never_reached_it(bench: Bench) -> None:
    """Back to where it stood, uncounted, whatever deliveries it came with; other workers keep theirs."""
    worker, other = bench.hello(), bench.hello("other")
    bench.push_batch(*[{}] * 6)
    first, second = bench.pull(count=2, worker=worker), bench.pull(count=2, worker=worker)
    theirs = bench.pull(count=1, worker=other)
    bench.engine.control.reconcile(worker, {(first[1].id, str(first[1].token))}, bench.now)
    assert (worker.active, other.active) == (1, 1)
    assert [job.id for job in bench.pull(count=9)] == [first[0].id, second[0].id, second[1].id, 6]
    bench.ack(first[1].id)
    bench.ack(theirs[0].id)
