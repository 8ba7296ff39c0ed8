"""Handing out: pulls, parked pulls, fairness, and what a delivery carries."""

import pytest
from tests.unit.engine.bench import START, Bench

from flashq.engine import dispatch as module
from flashq.engine import parking
from flashq.errors import LimitReached, Overloaded

# --- pulls ---


def test_a_pull_makes_the_job_active(bench: Bench) -> None:
    """The job goes to one client and to nobody else."""
    id = bench.push(data=b'{"n": 1}')
    job = bench.pull_one()
    assert (job.id, job.queue, bytes(job.data), job.attempts) == (id, "emails", b'{"n": 1}', 0)
    assert bench.state(id) == "active"
    assert bench.pull() == []


def test_a_pull_takes_no_more_than_it_asks_for(bench: Bench) -> None:
    """And no more than there is; nothing when it asks for nothing."""
    bench.push_batch(*[{}] * 5)
    assert bench.pulled_ids(count=0) == []
    assert bench.pulled_ids(count=2) == [1, 2]
    assert bench.pulled_ids(count=10) == [3, 4, 5]


def test_what_is_pulled_is_what_is_looked_up(bench: Bench) -> None:
    """A plain job and one with extras: the delivery says what GETJOB says, and the token besides."""
    bench.push(priority=2, timeout=7)
    bench.push(tags=["a"], unique_key="k", job_id="c", delay=10)
    bench.pass_time(10)
    for job in bench.pull(count=2):
        looked_up = bench.job(job.id)
        looked_up.token = job.token
        assert job == looked_up


@pytest.mark.parametrize("priority", [0, 3])
def test_an_answer_is_bounded_in_bytes(bench: Bench, priority: int) -> None:
    """A pull gets as many jobs as fit into one answer; the others keep their places, also in lines of their own."""
    ids = [bench.push(data=b'"%s"' % (b"x" * 900_000), priority=place % 2 and priority) for place in range(40)]
    order = sorted(ids, key=lambda id: (-bench.job(id).priority, id))
    pulled = [bench.pulled_ids(count=1_000) for _ in range(3)]
    assert [len(each) for each in pulled] == [18, 18, 4]
    assert [id for each in pulled for id in each] == order


def test_a_pull_is_not_remembered(bench: Bench) -> None:
    """It costs no disk."""
    bench.push_batch({}, {})
    before = list(bench.memory.log)
    bench.pull(count=2)
    assert bench.memory.log == before


def test_tokens_name_the_delivery(bench: Bench) -> None:
    """Boot, delivery and an unguessable word; one for all jobs of a delivery, never the same twice."""
    bench.push_batch(*[{}] * 20)
    first, second = bench.pull(count=2)
    assert first.token == second.token == "1.1.n1"
    tokens = [bench.pull_one().token for _ in range(16)]
    assert tokens[-1] == "1.11.n17"
    assert len({first.token, *tokens}) == 17


def test_an_active_event_for_each_job(bench: Bench) -> None:
    """In the order of the delivery."""
    bench.push_batch({}, {})
    bench.told()
    bench.pull(count=2)
    assert bench.told() == [("active", 1), ("active", 2)]


def test_a_queue_of_mixed_timeouts_is_one_delivery_with_a_lease_each(bench: Bench) -> None:
    """Jobs that share a bound share a lease; the token is one."""
    bench.push_batch({"timeout": 10}, {}, {"timeout": 10}, {"timeout": 20})
    jobs = bench.pull(count=4)
    assert [job.id for job in jobs] == [1, 2, 3, 4]
    assert len({job.token for job in jobs}) == 1
    assert sorted(due - START.steady for due, _, _ in bench.engine.clocks.leases.entries()) == [10, 20, 1_800_000]


