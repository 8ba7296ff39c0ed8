"""Unit tests of `flashq.worker.logs`."""

from msgspec import Raw
from tests.unit.worker.jobs import job

from flashq import JobRecord
from flashq.worker.logs import facts


def test_what_is_said_of_a_job() -> None:
    """Its id, queue, task and attempt, and never its arguments."""
    assert facts(job(7, "greet", ("secret",), attempts=2)) == {"job": 7, "queue": "q", "task": "greet", "attempt": 3}


def test_a_job_that_is_none_of_a_task() -> None:
    """Whatever was pushed, the log can speak of it."""
    assert facts(JobRecord(7, "q", Raw(b"[1]")))["task"] == ""
