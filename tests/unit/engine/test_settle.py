"""How attempts and jobs end: ack, fail, lease, hand back, cancel, ttl; and whose token counts."""

from collections.abc import Callable
from functools import partial

import pytest
from msgspec import UNSET, Raw
from tests.unit.engine.bench import Bench

from flashq.engine.check import check
from flashq.engine.records import Completed
from flashq.errors import NotActive, NotFound, StaleAttempt
from flashq.protocol.limits import MAX_ERROR_BYTES

LEASE = 30 * 60_000


def token_of(bench: Bench, queue: str = "emails") -> tuple[int, str]:
    """Pull one job; its id and token."""
    job = bench.pull_one(queue)
    assert job.token is not UNSET
    return job.id, job.token


# --- fail, its delay, and failing for good ---


def test_a_failure_may_bring_its_own_delay(bench: Bench) -> None:
    """The retry comes after that delay, however long or short the backoff is; the attempt is counted."""
    id = bench.push(backoff=5_000)
    bench.pull_one()
    bench.fail(id, delay=70)
    assert (bench.state(id), bench.job(id).run_at, bench.job(id).attempts) == ("delayed", bench.now.wall + 70, 1)
    bench.pass_time(70)
    bench.pull_one()
    bench.fail(id, delay=0)
    assert (bench.state(id), bench.job(id).attempts) == ("waiting", 2)


def test_a_delay_gives_no_further_attempt(bench: Bench) -> None:
    """The last attempt is the last one."""
    id = bench.push(max_attempts=1)
    bench.pull_one()
    bench.fail(id, delay=70)
    assert bench.state(id) == "failed"


def test_a_failure_for_good(bench: Bench) -> None:
    """Straight to the dead letters although attempts are left, and also when its ttl has ended meanwhile."""
    ids = [bench.push(max_attempts=0), bench.push(max_attempts=9, ttl=50)]
    bench.pull(count=2)
    bench.pass_time(100)
    bench.told()
    for id in ids:
        bench.fail(id, "no use", dead=True)
    assert bench.states(*ids) == ["failed", "failed"]
    assert [bench.job(id).attempts for id in ids] == [1, 1]
    assert bench.told() == [("failed", id) for id in ids]


# --- release ---


def test_a_released_job_is_the_next(bench: Bench) -> None:
    """It stands at the head of its line, its attempt uncounted, the token stale and the key held."""
    id, later = bench.push(unique_key="k"), bench.push()
    _, token = token_of(bench)
    bench.release(id, token)
    with pytest.raises(StaleAttempt):
        bench.release(id, token)
    with pytest.raises(NotActive):
        bench.release(id)
    assert bench.engine.queues.by_name["emails"].keys == {"k": id}
    assert [(job.id, job.attempts) for job in bench.pull(count=9)] == [(id, 0), (later, 0)]


def test_releases_without_delay_are_bounded(bench: Bench) -> None:
    """One that is released too often counts as failed: it must not go in circles."""
    id = bench.push(max_attempts=1)
    for _ in range(bench.settings.max_returns):
        bench.pull_one()
        bench.release(id)
    bench.pull_one()
    bench.release(id)
    assert (bench.state(id), bench.job(id).progress_msg) == ("failed", "Handed back too often")


def test_a_job_may_be_put_off_as_often_as_one_likes(bench: Bench) -> None:
    """With a delay neither an attempt nor a return is counted, and the slot is free meanwhile."""
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    id = bench.push(max_attempts=1)
    for _ in range(bench.settings.max_returns + 1):
        bench.pull_one()
        bench.release(id, delay=10)
        assert bench.state(id) == "delayed"
        bench.pass_time(10)
    assert (bench.pull_one().attempts, bench.engine.jobs.extras[id].returns) == (0, 0)
    other = bench.push()
    bench.park("c")
    bench.release(id, delay=10)
    assert bench.delivered() == [("c", [other])]


@pytest.mark.parametrize("delay", [0, 5])
def test_a_released_job_whose_time_is_over_expires(bench: Bench, delay: int) -> None:
    """As one that fails then does."""
    id = bench.push(ttl=50)
    bench.pull_one()
    bench.pass_time(50)
    bench.release(id, delay=delay)
    assert bench.state(id) == "unknown"
    assert bench.told()[-1] == ("expired", id)


def test_a_put_off_job_is_put_off_after_a_restart(bench: Bench) -> None:
    """The release is remembered with its moment and its fence."""
    id = bench.push()
    _, token = token_of(bench)
    bench.release(id, token, delay=500)
    bench.restart()
    assert (bench.state(id), bench.job(id).run_at) == ("delayed", bench.now.wall + 500)
    with pytest.raises(StaleAttempt):
        bench.ack(id, token)


def test_an_attempt_from_before_a_restart_can_be_released(bench: Bench) -> None:
    """Whoever holds it gives it back under its old token; nobody else's counts."""
    id = bench.push()
    _, token = token_of(bench)
    bench.restart()
    bench.release(id, token, delay=500)
    assert bench.state(id) == "delayed"


