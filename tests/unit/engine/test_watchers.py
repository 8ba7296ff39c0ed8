"""Waiting for the end of a job: told once, by every way in which a job ends, and by nothing else."""

from collections.abc import Callable

import pytest
from tests.unit.engine.bench import Bench

from flashq.engine import parking
from flashq.engine.check import check
from flashq.engine.watchers import Ending
from flashq.errors import Overloaded


def watch(bench: Bench, token: str, id: int, wait_ms: int | None = None) -> None:
    """A client waits for the end of a job."""
    bench.engine.watchers.park(token, id, wait_ms, bench.now)


def told(bench: Bench) -> list[tuple[object, object]]:
    """What was delivered since the last time."""
    bench.take()
    deliveries, bench.deliveries = bench.deliveries, []
    return list(deliveries)


def complete(bench: Bench) -> None:
    """The worker is done."""
    bench.ack(bench.pull_one().id, result=b"[1]")


def complete_in_a_batch(bench: Bench) -> None:
    """Among others, without a result."""
    bench.push_batch({}, {})
    ids = [job.id for job in bench.pull(count=3)]
    bench.engine.settle.ack_batch(ids, None, {}, bench.now)


def expire(bench: Bench) -> None:
    """Its ttl ends."""
    bench.pass_time(60_000)


ENDS: list[tuple[Callable[[Bench], None], Ending]] = [
    (complete, Ending("completed", b"[1]")),
    (complete_in_a_batch, Ending("completed")),
    (lambda bench: bench.bury(1, "boom"), Ending("failed", error="boom")),
    (lambda bench: bench.cancel(1), Ending("unknown", error="cancelled")),
    (expire, Ending("unknown", error="expired")),
]


@pytest.mark.parametrize(("end", "ending"), ENDS)
def test_every_end_is_told_to_all_who_wait(bench: Bench, end: Callable[[Bench], None], ending: Ending) -> None:
    """Once each, with what came of it; whoever waits for another job hears nothing."""
    bench.push(ttl=60_000, backoff=0)
    other = bench.push("others")
    watch(bench, "ann", 1)
    watch(bench, "ben", 1, wait_ms=10**7)
    watch(bench, "eve", other)
    end(bench)
    assert told(bench) == [("ann", ending), ("ben", ending)]
    assert list(bench.engine.parking.calls) == ["eve"]
    assert check(bench.engine) == []


def test_a_lost_parent_is_an_end_of_its_child(bench: Bench) -> None:
    """The child goes to the dead letters, and who waits for it is told so."""
    parent = bench.push()
    child = bench.push(depends_on=[parent])
    watch(bench, "ann", child)
    bench.cancel(parent)
    assert told(bench) == [("ann", Ending("failed", error=f"dependency {parent} cancelled"))]


def test_a_retry_is_no_end(bench: Bench) -> None:
    """An attempt that fails, times out or goes back leaves the job alive, and those who wait where they are."""
    id = bench.push(timeout=1_000)
    watch(bench, "ann", id)
    bench.fail(bench.pull_one().id)
    bench.pass_time(1_000)
    bench.pull_one()
    bench.pass_time(60_000)
    assert told(bench) == []
    assert "ann" in bench.engine.parking.calls


def test_a_result_that_is_not_kept_is_still_told(bench: Bench) -> None:
    """Who waits gets the result also where the server remembers none."""
    bench = Bench(keep_completed=0)
    bench.push()
    watch(bench, "ann", 1)
    complete(bench)
    assert told(bench) == [("ann", Ending("completed", b"[1]"))]
    assert bench.state(1) == "unknown"


def test_a_wait_that_is_over(bench: Bench) -> None:
    """It gets nothing at its time, and what happens later is not told to it."""
    id = bench.push()
    watch(bench, "ann", id, wait_ms=50)
    watch(bench, "ben", id)
    assert bench.engine.parking.unpark("ben")
    bench.pass_time(50)
    assert told(bench) == [("ann", [])]
    complete(bench)
    assert told(bench) == []
    assert not bench.engine.watchers.by_job


def test_pulls_and_watchers_have_one_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for a job counts as a parked pull does; one that is refused leaves no trace."""
    monkeypatch.setattr(parking, "MAX_WAITS", 2)
    id = bench.push("others")
    bench.park("ann")
    watch(bench, "ben", id)
    with pytest.raises(Overloaded, match=r"^Too many waiting calls \(max 2\)$"):
        watch(bench, "eve", id)
    assert list(bench.engine.watchers.by_job[id]) == ["ben"]
