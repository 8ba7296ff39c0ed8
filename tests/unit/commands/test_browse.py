"""Unit tests of `flashq.commands.browse`."""

import pytest
from tests.unit.commands.desk import Desk

from flashq.errors import BadRequest
from flashq.protocol.limits import MAX_ID, MAX_LISTED


def test_a_listed_job_is_a_job_and_its_state(desk: Desk) -> None:
    """Member for member what GETJOB says, and no token, also of an active one."""
    desk.ask("PUSH", queue="q", data=1, job_id="mine", tags=["t"])
    desk.ask("PULL", queue="q")
    found = desk.ask("GETJOB", id=1)
    assert desk.ask("LISTJOBS") == {"jobs": [{**found["job"], "state": "active"}], "next": None}


def test_pages_follow_each_other(desk: Desk) -> None:
    """The cursor of one page is the beginning of the next, until there is none."""
    desk.ask("PUSHB", queue="q", jobs=[{"data": 1}] * 45)
    ids: list[int] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = desk.ask("LISTJOBS", queue="q", state="waiting", limit=20, cursor=cursor)
        ids += [job["id"] for job in page["jobs"]]
        cursor, pages = page["next"], pages + 1
    assert ids == [*range(45, 0, -1)]
    assert pages == 3


def test_a_hundred_unless_asked_otherwise_and_a_thousand_at_the_most(desk: Desk) -> None:
    """A limit above the bound is taken as the bound, as the count of a pull is."""
    desk.ask("PUSHB", queue="q", jobs=[{"data": 1}] * 1_100)
    assert len(desk.ask("LISTJOBS")["jobs"]) == 100
    assert len(desk.ask("LISTJOBS", limit=2**32 - 1)["jobs"]) == MAX_LISTED


def test_a_queue_that_nobody_knows_has_no_jobs_and_is_not_made(desk: Desk) -> None:
    """Looking leaves nothing behind."""
    desk.ask("PUSH", queue="q", data=1)
    assert desk.ask("LISTJOBS", queue="other") == {"jobs": [], "next": None}
    assert list(desk.engine.queues.by_name) == ["q"]


def test_an_explanation(desk: Desk) -> None:
    """Every member is there, and each reason says what it is."""
    desk.ask("PUSHB", queue="q", jobs=[{"data": 1}, {"data": 2, "unique_key": "k", "ttl": 9_000}])
    desk.ask("PAUSE", queue="q")
    assert desk.ask("EXPLAIN", id=2)["explain"] == {
        "id": 2,
        "queue": "q",
        "state": "waiting",
        "at": desk.now.wall,
        "reasons": [
            {"type": "paused"},
            {"type": "ahead", "count": 1, "exact": True},
            {"type": "no_worker", "active": 0, "since_delivery_ms": None},
        ],
        "expires_at": desk.now.wall + 9_000,
        "unique_key": "k",
        "estimated_start": None,
        "estimate_basis": None,
    }


@pytest.mark.parametrize("state", ["unknown", "gone", "", "WAITING", 1])
def test_other_states_are_refused(desk: Desk, state: object) -> None:
    """What no listed job can be is a slip that should be told."""
    with pytest.raises(BadRequest, match=r"\$\.state"):
        desk.ask("LISTJOBS", state=state)


@pytest.mark.parametrize(
    "cursor", ["", "0", "00", "01", "g", "A", "-1", "+1", " 1", "1\n", "1_0", "0x1", "٣", "f" * 15, f"{MAX_ID + 1:x}"]
)
def test_what_no_page_ever_gave_is_no_cursor(desk: Desk, cursor: str) -> None:
    """A cursor that was cut, changed or invented is refused, rather than to begin somewhere else."""
    with pytest.raises(BadRequest, match=r"^Invalid: not a cursor of LISTJOBS - at `\$\.cursor`$"):
        desk.ask("LISTJOBS", cursor=cursor)


def test_a_queue_name_that_cannot_be_is_refused(desk: Desk) -> None:
    """As by every command that names a queue."""
    with pytest.raises(BadRequest, match="Queue name must contain"):
        desk.ask("LISTJOBS", queue="a b")
