"""Unit tests of `flashq.commands.parked`."""

from collections.abc import Hashable

from tests.unit.commands.desk import Desk

from flashq.commands.parked import Parked
from flashq.model import Instant
from flashq.protocol.replies import Pulled


def test_what_is_not_a_pull_lets_nothing_stand_behind_it() -> None:
    """A command has to say so if pulls may wait behind it: what it waits for may be what they would do."""

    def park(token: Hashable, now: Instant) -> None:
        """Nowhere."""

    assert not Parked(park, lambda job: Pulled(job=job), lambda: Pulled(job=None)).in_line


def test_from_the_command_to_the_answer(desk: Desk) -> None:
    """What is delivered to the door's token becomes the answer of the command that waited."""
    token = desk.ask("PULL", queue="q")["parked"]
    id = desk.ask("PUSH", queue="q", data=1)["id"]
    ((served, jobs),) = desk.engine.outbox.take_deliveries()
    assert served == token
    reply = desk.parked[token].reply(jobs)
    assert isinstance(reply, Pulled)
    assert reply.job is not None
    assert reply.job.id == id