def test_a_job_released_after_a_restart_is_where_it_was(bench: Bench) -> None:
    """The restart put it into the line at its old place already, and there it stays, once."""
    first, second, third = (bench.push() for _ in range(3))
    token = bench.pull(count=3)[0].token
    bench.restart()
    bench.release(second, str(token))
    assert bench.pulled_ids() == [first, second, third]


# --- ack ---


def test_an_ack_completes_the_job(bench: Bench) -> None:
    """Once: the second ack without a token finds nobody at work."""
    id = bench.push()
    bench.pull_one()
    assert not bench.ack(id, result=b'{"sent":1}')
    assert bench.state(id) == "completed"
    assert bench.engine.lookup.result(id) == b'{"sent":1}'
    with pytest.raises(NotActive, match=f"^Job {id} not found$"):
        bench.ack(id)


def test_a_repeat_of_an_ack_with_its_token_is_ok(bench: Bench) -> None:
    """The client that lost the answer learns that it is done; the first result stays."""
    id = bench.push()
    _, token = token_of(bench)
    assert not bench.ack(id, token, b"1")
    bench.told()
    assert bench.ack(id, token, b"2")
    assert bench.engine.lookup.result(id) == b"1"
    assert bench.told() == []
    assert bench.engine.lookup.stats().completed == 1


@pytest.mark.parametrize("verb", ["ack", "fail"])
def test_what_is_not_there_cannot_end(bench: Bench, verb: str) -> None:
    """Ids never issued and jobs that are gone are not found; jobs that nobody holds are not active."""
    waiting, delayed, gone = bench.push(), bench.push(delay=9), bench.push()
    bench.cancel(gone)
    for id in (gone, 99, 2**53 - 1):
        with pytest.raises(NotFound, match=f"^Job {id} not found$"):
            getattr(bench, verb)(id)
        with pytest.raises(NotFound):
            getattr(bench, verb)(id, token="1.1.x")
    for id in (waiting, delayed):
        with pytest.raises(NotActive, match=f"^Job {id} not found$"):
            getattr(bench, verb)(id)


@pytest.mark.parametrize("token", ["", "nonsense", "1.1.n2", "1.2.n1", "0.1.n1", "2.1.n1"])
@pytest.mark.parametrize("verb", ["ack", "fail", "progress", "heartbeat"])
def test_a_token_of_another_attempt_changes_nothing(bench: Bench, verb: str, token: str) -> None:
    """Whatever it looks like, and whatever state the job is in."""
    id, delayed = bench.push(), bench.push(delay=5)
    bench.pull_one()
    control = bench.engine.control
    for job in (id, delayed):
        say: dict[str, Callable[[], object]] = {
            "ack": partial(bench.ack, job, token),
            "fail": partial(bench.fail, job, token=token),
            "progress": partial(control.progress, job, token, 5, None, bench.now),
            "heartbeat": partial(control.heartbeat, job, token, bench.now),
        }
        with pytest.raises(StaleAttempt, match=f"^Stale attempt for job {job}$"):
            say[verb]()
    assert bench.states(id, delayed) == ["active", "delayed"]
    assert bench.job(id).progress == 0


def test_a_late_ack_of_a_job_that_was_given_on_is_stale(bench: Bench) -> None:
    """Only the newest attempt may end the job."""
    id = bench.push(backoff=0, timeout=100)
    _, old = token_of(bench)
    bench.pass_time(100)
    _, new = token_of(bench)
    with pytest.raises(StaleAttempt):
        bench.ack(id, old)
    assert not bench.ack(id, new)
    with pytest.raises(StaleAttempt):
        bench.ack(id, old)


def test_a_late_ack_of_a_job_that_waits_again_is_stale(bench: Bench) -> None:
    """Also before anybody else has got it, delayed or ready."""
    id = bench.push(timeout=100)
    _, token = token_of(bench)
    bench.pass_time(100)
    assert bench.state(id) == "delayed"
    with pytest.raises(StaleAttempt):
        bench.ack(id, token)
    bench.pass_time(1_000)
    assert bench.state(id) == "waiting"
    with pytest.raises(StaleAttempt):
        bench.ack(id, token)


def test_a_dead_letter_takes_no_ack(bench: Bench) -> None:
    """With its token it is stale, without one nobody holds it."""
    id = bench.push(max_attempts=1)
    _, token = token_of(bench)
    bench.fail(id)
    with pytest.raises(StaleAttempt):
        bench.ack(id, token)
    with pytest.raises(NotActive):
        bench.ack(id)


def test_a_cancelled_jobs_worker_is_told_that_it_is_gone(bench: Bench) -> None:
    """Cancel of an active job frees its slot; the late ack finds nothing."""
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    id, other = bench.push(), bench.push()
    _, token = token_of(bench)
    bench.cancel(id)
    assert bench.pulled_ids() == [other]
    with pytest.raises(NotFound, match=f"^Job {id} not found$"):
        bench.ack(id, token)


# --- ack in batches ---


