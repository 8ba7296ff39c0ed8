"""The life of a job as a table: what is in it, and that nothing leads nowhere."""

from flashq.engine.lifecycle import LIVE, MOVES, TRANSITIONS
from flashq.model import ACTIVE, COMPLETED, DELAYED, FAILED, UNKNOWN, WAITING, WAITING_CHILDREN

STATES = {UNKNOWN, WAITING, DELAYED, ACTIVE, COMPLETED, FAILED, WAITING_CHILDREN}


def test_every_state_can_be_reached_from_a_push() -> None:
    """No state is only a word."""
    reached = {UNKNOWN}
    for _ in STATES:
        reached |= {after for before, after in MOVES if before in reached}
    assert reached == STATES


def test_every_live_state_can_be_left_and_completed_cannot() -> None:
    """Nothing is stuck for ever by construction, and what completed stays so until it is forgotten."""
    assert {before for before, _ in MOVES} == LIVE | {UNKNOWN}
    assert COMPLETED not in LIVE


def test_only_waiting_jobs_become_active() -> None:
    """There is one door to a worker."""
    assert {before for before, after in MOVES if after == ACTIVE} == {WAITING}


def test_the_table_says_nothing_twice() -> None:
    """One row for each cause."""
    assert len(TRANSITIONS) == len({(before, cause) for before, cause, _ in TRANSITIONS})