def test_cancelled_jobs_are_skipped(bench: Bench) -> None:
    """Holes in the line are invisible, wherever they are."""
    bench.push_batch(*[{}] * 10)
    for id in (1, 2, 5, 10):
        bench.cancel(id)
    assert bench.pulled_ids(count=3) == [3, 4, 6]
    bench.cancel(7)
    assert bench.pulled_ids(count=1) == [8]
    assert bench.pulled_ids() == [9]


def test_a_line_of_holes_is_rebuilt(bench: Bench) -> None:
    """Thousands of cancelled jobs leave no long line behind."""
    bench.push_batch(*[{}] * 3_000)
    for id in range(1, 2_991):
        bench.cancel(id)
    assert bench.queue().ready.length < 1_010
    assert bench.pulled_ids() == list(range(2_991, 3_001))


# --- parked pulls ---


def test_first_come_first_served(bench: Bench) -> None:
    """One job wakes one waiter, and it is the one who came first."""
    for name in ("ann", "ben", "eve"):
        bench.park(name)
    bench.push()
    assert bench.delivered() == [("ann", [1])]
    bench.push()
    bench.push()
    assert bench.delivered() == [("ben", [2]), ("eve", [3])]
    assert len(bench.engine.parking) == 0


def test_a_batch_pull_takes_what_is_there_and_waits_no_longer(bench: Bench) -> None:
    """It waits for at least one and takes up to its count."""
    bench.park("ann", count=3)
    bench.push()
    assert bench.delivered() == [("ann", [1])]
    bench.park("ann", count=3)
    bench.park("ben", count=3)
    bench.push_batch(*[{}] * 5)
    assert bench.delivered() == [("ann", [2, 3, 4]), ("ben", [5, 6])]


def test_whoever_came_later_does_not_overtake(bench: Bench) -> None:
    """A new pull finds nothing while others wait for what their brakes withhold."""
    queue = bench.queue()
    bench.engine.control.set_concurrency(queue, 1, bench.now)
    bench.push_batch({}, {}, {})
    first = bench.pull_one()
    bench.park("ann")
    assert bench.pull() == []
    bench.ack(first.id)
    assert bench.delivered() == [("ann", [2])]


def test_a_pull_serves_those_who_wait_first(bench: Bench) -> None:
    """When the bucket has refilled between two ticks, the token belongs to who came first."""
    bench.engine.control.set_rate(bench.queue(), 1, bench.now)
    bench.push_batch({}, {}, {})
    bench.pull_one()
    bench.park("ann")
    bench.now = type(bench.now)(bench.now.wall + 1_000, bench.now.steady + 1_000)  # no tick in between
    assert bench.pull() == []
    assert bench.delivered() == [("ann", [2])]


def test_a_wait_ends_empty_at_its_time(bench: Bench) -> None:
    """At its millisecond, not before, and the others wait on."""
    bench.park("ann", wait_ms=1_000)
    bench.park("ben")
    bench.pass_time(999)
    assert bench.delivered() == []
    bench.pass_time(1)
    assert bench.delivered() == [("ann", [])]
    bench.push()
    assert bench.delivered() == [("ben", [1])]


def test_waits_follow_the_steady_clock(bench: Bench) -> None:
    """The wall clock may jump as it likes."""
    bench.park("ann", wait_ms=1_000)
    bench.set_wall(86_400_000)
    bench.tick()
    assert bench.delivered() == []
    bench.set_wall(-2 * 86_400_000)
    bench.pass_time(1_000)
    assert bench.delivered() == [("ann", [])]


def test_a_served_wait_does_not_end_twice(bench: Bench) -> None:
    """The timer of a pull that was served says nothing."""
    bench.park("ann", wait_ms=1_000)
    bench.push()
    bench.pass_time(2_000)
    assert bench.delivered() == [("ann", [1])]


def test_unpark_takes_a_client_out_of_the_line(bench: Bench) -> None:
    """No job goes to a client that has left; leaving twice is nothing."""
    bench.park("ann")
    bench.park("ben")
    assert bench.engine.parking.unpark("ann")
    assert not bench.engine.parking.unpark("ann")
    bench.push()
    assert bench.delivered() == [("ben", [1])]
    assert not bench.engine.parking.unpark("ben")