def test_a_batch_of_acks_counts_what_it_completed(bench: Bench) -> None:
    """Unknown ids, ids nobody holds and repeats are skipped."""
    bench.push_batch(*[{}] * 5)
    bench.pull(count=4)
    bench.ack(1)
    acked = bench.engine.settle.ack_batch([2, 99, 3, 2, 1, 5, 10**12], None, {3: b"[3]"}, bench.now)
    assert (acked.count, acked.stale) == (2, [])
    assert bench.states(1, 2, 3, 4, 5) == ["completed", "completed", "completed", "active", "waiting"]
    assert bench.engine.lookup.result(3) == b"[3]"
    assert bench.engine.lookup.result(2) is None


def test_tokens_in_a_batch_are_judged_one_by_one(bench: Bench) -> None:
    """Those refused are named; what is unknown or already done is not among them."""
    bench.push_batch(*[{}] * 4)
    _, first = token_of(bench)
    _, second = token_of(bench)
    bench.ack(2, second)
    bench.cancel(4)
    acked = bench.engine.settle.ack_batch(
        [1, 2, 3, 1, 99, 4], ["9.9.x", second, "1.1.n1", first, "x", "x"], {}, bench.now
    )
    assert (acked.count, acked.stale) == (1, [1, 3])
    assert bench.states(1, 2, 3) == ["completed", "completed", "waiting"]


def test_a_batch_over_deliveries_and_queues(bench: Bench) -> None:
    """Each delivery is settled by itself, in one record a delivery."""
    bench.push_batch(*[{}] * 3, queue="a")
    bench.push_batch(*[{"timeout": 5}, {}], queue="b")
    bench.pull("a", 2)
    bench.pull("b", 2)
    bench.pull("a", 1)
    acked = bench.engine.settle.ack_batch([3, 5, 1, 4, 2], None, {}, bench.now)
    bench.take()
    assert acked.count == 5
    records = [record for record in bench.memory.log if isinstance(record, Completed)]
    assert [(record.queue, record.ids, record.done) for record in records] == [
        ("a", [3], 1),
        ("b", [5], 2),
        ("a", [1, 2], 3),
        ("b", [4], 5),
    ]
    assert bench.engine.clocks.leases.next_due() is not None  # stale entries wait for their sweep
    bench.pass_time(LEASE)
    assert bench.engine.lookup.stats().completed == 5


def test_results_are_bounded_and_so_are_jobs() -> None:
    """The oldest are forgotten first: results before jobs, then the job, as if it had never been."""
    bench = Bench(keep_completed=3, keep_results=2)
    ids = bench.push_batch(*[{"job_id": str(n)} for n in range(4)]).ids
    bench.pull(count=4)
    for id in ids:
        bench.ack(id, result=str(id).encode())
    assert bench.states(*ids) == ["unknown", "completed", "completed", "completed"]
    assert [bench.engine.lookup.result(id) for id in ids] == [None, None, b"3", b"4"]
    assert bench.engine.lookup.job(1) is None
    assert bench.engine.lookup.custom("0") == 0
    assert bench.engine.lookup.stats().completed == 4
    assert check(bench.engine) == []


def test_payloads_of_the_finished_are_bounded() -> None:
    """Bytes and not only numbers."""
    bench = Bench(keep_bytes=250)
    ids = [bench.push(data=b"x" * 100) for _ in range(4)]
    bench.pull(count=4)
    bench.engine.settle.ack_batch(ids, None, {}, bench.now)
    bench.take()
    assert bench.states(*ids) == ["unknown", "unknown", "completed", "completed"]
    assert check(bench.engine) == []


def test_a_completed_event_carries_the_result(bench: Bench) -> None:
    """One for each job, when there is one."""
    bench.push_batch({}, {})
    bench.pull(count=2)
    bench.events.clear()
    bench.engine.settle.ack_batch([1, 2], None, {2: b"[]"}, bench.now)
    bench.take()
    assert [(event.event_type, event.job_id, event.data) for event in bench.events] == [
        ("completed", 1, UNSET),
        ("completed", 2, Raw(b"[]")),
    ]


def test_an_ack_frees_what_the_job_held(bench: Bench) -> None:
    """Its key, its children and its slot."""
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    id, other = bench.push(unique_key="k", ttl=60_000), bench.push()
    child = bench.push("children", depends_on=[id])
    bench.pull_one()
    bench.park("ann")
    bench.ack(id)
    assert bench.state(child) == "waiting"
    assert bench.delivered() == [("ann", [other])]
    assert bench.admit(unique_key="k")[0] == child + 1


# --- fail ---


def test_a_failed_attempt_is_tried_again_after_its_backoff(bench: Bench) -> None:
    """The pause doubles; the error is kept; attempts count failures."""
    id = bench.push(max_attempts=4, backoff=100)
    for attempt, pause in ((1, 100), (2, 200), (3, 400)):
        assert bench.pull_one().attempts == attempt - 1
        bench.fail(id, f"broken {attempt}")
        job = bench.job(id)
        assert (bench.state(id), job.attempts, job.progress_msg) == ("delayed", attempt, f"broken {attempt}")
        assert job.run_at == bench.now.wall + pause
        bench.pass_time(pause - 1)
        assert bench.state(id) == "delayed"
        bench.pass_time(1)
        assert bench.state(id) == "waiting"
    bench.pull_one()
    bench.fail(id, "broken for good")
    assert (bench.state(id), bench.job(id).attempts) == ("failed", 4)
    assert bench.job(id).progress_msg == "broken for good"


