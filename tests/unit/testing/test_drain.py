"""Running an app's jobs inside a test."""

from collections.abc import Iterator

import pytest
from tests.unit.testing import shop

from flashq import Reject
from flashq.tasks.outcome import Done, Failed, Gone, Snoozed
from flashq.testing import LocalApp, TaskFailed
from flashq.testing import drain as drain_module


@pytest.fixture
def local() -> Iterator[LocalApp]:
    """The shop on a server of its own."""
    shop.sent.clear()
    with LocalApp(shop.app) as opened:
        yield opened


def test_everything_ready_runs_and_what_that_makes_ready(local: LocalApp) -> None:
    """Plain and coroutine tasks, of all queues, with their results; what they enqueue runs in the same drain."""
    shop.welcome.delay("ada")
    shop.send.options(queue="elsewhere").delay("bob")
    ran = local.drain()
    assert [(each.task.rpartition(".")[2], each.result) for each in ran] == [
        ("welcome", "welcome ada"),
        ("send", 3),
        ("send", 3),
    ]
    assert shop.sent == ["ada", "bob"]
    assert local.client.result(1) == "welcome ada"
    assert local.drain() == []


def test_a_higher_priority_runs_first(local: LocalApp) -> None:
    """The server's order is kept."""
    shop.send.delay("low")
    shop.send.options(priority=5).delay("high")
    local.drain()
    assert shop.sent == ["high", "low"]


def test_what_a_task_raised_is_raised(local: LocalApp) -> None:
    """The test sees the very exception, and the server was told before: the job will be tried again."""
    job = shop.flaky.delay()
    with pytest.raises(ValueError, match="planted") as raised:
        local.drain()
    assert raised.traceback[-1].name == "flaky"
    assert job.state() == "delayed"
    assert [each.result for each in local.drain(advance=True)] == ["done"]


def test_failures_may_be_let_pass(local: LocalApp) -> None:
    """Then they are told among what ran, with exception and outcome."""
    shop.flaky.delay()
    first, second = local.drain(raises=False, advance=True)
    assert isinstance(first.error, ValueError)
    assert isinstance(first.outcome, Failed)
    assert (first.attempt, second.attempt, second.error, second.outcome) == (1, 2, None, Done(b'"done"'))


def test_a_job_without_a_task(local: LocalApp) -> None:
    """A payload that no task understands fails the test, too, with what the worker would have said."""
    local.client.push("mail", {"n": 1})
    with pytest.raises(TaskFailed, match="job 1: the payload is not that of a task"):
        local.drain()
    local.client.push("mail", {"task": "no.such"})
    with pytest.raises(TaskFailed, match=r"unknown task 'no\.such'"):
        local.drain()


def test_the_clock_is_moved_only_when_asked(local: LocalApp) -> None:
    """Delayed jobs stay where they are, or run in the order in which they fall due."""
    began = local.clock.now
    shop.send.options(delay=7_200_000).delay("later")
    shop.send.options(delay=3_600_000).delay("sooner")
    assert local.drain() == []
    assert local.clock.now == began
    local.drain(advance=True)
    assert shop.sent == ["sooner", "later"]
    assert local.clock.now == began + 7_200_000


def test_retry_snooze_and_reject(local: LocalApp) -> None:
    """What a task says outright is done; only Reject is a failure."""
    shop.picky.delay("retry")
    assert [each.outcome for each in local.drain()] == [Failed("again", delay=5_000)]
    shop.picky.delay("snooze")
    assert [each.outcome for each in local.drain()] == [Snoozed(60_000)]
    assert [type(each.outcome) for each in local.drain(advance=True)] == [Done, Done]
    job = shop.picky.delay("reject")
    with pytest.raises(Reject, match="never"):
        local.drain()
    assert job.state() == "failed"


def test_only_some_queues(local: LocalApp) -> None:
    """The others are left alone."""
    shop.send.delay("ada")
    shop.welcome.delay("bob")
    assert [each.queue for each in local.drain(queues=["slow"])] == ["slow"]


def test_progress_arrives_and_a_cancelled_job_stops(local: LocalApp) -> None:
    """A context speaks to the server as in a worker; once the attempt is over there, its code is stopped."""
    job = shop.reporting.delay()
    (ran,) = local.drain()
    assert ran.outcome == Gone()
    assert shop.sent == ["still there"]
    assert job.state() == "unknown"


def test_jobs_that_enqueue_each_other_for_ever(local: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain ends, with a sentence."""
    monkeypatch.setattr(drain_module, "MAX_RUNS", 20)
    shop.endless.delay()
    with pytest.raises(AssertionError, match=r"more than 20 jobs were run, .*shop\.endless"):
        local.drain()


async def test_a_coroutine_task_needs_adrain_in_a_coroutine(local: LocalApp) -> None:
    """The sentence says so; plain tasks may be drained anywhere."""
    shop.send.delay("ada")
    assert len(local.drain()) == 1
    await shop.welcome.adelay("bob")
    with pytest.raises(RuntimeError, match="adrain"):
        local.drain()


async def test_adrain_runs_both_kinds(local: LocalApp) -> None:
    """Plain functions too, and failures are raised as in a plain drain."""
    await shop.welcome.adelay("ada")
    assert len(await local.adrain()) == 2
    await shop.flaky.adelay()
    with pytest.raises(ValueError, match="planted"):
        await local.adrain()