def test_a_queue_on_which_nobody_waits_any_more_is_forgotten(bench: Bench) -> None:
    """Waiting on made-up names leaves nothing behind."""
    bench.park("ann", "made-up", wait_ms=10)
    bench.park("ben", "made-up")
    bench.engine.parking.unpark("ben")
    assert "made-up" in bench.engine.queues.by_name
    bench.pass_time(10)
    assert "made-up" not in bench.engine.queues.by_name


def test_no_more_clients_are_parked_than_the_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all queues; one that leaves makes room."""
    monkeypatch.setattr(parking, "MAX_WAITS", 2)
    bench.park("ann", "a")
    bench.park("ben", "b")
    with pytest.raises(Overloaded, match=r"^Too many waiting calls \(max 2\)$"):
        bench.park_any("eve", "c", "d")
    assert list(bench.engine.queues.by_name) == ["a", "b"]
    bench.engine.parking.unpark("ann")
    bench.park("eve", "b")


def test_a_paused_queue_feeds_nobody_until_it_is_resumed(bench: Bench) -> None:
    """Pause stops deliveries only: pushes and acks go on."""
    bench.push_batch({}, {})
    bench.pull_one()
    bench.engine.control.pause(bench.queue())
    bench.park("ann")
    bench.ack(1)
    bench.push()
    assert bench.pull() == []
    assert bench.delivered() == []
    bench.engine.control.resume(bench.queue(), bench.now)
    bench.take()
    assert bench.delivered() == [("ann", [2])]


def test_a_parked_client_is_fed_as_the_bucket_refills(bench: Bench) -> None:
    """One job a token, at the millisecond of the token, without anybody asking."""
    bench.engine.control.set_rate(bench.queue(), 2, bench.now)
    bench.push_batch(*[{}] * 6)
    assert bench.pulled_ids() == [1, 2]
    for name in ("ann", "ben", "eve"):
        bench.park(name)
    assert bench.tick() == 500
    bench.pass_time(499)
    assert bench.delivered() == []
    bench.pass_time(1)
    assert bench.delivered() == [("ann", [3])]
    bench.pass_time(1_000)
    assert bench.delivered() == [("ben", [4]), ("eve", [5])]


def test_a_wake_up_without_a_job_takes_no_token(bench: Bench) -> None:
    """Parking, asking in vain and timing out leave the bucket as it was."""
    bench.engine.control.set_rate(bench.queue(), 2, bench.now)
    bench.park("ann", wait_ms=10)
    bench.pass_time(10)
    for _ in range(5):
        assert bench.pull() == []
    bench.push_batch({}, {}, {})
    assert bench.pulled_ids() == [1, 2]


def test_a_batch_pull_takes_a_token_a_job(bench: Bench) -> None:
    """PULL and PULLB are limited alike."""
    bench.engine.control.set_rate(bench.queue(), 3, bench.now)
    bench.push_batch(*[{}] * 10)
    assert bench.pulled_ids(count=1) == [1]
    assert bench.pulled_ids() == [2, 3]
    bench.park("ann", count=5)
    bench.pass_time(1_000)
    assert bench.delivered() == [("ann", [4])]


def test_concurrency_counts_live_attempts(bench: Bench) -> None:
    """At most so many at once, in batches and singles; each end gives its slot on."""
    bench.push_batch(*[{"backoff": 0}] * 6)
    bench.pull(count=2)
    bench.engine.control.set_concurrency(bench.queue(), 3, bench.now)
    assert bench.pulled_ids() == [3]
    for name in ("ann", "ben", "eve"):
        bench.park(name)
    bench.ack(1)
    assert bench.delivered() == [("ann", [4])]
    bench.fail(2)
    assert bench.delivered() == [("ben", [5])]
    bench.cancel(3)
    assert bench.delivered() == [("eve", [6])]


def test_a_limit_below_what_runs_lets_nothing_go(bench: Bench) -> None:
    """Nothing is taken away, nothing is given until there is room."""
    bench.push_batch(*[{}] * 5)
    bench.pull(count=3)
    bench.engine.control.set_concurrency(bench.queue(), 1, bench.now)
    bench.ack(1)
    bench.ack(2)
    assert bench.pull() == []
    bench.ack(3)
    assert bench.pulled_ids() == [4]


def test_a_workers_jobs_are_leased_to_it(bench: Bench) -> None:
    """Its heartbeat bounds them and not a deadline; a job's own timeout does all the same."""
    worker = bench.hello()
    bench.push_batch({}, {}, {"timeout": 5_000})
    bench.pull(count=3, worker=worker)
    assert worker.active == 3
    assert [due - START.steady for due, _, _ in bench.engine.clocks.leases.entries()] == [5_000]
    bench.park("ann", worker=worker)
    bench.push()
    assert worker.active == 4


