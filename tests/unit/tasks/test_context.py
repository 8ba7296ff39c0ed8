"""What a running task knows of its job."""

import logging

import pytest
from msgspec import Raw

from flashq import Cancelled, Context, JobRecord, current_job
from flashq.protocol.limits import MAX_MESSAGE_BYTES
from flashq.tasks.context import enter, leave


class Heard:
    """A link that notes what is said."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def progress(self, percent: int, message: str | None) -> None:
        self.said.append((percent, message))

    def heartbeat(self) -> None:
        self.said.append("beat")


def test_a_pulled_job_becomes_a_context() -> None:
    """Attempts count from 1; the deadline is the server's."""
    record = JobRecord(7, "emails", Raw(b"{}"), started_at=1_000, timeout=500, attempts=2, max_attempts=5, tags=["a"])
    context = Context.of(record, "send", {"trace": "x"}, Heard())
    assert (context.id, context.queue, context.task, context.attempt) == (7, "emails", "send", 3)
    assert (context.max_attempts, context.deadline, context.tags) == (5, 1_500, ["a"])
    assert context.headers == {"trace": "x"}
    assert Context.of(JobRecord(7, "q", Raw(b"{}")), "t", {}, Heard()).deadline is None


def test_what_is_said_goes_over_the_link() -> None:
    """Progress and heartbeat, as long as the attempt counts."""
    link = Heard()
    context = Context(task="t", link=link)
    context.progress(50, "half")
    context.heartbeat()
    assert link.said == [(50, "half"), "beat"]


def test_whatever_is_said_can_be_sent() -> None:
    """Out of range is the end of the range, half characters are replaced, and a message has an end."""
    link = Heard()
    context = Context(task="t", link=link)
    context.progress(-5, "half \ud800")
    context.progress(1_000, "x" * 2_000_000)
    assert link.said == [(0, "half ?"), (100, "x" * MAX_MESSAGE_BYTES)]


def test_a_cancelled_attempt_is_told_at_every_turn() -> None:
    """Each call is a place where a plain function can be cancelled; nothing more is said to the server."""
    link = Heard()
    context = Context(task="t", link=link)
    context.check()
    context.cancel("Job timed out")
    assert (context.cancelled, context.reason) == (True, "Job timed out")
    for say in (context.check, context.heartbeat, lambda: context.progress(1)):
        with pytest.raises(Cancelled, match="Job timed out"):
            say()
    assert link.said == []


def test_log_lines_name_the_job(caplog: pytest.LogCaptureFixture) -> None:
    """So that all lines of one job are found, whatever the task says."""
    with caplog.at_level(logging.INFO, logger="flashq.job"):
        Context(task="t", id=3, queue="q").log("sent", to="ada")
    assert caplog.messages == ["sent"]
    assert caplog.records[0].flashq == {"job": 3, "queue": "q", "task": "t", "attempt": 1, "to": "ada"}


def test_current_job_is_the_one_that_runs_here() -> None:
    """And nothing else."""
    with pytest.raises(LookupError, match="no job runs here"):
        current_job()
    context = Context(task="t")
    token = enter(context)
    assert current_job() is context
    leave(token)


def test_a_context_of_no_job_does_no_harm() -> None:
    """A task that is called like any function may say what it likes."""
    context = Context(task="t")
    context.progress(1)
    context.heartbeat()
    assert "task 't'" in repr(context)


@pytest.mark.parametrize(("attempt", "most", "last"), [(1, 3, False), (3, 3, True), (4, 3, True), (9, 0, False)])
def test_the_last_attempt(attempt: int, most: int, last: bool) -> None:
    """After it the job goes to the dead letters; without a bound there is none."""
    assert Context(task="t", attempt=attempt, max_attempts=most).is_last is last