def test_backoff_is_capped_at_an_hour(bench: Bench) -> None:
    """However often the job has failed."""
    id = bench.push(max_attempts=0, backoff=3_000_000)
    for pause in (3_000_000, 3_600_000, 3_600_000):
        bench.pull_one()
        bench.fail(id)
        assert bench.job(id).run_at == bench.now.wall + pause
        bench.pass_time(pause)


def test_without_backoff_the_job_is_ready_at_once_behind_the_others(bench: Bench) -> None:
    """Retries stand where they became ready."""
    first, second = bench.push(backoff=0), bench.push()
    bench.pull_one()
    bench.fail(first)
    assert bench.pulled_ids() == [second, first]


def test_unlimited_attempts_never_end(bench: Bench) -> None:
    """``max_attempts`` 0."""
    id = bench.push(max_attempts=0, backoff=0)
    for _ in range(50):
        bench.pull_one()
        bench.fail(id)
    assert (bench.state(id), bench.job(id).attempts) == ("waiting", 50)


def test_the_events_of_a_job_that_fails(bench: Bench) -> None:
    """`retrying` with the error, and `failed` when it enters the dead letters."""
    id = bench.push(max_attempts=2, backoff=0)
    for _ in range(2):
        bench.pull_one()
        bench.fail(id, "why")
    assert bench.told() == [("pushed", id), ("active", id), ("retrying", id), ("active", id), ("failed", id)]


def test_a_failure_without_a_text(bench: Bench) -> None:
    """There is no message, neither in the job nor in the event."""
    id = bench.push(max_attempts=1)
    bench.pull_one()
    bench.fail(id)
    assert bench.job(id).progress_msg is None
    assert bench.events[-1].error is UNSET


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ("x" * MAX_ERROR_BYTES, MAX_ERROR_BYTES),
        ("x" * (MAX_ERROR_BYTES + 1), MAX_ERROR_BYTES),
        ("é" * MAX_ERROR_BYTES, MAX_ERROR_BYTES // 2),
        ("x" + "é" * MAX_ERROR_BYTES, MAX_ERROR_BYTES // 2),
        ("😀" * 10, 10),
    ],
)
def test_long_errors_are_cut_between_characters(bench: Bench, error: str, kept: int) -> None:
    """By bytes, never within a character."""
    id = bench.push()
    bench.pull_one()
    bench.fail(id, error)
    assert bench.job(id).progress_msg == error[:kept]


def test_a_failure_feeds_who_waits(bench: Bench) -> None:
    """The retried job, and others whose slot it frees."""
    id = bench.push(backoff=0)
    bench.pull_one()
    bench.park("ann")
    bench.fail(id)
    assert bench.delivered() == [("ann", [id])]


# --- leases ---


def test_an_attempt_without_a_bound_ends_with_the_servers_lease(bench: Bench) -> None:
    """Thirty minutes after the delivery it counts as failed."""
    id = bench.push()
    bench.pull_one()
    bench.pass_time(LEASE - 1)
    assert bench.state(id) == "active"
    bench.pass_time(1)
    assert (bench.state(id), bench.job(id).attempts, bench.job(id).progress_msg) == ("delayed", 1, "Lease expired")
    assert bench.told()[-2:] == [("timeout", id), ("retrying", id)]


def test_a_timeout_bounds_the_attempt(bench: Bench) -> None:
    """At its millisecond, and the job is a dead letter when its attempts are used up."""
    id = bench.push(timeout=500, max_attempts=1)
    bench.pull_one()
    bench.pass_time(499)
    assert bench.state(id) == "active"
    bench.pass_time(1)
    assert (bench.state(id), bench.job(id).progress_msg) == ("failed", "Job timed out")
    assert bench.told()[-2:] == [("timeout", id), ("failed", id)]


def test_a_settled_lease_does_not_fire(bench: Bench) -> None:
    """The timer of a delivery whose jobs are all over says nothing, also when a job runs again."""
    id = bench.push(timeout=500, backoff=0)
    bench.pull_one()
    bench.pass_time(400)
    bench.fail(id)
    bench.pull_one()
    bench.pass_time(499)
    assert bench.state(id) == "active"
    bench.pass_time(1)
    assert bench.job(id).attempts == 2


def test_only_what_still_runs_times_out(bench: Bench) -> None:
    """Of a delivery of four: one acked, one failed and pulled again, one cancelled, one late."""
    bench.push_batch(*[{"timeout": 1_000, "backoff": 0}] * 4)
    bench.pull(count=4)
    bench.pass_time(500)
    bench.ack(1)
    bench.fail(2)
    bench.pull_one()
    bench.cancel(3)
    bench.pass_time(500)
    assert bench.states(1, 2, 3, 4) == ["completed", "active", "unknown", "waiting"]


@pytest.mark.parametrize("jump", [-86_400_000, 86_400_000])
def test_a_jump_of_the_wall_clock_ends_no_lease(bench: Bench, jump: int) -> None:
    """Leases follow the clock that nobody can set, forward and backward."""
    id = bench.push(timeout=1_000)
    bench.pull_one()
    bench.set_wall(jump)
    bench.pass_time(999)
    assert bench.state(id) == "active"
    bench.pass_time(1)
    assert bench.state(id) != "active"


