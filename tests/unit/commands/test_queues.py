"""Unit tests of `flashq.commands.queues`."""

import pytest
from tests.unit.commands.desk import Desk

from flashq.errors import BadRequest


def test_settings_make_a_queue_and_their_end_unmakes_it(desk: Desk) -> None:
    """A queue without jobs is there as long as something is set."""
    for on, off in (("PAUSE", "RESUME"), ("RATELIMIT", "RATELIMITCLEAR"), ("SETCONCURRENCY", "CLEARCONCURRENCY")):
        desk.ask(on, queue="q", limit=3)
        (queue,) = desk.ask("LISTQUEUES")["queues"]
        assert queue["name"] == "q"
        desk.ask(off, queue="q")
        assert desk.ask("LISTQUEUES") == {"queues": []}
        assert desk.engine.queues.by_name == {}


def test_a_limit_of_nothing_is_refused_before_a_queue_is_made(desk: Desk) -> None:
    """The sentence says what to do instead."""
    for cmd in ("RATELIMIT", "SETCONCURRENCY"):
        with pytest.raises(BadRequest, match="PAUSE"):
            desk.ask(cmd, queue="q", limit=0)
    assert desk.engine.queues.by_name == {}


def test_reading_makes_no_queue(desk: Desk) -> None:
    """Dead letters of a queue that nobody knows: none, and it stays unknown."""
    assert desk.ask("DLQ", queue="q", count=5) == {"jobs": []}
    assert desk.ask("RETRYDLQ", queue="q", id=1) == {"ids": [0]}
    assert desk.ask("PURGEDLQ", queue="q") == {"count": 0}
    assert desk.engine.queues.by_name == {}


def test_a_hundred_dead_letters_unless_asked_otherwise(desk: Desk) -> None:
    """Null and absent are the same."""
    desk.ask("PUSHB", queue="q", jobs=[{"data": 1, "max_attempts": 1}] * 120)
    for job in desk.ask("PULLB", queue="q", count=120)["jobs"]:
        desk.ask("FAIL", id=job["id"])
    assert len(desk.ask("DLQ", queue="q")["jobs"]) == 100
    assert len(desk.ask("DLQ", queue="q", count=None)["jobs"]) == 100
    assert len(desk.ask("DLQ", queue="q", count=2**32 - 1)["jobs"]) == 120
    assert desk.ask("RETRYDLQ", queue="q", id=7) == {"ids": [1]}
    assert desk.ask("RETRYDLQ", queue="q", id=None) == {"ids": [119]}


def test_dead_letters_of_another_queue_are_not_touched(desk: Desk) -> None:
    """An id is looked for in the queue that was named."""
    desk.ask("PUSH", queue="a", data=1, max_attempts=1)
    desk.ask("FAIL", id=desk.ask("PULL", queue="a")["job"]["id"])
    desk.ask("PUSH", queue="b", data=1)
    assert desk.ask("RETRYDLQ", queue="b", id=1) == {"ids": [0]}
    assert desk.ask("PURGEDLQ", queue="b") == {"count": 0}
    assert len(desk.ask("DLQ", queue="a")["jobs"]) == 1