@pytest.mark.parametrize("how", ["lost", "left"])
def test_a_parked_pull_of_a_worker_that_is_gone_gets_a_lease_with_an_end(bench: Bench, how: str) -> None:
    """There is no attempt without an end: the job comes back when the server's lease is over."""
    worker = bench.hello()
    bench.park("ann", worker=worker)
    if how == "lost":
        bench.pass_time(30_000)
    else:
        bench.engine.control.bye(worker.name, bench.now)
    assert worker.gone
    id = bench.push()
    assert bench.delivered() == [("ann", [id])]
    bench.pass_time(30 * 60_000)
    assert bench.state(id) == "delayed"


# --- several queues at once ---


def test_a_pull_of_several_queues_takes_in_their_order(bench: Bench) -> None:
    """From the first as many as it has, then from the next, each delivery with a token of its own; brakes hold."""
    bench.push_batch({}, {}, queue="low")
    bench.push_batch({}, {}, queue="high")
    bench.push_batch({}, {}, queue="paused")
    bench.engine.control.pause(bench.queue("paused"))
    jobs = bench.engine.dispatch.pull_any(["paused", "unknown", "high", "low"], 3, bench.now)
    assert [(job.queue, job.id) for job in jobs] == [("high", 3), ("high", 4), ("low", 1)]
    assert [job.token == jobs[0].token for job in jobs] == [True, True, False]
    assert "unknown" not in bench.engine.queues.by_name
    assert [job.id for job in bench.engine.dispatch.pull_any(["high", "low"], 9, bench.now)] == [2]


def test_several_queues_share_the_room_of_one_answer(bench: Bench) -> None:
    """What the first queue gave is taken off the room for the next; what does not fit stays where it stood."""
    large = b'"%b"' % (b"x" * (module.MAX_JOB_BYTES - 2))
    bench.push_batch(*[{}] * 10, queue="a", data=large)
    bench.push_batch(*[{}] * 10, queue="b", data=large)
    bench.push("c")
    most = module.MAX_ANSWER_BYTES // module.MAX_JOB_BYTES
    pulled = bench.engine.dispatch.pull_any(["a", "b", "c"], 100, bench.now)
    assert [job.id for job in pulled] == list(range(1, most + 1))
    assert [job.id for job in bench.engine.dispatch.pull_any(["a", "b", "c"], 100, bench.now)] == [17, 18, 19, 20, 21]


def test_no_room_at_all_leaves_everything_in_place(bench: Bench) -> None:
    """A pull into which not even the first job fits changes nothing."""
    bench.push_batch({}, {}, data=b'"12345678"')
    assert bench.engine.dispatch.pull(bench.queue(), 2, bench.now, room=9) == []
    assert [bench.state(id) for id in (1, 2)] == ["waiting", "waiting"]
    assert bench.pulled_ids() == [1, 2]