def test_a_timeout_frees_its_slot(bench: Bench) -> None:
    """And gives it on."""
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    bench.push(timeout=100)
    bench.push()
    bench.pull_one()
    bench.park("ann")
    bench.pass_time(100)
    assert bench.delivered() == [("ann", [2])]


def test_a_renewed_lease_ends_later(bench: Bench) -> None:
    """Its timer looks again at the time to which it was renewed."""
    id = bench.push()
    bench.pull_one()
    bench.pass_time(LEASE - 1)
    bench.engine.control.heartbeat(id, None, bench.now)
    bench.pass_time(LEASE - 1)
    assert bench.state(id) == "active"
    bench.pass_time(1)
    assert bench.state(id) == "delayed"


def test_one_job_of_a_delivery_is_renewed_by_itself(bench: Bench) -> None:
    """The others keep their time, and all keep their token."""
    bench.push_batch({}, {}, {})
    token = bench.pull(count=3)[0].token
    bench.pass_time(1_000)
    for _ in range(2):
        bench.engine.control.heartbeat(2, None, bench.now)
    bench.pass_time(LEASE - 1_000)
    assert bench.states(1, 2, 3) == ["delayed", "active", "delayed"]
    assert token is not UNSET
    assert not bench.ack(2, token)


def test_an_ended_lease_is_left_alone(bench: Bench) -> None:
    """Its timer may come late; nothing happens then."""
    bench.push()
    bench.pull_one()
    (entry,) = bench.engine.clocks.leases.entries()
    bench.ack(1)
    bench.engine.settle.lease_over(entry[2], bench.now)
    assert bench.state(1) == "completed"


def test_a_workers_score(bench: Bench) -> None:
    """Every attempt that it ended counts, and how many of them failed."""
    worker = bench.hello()
    bench.push_batch(*[{"timeout": 100}] * 4)
    bench.pull(count=4, worker=worker)
    bench.ack(1)
    bench.fail(2)
    bench.pass_time(100)
    assert (worker.active, worker.processed, worker.failed) == (0, 4, 3)


def test_the_end_of_a_lease_meets_jobs_that_are_gone(bench: Bench) -> None:
    """Chunks that no longer exist are no obstacle."""
    first = bench.push(timeout=100)
    bench.engine.jobs.next_id = bench.memory.next_id = 5_000
    second = bench.push(timeout=100)
    bench.pull(count=2)
    bench.cancel(first)
    bench.pass_time(100)
    assert bench.states(first, second) == ["unknown", "delayed"]


# --- hand back ---


def test_what_is_handed_back_stands_first_and_uncounted(bench: Bench) -> None:
    """In its old order, as if it had never been away; its token is stale."""
    bench.push_batch(*[{}] * 4)
    jobs = bench.pull(count=3)
    token = jobs[0].token
    assert token is not UNSET
    bench.engine.settle.hand_back([job.id for job in jobs], token, bench.now)
    bench.take()
    assert bench.states(1, 2, 3) == ["waiting"] * 3
    assert bench.job(1).attempts == 0
    with pytest.raises(StaleAttempt):
        bench.ack(1, token)
    assert bench.pulled_ids() == [1, 2, 3, 4]


def test_handing_back_needs_the_token(bench: Bench) -> None:
    """Attempts of others, jobs that are over and unknown ids are left alone."""
    bench.push_batch(*[{}] * 3)
    mine = bench.pull_one().token
    bench.pull_one()
    bench.pull_one()
    bench.ack(3)
    assert mine is not UNSET
    bench.engine.settle.hand_back([1, 2, 3, 99, 10**9], mine, bench.now)
    assert bench.states(1, 2, 3) == ["waiting", "active", "completed"]
    bench.take()


def test_handing_back_feeds_who_waits(bench: Bench) -> None:
    """The next in line gets it at once."""
    id = bench.push()
    _, token = token_of(bench)
    bench.park("ann")
    bench.engine.settle.hand_back([id], token, bench.now)
    bench.take()
    assert bench.delivered() == [("ann", [id])]


def test_a_hundred_returns_are_free(bench: Bench) -> None:
    """One more counts as a failure, so that no job goes in circles for ever."""
    id = bench.push(max_attempts=1)
    for turn in range(101):
        assert bench.job(id).attempts == 0, turn
        _, token = token_of(bench)
        bench.engine.settle.hand_back([id], token, bench.now)
        bench.take()
    assert (bench.state(id), bench.job(id).progress_msg) == ("failed", "Handed back too often")


def test_an_overdue_job_that_is_handed_back_expires(bench: Bench) -> None:
    """Its ttl passed while it ran: it does not wait again."""
    id = bench.push(ttl=100, unique_key="k", max_attempts=1)
    _, token = token_of(bench)
    bench.pass_time(100)
    bench.engine.settle.hand_back([id], token, bench.now)
    bench.take()
    assert bench.state(id) == "unknown"
    assert bench.told()[-1] == ("expired", id)


