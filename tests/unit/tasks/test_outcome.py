"""Outcomes cross a pipe from a child process to its worker."""

import pytest
from msgspec import msgpack

from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed


@pytest.mark.parametrize(
    "outcome", [Done(), Done(b"[1]"), Failed("e"), Failed("e", 5), Failed("e", dead=True), Snoozed(7), Gone()], ids=str
)
def test_outcomes_come_back_as_they_went(outcome: Outcome) -> None:
    """Each kind by its own name."""
    assert msgpack.decode(msgpack.encode(outcome), type=Outcome) == outcome