@pytest.mark.parametrize("first", ["a", "b", "c"])
def test_whoever_waits_in_several_lines_is_served_by_the_first_that_has_a_job(bench: Bench, first: str) -> None:
    """Once: it has left all other lines then, and queues that were made for the waiting are forgotten."""
    bench.park_any("ann", "a", "b", "c", count=2)
    bench.park("ben", "b")
    id = bench.push(first)
    assert bench.delivered() == [("ann", [id])]
    assert all("ann" not in queue.waiters.line for queue in bench.engine.queues.by_name.values())
    assert set(bench.engine.queues.by_name) == {first, "b"}
    later = bench.push("b")
    assert bench.delivered() == [("ben", [later])]


def test_waiting_in_several_lines_ends_in_all(bench: Bench) -> None:
    """By time and by leaving; the queues that were made for it are forgotten."""
    bench.park_any("ann", "a", "b", wait_ms=10)
    bench.park_any("ben", "b", "c")
    assert [len(bench.queue(name).waiters) for name in "abc"] == [1, 2, 1]
    bench.pass_time(10)
    assert bench.delivered() == [("ann", [])]
    assert bench.engine.parking.unpark("ben")
    assert not bench.engine.queues.by_name


def test_whoever_waits_in_several_lines_is_woken_by_the_brakes_of_each(bench: Bench) -> None:
    """Jobs that are there but held back are given when their queue lets go."""
    bench.push_batch({}, {}, queue="slow")
    bench.engine.control.set_rate(bench.queue("slow"), 1, bench.now)
    assert bench.pulled_ids("slow") == [1]
    bench.park_any("ann", "empty", "slow", count=5)
    bench.pass_time(1_000)
    assert bench.delivered() == [("ann", [2])]


def test_no_room_for_a_queue_to_wait_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, it stands in no line, and the queues made for it are gone."""
    monkeypatch.setattr("flashq.engine.queue.MAX_QUEUES", 2)
    bench.push("a")
    with pytest.raises(LimitReached):
        bench.park_any("ann", "a", "b", "c")
    assert list(bench.engine.queues.by_name) == ["a"]
    assert not bench.queue("a").waiters
    assert not bench.engine.parking.calls


def test_inputs_count_towards_the_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that bring along what their parents returned are as large as that: what does not fit comes next time."""
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100)
    monkeypatch.setattr(module, "MAX_JOB_BYTES", 1)
    parent = bench.push("p")
    bench.push_batch(*[{"depends_on": [parent], "collect": True}] * 3)
    bench.pull("p")
    bench.ack(parent, result=b"1" * 40)
    jobs = bench.engine.dispatch.pull(bench.queue(), 3, bench.now, None, 100)
    assert [job.id for job in jobs] == [2, 3]
    assert bench.pulled_ids() == [4]


def test_dead_letters_with_inputs_fit_into_the_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer of them are shown."""
    monkeypatch.setattr("flashq.engine.lookup.MAX_ANSWER_BYTES", 600)
    parent = bench.push("p")
    bench.push_batch(*[{"depends_on": [parent], "collect": True}] * 3)
    bench.pull("p")
    bench.ack(parent, result=b"1" * 100)
    for id in (2, 3, 4):
        bench.bury(id)
    assert [job.id for job in bench.engine.lookup.dead_letters("emails", 9)] == [2, 3]


# --- how long jobs wait ---


def test_waiting_is_counted_from_when_a_job_may_run(bench: Bench) -> None:
    """From its push, or from the end of its delay; each job of a batch counts, also when the batch is mixed."""
    bench.push_batch({}, {}, {})
    bench.push_batch({"delay": 40}, {"priority": 1})
    bench.pass_time(50)
    bench.pull(count=1)
    bench.pull(count=9)
    waits = bench.engine.wait_times.read()
    assert sum(waits.counts) == 5
    assert waits.total == 4 * 50 + 10


def test_a_parked_call_is_served_without_a_wait(bench: Bench) -> None:
    """A push that feeds somebody who waits counts as well."""
    bench.park("call")
    bench.push()
    assert bench.engine.wait_times.read().counts[0] == 1