def test_a_job_that_is_handed_back_still_expires(bench: Bench) -> None:
    """The end of its ttl is not forgotten while it runs."""
    id = bench.push(ttl=100)
    _, token = token_of(bench)
    bench.engine.settle.hand_back([id], token, bench.now)
    bench.pass_time(100)
    assert bench.state(id) == "unknown"


# --- cancel ---


def test_cancel_in_each_state(bench: Bench) -> None:
    """Whatever has not finished can be taken back; what has, cannot, and what is not there is not found."""
    waiting, delayed, active, done, dead = (
        bench.push(priority=-1),
        bench.push(delay=10_000),
        bench.push(priority=5),
        bench.push(priority=9),
        bench.push(max_attempts=1, priority=7),
    )
    child = bench.push(depends_on=[delayed])
    orphan = bench.push(depends_on=[active])
    bench.pull(count=3)
    bench.ack(done)
    bench.fail(dead)
    bench.cancel(child)
    for id in (waiting, delayed, active):
        bench.cancel(id)
        assert bench.state(id) == "unknown"
        with pytest.raises(NotFound, match=f"^Job {id} not found$"):
            bench.cancel(id)
    for id in (done, dead):
        with pytest.raises(NotActive, match=rf"^Job {id} cannot be cancelled \(already completed/failed\)$"):
            bench.cancel(id)
    assert bench.states(child, orphan) == ["unknown", "failed"]
    assert bench.pulled_ids() == []
    assert [event for event in bench.told() if event[0] == "cancelled"] == [
        ("cancelled", id) for id in (child, waiting, delayed, active)
    ]
    assert bench.queue().cancelled == 4


def test_cancel_of_one_job_of_a_delivery_leaves_the_others(bench: Bench) -> None:
    """The rest of the lease goes on."""
    bench.push_batch({}, {})
    bench.pull(count=2)
    bench.cancel(1)
    bench.pass_time(LEASE)
    assert bench.states(1, 2) == ["unknown", "delayed"]


def test_losing_a_parent_is_passed_on_by_the_fate_of_the_child(bench: Bench) -> None:
    """The child becomes a dead letter and may be retried, so its own child waits on; purging it loses that one too."""
    parent = bench.push()
    child = bench.push("other", depends_on=[parent])
    grandchild = bench.push("third", depends_on=[child])
    bench.cancel(parent)
    assert bench.states(child, grandchild) == ["failed", "waiting-children"]
    assert bench.job(child).progress_msg == f"dependency {parent} cancelled"
    bench.engine.control.purge_dead(bench.queue("other"), bench.now)
    bench.take()
    assert bench.states(child, grandchild) == ["unknown", "failed"]
    assert bench.job(grandchild).progress_msg == f"dependency {child} cancelled"


# --- ttl ---


def test_ttl_in_each_state(bench: Bench) -> None:
    """Waiting, delayed and waiting for parents: it disappears at its time. Running: it may still finish."""
    parent = bench.push("parents")
    active = bench.push(ttl=1_000, priority=9)
    waiting, delayed = bench.push(ttl=1_000), bench.push(ttl=1_000, delay=5_000)
    child = bench.push(ttl=1_000, depends_on=[parent])
    bench.pull_one()
    bench.pass_time(999)
    assert bench.states(active, waiting, delayed, child) == ["active", "waiting", "delayed", "waiting-children"]
    bench.told()
    bench.pass_time(1)
    assert bench.states(active, waiting, delayed, child) == ["active", "unknown", "unknown", "unknown"]
    assert bench.told() == [("expired", waiting), ("expired", delayed), ("expired", child)]
    bench.ack(active)
    assert bench.state(active) == "completed"
    assert bench.queue().expired == 3


def test_ttl_counts_over_retries(bench: Bench) -> None:
    """From the push: a job that waits for its second attempt expires all the same."""
    id = bench.push(ttl=1_000, backoff=5_000)
    bench.pull_one()
    bench.fail(id)
    bench.pass_time(1_000)
    assert bench.state(id) == "unknown"


def test_a_job_that_fails_after_its_ttl_expires(bench: Bench) -> None:
    """It is not tried again, its key and slot are free, whoever waits for it is told."""
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    id = bench.push(ttl=1_000, unique_key="k")
    child = bench.push("children", depends_on=[id])
    other = bench.push()
    bench.pull_one()
    bench.park("ann")
    bench.pass_time(1_000)
    bench.fail(id, "late")
    assert bench.states(id, child) == ["unknown", "failed"]
    assert bench.delivered() == [("ann", [other])]
    assert bench.admit(unique_key="k")[0] == other + 1
    assert ("expired", id) in bench.told()


def test_a_job_that_times_out_after_its_ttl_expires(bench: Bench) -> None:
    """Timeout and ttl in the same turn as well."""
    id = bench.push(ttl=1_000, timeout=1_000)
    bench.pull_one()
    bench.pass_time(1_000)
    assert bench.state(id) == "unknown"
    assert bench.told()[-2:] == [("timeout", id), ("expired", id)]


