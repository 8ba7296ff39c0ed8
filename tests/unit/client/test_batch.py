"""Collecting calls for one sending, and settling their outcomes."""

import inspect
import itertools
import json

import pytest

from flashq.client.async_client import AsyncFlashQ
from flashq.client.batch import Collected
from flashq.client.pipeline import MAX_REPEATS, REPEAT_RESERVE, RepeatBudget
from flashq.errors import CallTimeout, ConnectionLost, NotFound, TooLarge
from flashq.protocol.limits import MAX_LINE_BYTES

OK = b'{"ok":true}'
LOST = ConnectionLost("the connection ended")


def test_calls_keep_their_order() -> None:
    """Lines and results stand in the order of collecting."""
    batch = Collected()
    first, second = batch.push("q", 1), batch.pause("q")
    assert [json.loads(line)["cmd"] for line in batch.lines()] == ["PUSH", "PAUSE"]
    assert not batch.settle([b'{"ok":true,"id":9}', OK], RepeatBudget())
    assert first.result() == 9
    assert second.result() is None
    assert batch.lines() == []
    assert len(batch) == 2


def test_one_refusal_is_one_calls_own() -> None:
    """A refused call has its error; its neighbours have their results."""
    batch = Collected()
    pending = [batch.state(1), batch.cancel(2), batch.ping()]
    refusal = b'{"ok":false,"error":"Job 2 not found","code":"not_found"}'
    batch.settle([b'{"ok":true,"id":1,"state":"active"}', refusal, OK], RepeatBudget())
    assert pending[0].result() == "active"
    assert isinstance(batch.first_error(), NotFound)
    assert pending[1].error is batch.first_error()
    assert pending[2].done


def test_only_the_safe_ones_are_sent_again() -> None:
    """After a lost connection a read goes out again, a push without an id does not."""
    batch = Collected()
    read, push, safe = batch.state(1), batch.push("q", 1), batch.push("q", 1, job_id="j")
    assert batch.settle([LOST, LOST, LOST], RepeatBudget())
    assert push.error is LOST
    assert [json.loads(line)["cmd"] for line in batch.lines()] == ["GETSTATE", "PUSH"]
    assert not batch.settle([b'{"ok":true,"id":1,"state":"active"}', b'{"ok":true,"id":3}'], RepeatBudget())
    assert (read.result(), safe.result()) == ("active", 3)


def test_repeating_ends() -> None:
    """A call that loses every connection is given up after its repeats."""
    batch = Collected()
    pending = batch.ping()
    rounds = [batch.settle([LOST], RepeatBudget()) for _ in range(MAX_REPEATS + 1)]
    assert rounds == [True] * MAX_REPEATS + [False]
    assert pending.error is LOST


def test_the_budget_bounds_repeats() -> None:
    """What the budget does not pay for is not sent again."""
    batch = Collected()
    pending = [batch.ping() for _ in range(REPEAT_RESERVE + 5)]
    batch.settle([LOST] * len(pending), RepeatBudget())
    assert sum(each.error is LOST for each in pending) == 5
    assert len(batch.lines()) == REPEAT_RESERVE


def test_timeouts_are_not_repeated() -> None:
    """A server that is too slow is not asked twice."""
    batch = Collected()
    pending = batch.ping()
    assert not batch.settle([CallTimeout("late")], RepeatBudget())
    assert isinstance(pending.error, CallTimeout)


def test_abandoning_settles_what_is_left() -> None:
    """When nothing more can be sent, no pending result stays open."""
    batch = Collected()
    pending = batch.ping()
    batch.abandon(LOST)
    assert pending.error is LOST
    assert batch.lines() == []


def test_signed_pushes() -> None:
    """With a source of ids every push gets one and so becomes safe to repeat."""
    batch = Collected(f"id{n}" for n in itertools.count())
    batch.push("q", 1)
    batch.push_batch("q", [1, 2])
    assert batch.settle([LOST, LOST], RepeatBudget())
    first, second = map(json.loads, batch.lines())
    assert first["job_id"] == "id0"
    assert [job["job_id"] for job in second["jobs"]] == ["id1", "id2"]


def test_what_cannot_be_written_is_refused_at_once() -> None:
    """A call that cannot be sent raises where it is made and does not spoil the others."""
    batch = Collected()
    with pytest.raises(TooLarge):
        batch.push("q", "x" * MAX_LINE_BYTES)
    assert batch.lines() == []
    assert len(batch) == 0


def test_every_command_that_is_answered_at_once_is_here() -> None:
    """Pipeline and client have the same commands, but for those that wait or belong to the connection."""
    client = {name for name, kind in inspect.getmembers(AsyncFlashQ, inspect.iscoroutinefunction) if name[0] != "_"}
    here = {name for name, kind in inspect.getmembers(Collected, inspect.isfunction) if name[0] != "_"}
    own = {"add", "lines", "settle", "abandon", "first_error"}
    waits = {"pull", "pull_batch", "pull_any", "wait_job", "backup"}
    ends = {"shutdown", "restart"}
    assert client - here == {"connect", "close", "auth", "hello", "bye", *waits, *ends}
    assert here - client == own


def test_arguments_are_those_of_the_client() -> None:
    """The same call can be written in both places: names, order and defaults agree."""
    for name in ("push", "push_batch", "ack", "ack_batch", "fail", "progress", "set_cron", "dead_letters"):
        client, here = inspect.signature(getattr(AsyncFlashQ, name)), inspect.signature(getattr(Collected, name))
        assert list(client.parameters.values())[1:] == list(here.parameters.values()), name
