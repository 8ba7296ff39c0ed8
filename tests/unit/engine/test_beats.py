"""What a worker is told of its attempts that the server ended, at once or by its next BEAT."""

import pytest
from tests.unit.engine.bench import Bench

from flashq.engine import parking
from flashq.engine.check import check
from flashq.engine.leases import Worker
from flashq.errors import Overloaded
from flashq.model import EndedAttempt
from flashq.protocol.limits import MAX_ENDED_ATTEMPTS


def wait(bench: Bench, worker: Worker, token: str, wait_ms: int = 10_000) -> None:
    """A BEAT of the worker waits."""
    bench.engine.beats.park(token, worker, wait_ms, bench.now)


def told(bench: Bench) -> list[tuple[object, object]]:
    """What was delivered since the last time."""
    bench.take()
    deliveries, bench.deliveries = bench.deliveries, []
    return list(deliveries)


def test_a_cancelled_attempt_is_told_at_once(bench: Bench) -> None:
    """With the token of the attempt; it is told once, and nothing is left for the next BEAT."""
    worker = bench.hello()
    bench.push()
    job = bench.pull_one(worker=worker)
    wait(bench, worker, "beat")
    bench.cancel(job.id)
    assert told(bench) == [("beat", [EndedAttempt(job.id, str(job.token), "cancelled")])]
    assert bench.engine.beats.take(worker) == []
    assert not bench.engine.parking.calls


def test_what_times_out_together_is_told_together(bench: Bench) -> None:
    """All attempts of a delivery in one answer; one that its worker has ended is not among them."""
    worker = bench.hello()
    bench.push_batch(*[{"timeout": 1_000}] * 3)
    jobs = bench.pull(count=3, worker=worker)
    bench.ack(jobs[1].id)
    wait(bench, worker, "beat")
    bench.pass_time(1_000)
    assert told(bench) == [
        ("beat", [EndedAttempt(id, str(jobs[0].token), "Job timed out") for id in (jobs[0].id, jobs[2].id)])
    ]


def test_what_happens_between_two_beats_is_kept(bench: Bench) -> None:
    """The newest of it, oldest first, bounded; nobody else is told."""
    worker, other = bench.hello(), bench.hello("other")
    bench.push_batch(*[{}] * (MAX_ENDED_ATTEMPTS + 1))
    ids = [job.id for job in bench.pull(count=MAX_ENDED_ATTEMPTS + 1, worker=worker)]
    for id in ids:
        bench.cancel(id)
    assert [each.id for each in bench.engine.beats.take(worker)] == ids[1:]
    assert bench.engine.beats.take(other) == []


def test_what_the_worker_ends_itself_is_no_news(bench: Bench) -> None:
    """Neither is a job that was cancelled while nobody had it, or was in the hands of no worker."""
    worker = bench.hello()
    bench.push_batch(*[{}] * 5)
    jobs = bench.pull(count=2, worker=worker)
    bench.ack(jobs[0].id)
    bench.fail(jobs[1].id)
    bench.cancel(bench.pull_one().id)
    bench.cancel(5)
    assert bench.engine.beats.take(worker) == []


def test_one_beat_waits_for_each_worker(bench: Bench) -> None:
    """A second one takes the place of the first, which is answered with nothing; at its time it is as well."""
    worker = bench.hello()
    wait(bench, worker, "first")
    wait(bench, worker, "second", 50)
    assert told(bench) == [("first", [])]
    bench.pass_time(50)
    assert told(bench) == [("second", [])]
    assert not bench.engine.beats.waiting
    assert check(bench.engine) == []


@pytest.mark.parametrize("how", ["bye", "lost"])
def test_a_worker_that_is_gone_ends_its_beat(bench: Bench, how: str) -> None:
    """Whoever waits for it is answered with nothing, at once; another connection of the same worker changes nothing."""
    worker = bench.hello()
    wait(bench, worker, "beat", 10**6)
    assert bench.hello() is worker
    assert told(bench) == []
    if how == "bye":
        bench.engine.control.bye(worker.name, bench.now)
    else:
        bench.pass_time(30_000)
    assert told(bench) == [("beat", [])]
    assert not bench.engine.beats.waiting


def test_no_room_leaves_the_former_beat_where_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused BEAT changes nothing."""
    monkeypatch.setattr(parking, "MAX_WAITS", 1)
    worker = bench.hello()
    wait(bench, worker, "first")
    with pytest.raises(Overloaded):
        wait(bench, worker, "second")
    assert list(bench.engine.parking.calls) == ["first"]
    assert told(bench) == []


def test_a_waiting_beat_ends_before_its_worker_is_lost() -> None:
    """It is the worker's sign of life: one that waits for ever would be the silence that it is to prevent."""
    bench = Bench(worker_silence=900)
    worker = bench.hello()
    wait(bench, worker, "beat", wait_ms=10_000)
    bench.pass_time(299)
    assert told(bench) == []
    bench.pass_time(1)
    assert told(bench) == [("beat", [])]
    assert not worker.gone