def test_a_dead_letter_does_not_expire_but_is_not_run_again_either(bench: Bench) -> None:
    """It stays to be looked at; a retry after its ttl lets it go."""
    id = bench.push(ttl=1_000, max_attempts=1)
    bench.bury(id)
    bench.pass_time(5_000)
    assert bench.state(id) == "failed"
    assert bench.engine.control.retry_dead(bench.queue(), id, bench.now) == 0
    bench.take()
    assert bench.state(id) == "unknown"
    assert bench.told()[-1] == ("expired", id)


def test_ttl_follows_the_wall_clock(bench: Bench) -> None:
    """Set forward it is over, set back it lasts."""
    id = bench.push(ttl=3_600_000)
    bench.set_wall(-1_000)
    bench.pass_time(3_600_000)
    assert bench.state(id) == "waiting"
    bench.set_wall(1_000)
    bench.tick()
    assert bench.state(id) == "unknown"


@pytest.mark.parametrize("end", ["fail", "hand back"])
def test_a_ttl_that_passed_while_the_job_ran_is_not_forgotten_by_a_clock_set_back(bench: Bench, end: str) -> None:
    """Its timer has fired in vain; the job that waits again expires at its time all the same."""
    id = bench.push(ttl=100, backoff=0)
    _, token = token_of(bench)
    bench.pass_time(150)
    bench.set_wall(-100)
    if end == "fail":
        bench.fail(id)
    else:
        bench.engine.settle.hand_back([id], token, bench.now)
    bench.pass_time(49)
    assert bench.state(id) == "waiting"
    bench.pass_time(1)
    assert bench.state(id) == "unknown"


def test_an_expiry_that_comes_too_early_changes_nothing(bench: Bench) -> None:
    """A question is no end."""
    id = bench.push(ttl=1_000)
    plain = bench.push()
    bench.engine.settle.expire(id, bench.now)
    bench.engine.settle.expire(plain, bench.now)
    bench.engine.settle.expire(99, bench.now)
    assert bench.states(id, plain) == ["waiting", "waiting"]


# --- after a restart ---


def test_a_worker_that_survived_the_server_may_still_ack(bench: Bench) -> None:
    """As long as nobody else has the job; a repeat is ok again, also after one more restart."""
    id = bench.push(tags=["t"])
    _, token = token_of(bench)
    bench.restart()
    assert bench.state(id) == "waiting"
    assert not bench.ack(id, token, b"1")
    assert (bench.state(id), bench.engine.lookup.result(id)) == ("completed", b"1")
    assert bench.ack(id, token)
    bench.restart()
    assert bench.ack(id, token)
    assert bench.pulled_ids() == []


def test_a_surviving_attempt_may_fail(bench: Bench) -> None:
    """It counts, and the old token is stale from then on."""
    id = bench.push()
    _, token = token_of(bench)
    bench.restart()
    bench.fail(id, "why", token)
    assert (bench.state(id), bench.job(id).attempts) == ("delayed", 1)
    with pytest.raises(StaleAttempt):
        bench.ack(id, token)
    bench.pass_time(1_000)
    with pytest.raises(StaleAttempt):
        bench.ack(id, token)
    assert bench.pulled_ids() == [id]


def test_a_surviving_attempt_lives_on_by_its_heartbeat(bench: Bench) -> None:
    """The job is taken out of the line and is active again, with a lease from now."""
    id, other = bench.push(), bench.push()
    _, token = token_of(bench)
    bench.restart()
    bench.pass_time(1_000)
    bench.engine.control.heartbeat(id, token, bench.now)
    bench.engine.control.progress(id, token, 50, "half", bench.now)
    bench.take()
    assert (bench.state(id), bench.job(id).progress) == ("active", 50)
    assert bench.pulled_ids() == [other]
    bench.pass_time(LEASE)
    assert bench.states(id, other) == ["delayed", "delayed"]


def test_a_surviving_attempt_needs_a_slot_to_live_on_but_not_to_end(bench: Bench) -> None:
    """Taking it back must not pass the concurrency limit; finishing takes no slot."""
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    bench.take()
    first, second = bench.push(), bench.push()
    _, token = token_of(bench)
    bench.restart()
    bench.engine.settle.hand_back([first], bench.pull_one().token or "", bench.now)
    bench.take()
    bench.restart()
    bench.cancel(first)
    assert bench.pull_one().id == second
    third = bench.push()
    with pytest.raises(StaleAttempt):
        bench.engine.control.heartbeat(third, token, bench.now)
    assert bench.state(third) == "waiting"


def test_a_full_queue_takes_no_attempt_back(bench: Bench) -> None:
    """A heartbeat from before the restart is refused when the slot has been given on."""
    control = bench.engine.control
    control.set_concurrency(bench.queue(), 1, bench.now)
    bench.take()
    id, urgent = bench.push(), bench.push(priority=1, delay=10)
    _, token = token_of(bench)
    bench.pass_time(10)
    bench.restart()
    bench.tick()
    assert bench.pull_one().id == urgent
    with pytest.raises(StaleAttempt):
        bench.engine.control.heartbeat(id, token, bench.now)
    assert not bench.ack(id, token)


def test_whoever_got_the_job_after_the_restart_is_the_one(bench: Bench) -> None:
    """The old token is stale as soon as the job is given to somebody, and stays so when that one gives it back."""
    id = bench.push()
    _, old = token_of(bench)
    bench.restart()
    job = bench.pull_one()
    assert job.token == "2.1.n1"
    with pytest.raises(StaleAttempt):
        bench.ack(id, old)
    bench.engine.settle.hand_back([id], job.token, bench.now)
    bench.take()
    assert bench.state(id) == "waiting"
    with pytest.raises(StaleAttempt):
        bench.ack(id, old)


def test_tokens_of_the_future_and_of_this_boot_take_nothing_back(bench: Bench) -> None:
    """Only an attempt from before the restart can be meant."""
    id = bench.push()
    bench.restart()
    new = bench.push()
    for token in ("2.1.x", "3.1.x", "x"):
        with pytest.raises(StaleAttempt):
            bench.ack(id, token)
    with pytest.raises(StaleAttempt):
        bench.ack(new, "1.1.x")
    assert bench.states(id, new) == ["waiting", "waiting"]


def test_a_batch_of_surviving_acks(bench: Bench) -> None:
    """Each attempt from before the restart is taken back or refused by itself."""
    bench.push_batch(*[{}] * 3)
    token = bench.pull(count=3)[0].token
    assert token is not UNSET
    bench.restart()
    bench.pull_one()
    acked = bench.engine.settle.ack_batch([1, 2, 3], [token] * 3, {}, bench.now)
    bench.take()
    assert (acked.count, acked.stale) == (2, [1])
    assert bench.states(1, 2, 3) == ["active", "completed", "completed"]
    assert bench.pulled_ids() == []


def test_a_retry_of_a_surviving_attempt_stands_at_the_end_of_the_line(bench: Bench) -> None:
    """Its old place in the line is gone: it became ready just now."""
    first, second = bench.push(backoff=0), bench.push()
    _, token = token_of(bench)
    bench.restart()
    bench.fail(first, token=token)
    assert bench.pulled_ids() == [second, first]


def test_a_retry_of_a_surviving_attempt_after_its_pause(bench: Bench) -> None:
    """The old place does not come back with the delay either, and the job is delivered once."""
    first, second = bench.push(backoff=100), bench.push()
    _, token = token_of(bench)
    bench.restart()
    bench.fail(first, token=token)
    bench.pass_time(100)
    assert bench.pulled_ids(count=1) == [second]
    assert bench.pulled_ids() == [first]


def test_a_rebuilt_line_holds_a_retried_survivor_once(bench: Bench) -> None:
    """A thousand holes make the line be written anew; the survivor that waits again is in it once."""
    first = bench.push(backoff=0)
    ids = bench.push_batch(*[{}] * 1_500).ids
    _, token = token_of(bench)
    bench.restart()
    bench.fail(first, token=token)
    for id in ids[:1_400]:
        bench.cancel(id)
    assert bench.pulled_ids() == [*ids[1_400:], first]


def test_the_token_of_an_older_boot_is_stale(bench: Bench) -> None:
    """The boot between may have given the job to somebody else, and a delivery that a crash ended is not remembered."""
    id = bench.push()
    first = token_of(bench)[1]
    bench.restart()
    second = token_of(bench)[1]
    bench.restart()
    with pytest.raises(StaleAttempt):
        bench.ack(id, first)
    assert bench.state(id) == "waiting"
    bench.ack(id, second)
    assert bench.state(id) == "completed"


def test_a_ttl_that_passed_during_an_attempt_counts_when_the_clock_went_back(bench: Bench) -> None:
    """Its timer has fired and is needed once more."""
    id = bench.push(ttl=1_000, backoff=60_000)
    bench.pull_one()
    bench.pass_time(1_500)
    bench.set_wall(-1_000)
    bench.fail(id)
    assert bench.state(id) == "delayed"
    bench.pass_time(499)
    assert bench.state(id) == "delayed"
    bench.pass_time(1)
    assert bench.state(id) == "unknown"


# --- how long attempts run ---


def test_running_is_counted_from_delivery(bench: Bench) -> None:
    """What completes and what fails counts, one by one or as a batch; what is given up in good order does not."""
    bench.push_batch(*[{}] * 6)
    ids = bench.pulled_ids()
    bench.pass_time(30)
    bench.engine.settle.ack_batch(ids[:3], None, {}, bench.now)
    bench.ack(ids[3])
    bench.fail(ids[4])
    bench.release(ids[5])
    runs = bench.engine.run_times.read()
    assert (sum(runs.counts), runs.total) == (5, 150)


def test_retries_and_silent_attempts_are_counted(bench: Bench) -> None:
    """An attempt that fails and has another one is a retry; the last one is none. A lease that ends is a timeout."""
    id = bench.push(max_attempts=2, timeout=10, backoff=0)
    settle = bench.engine.settle
    bench.pull_one()
    bench.pass_time(10)
    bench.tick()
    assert (settle.retried, settle.timed_out) == (1, 1)
    bench.pull_one()
    bench.fail(id)
    assert (settle.retried, settle.timed_out) == (1, 1)
