"""Unit tests of `flashq.commands.cron`."""

import pytest
from tests.unit.commands.desk import Desk

from flashq.errors import BadRequest, NotFound, TooLarge


def test_a_schedule_fires_with_its_payload(desk: Desk) -> None:
    """The payload and the priority of the schedule are those of its jobs."""
    desk.ask("CRON", name="c", queue="q", schedule="*/1", data={"a": [1]}, priority=5)
    desk.pass_time(1_000)
    job = desk.ask("PULL", queue="q")["job"]
    assert (job["data"], job["priority"]) == ({"a": [1]}, 5)
    (cron,) = desk.ask("CRONLIST")["crons"]
    assert cron["last_run"] == job["created_at"]


def test_defaults(desk: Desk) -> None:
    """No payload is null, no zone is UTC, and so is a zone of null."""
    desk.ask("CRON", name="c", queue="q", schedule="0 0 1 1 *", timezone=None)
    (cron,) = desk.ask("CRONLIST")["crons"]
    assert (cron["data"], cron["timezone"], cron["priority"], cron["last_run"]) == (None, "UTC", 0, None)


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"queue": "a b"}, BadRequest),
        ({"schedule": "never"}, BadRequest),
        ({"schedule": "0 0 30 2 *"}, BadRequest),
        ({"timezone": "Nowhere"}, BadRequest),
        ({"timezone": "../../etc/passwd"}, BadRequest),
        ({"data": "x" * 1_048_600}, TooLarge),
    ],
)
def test_what_is_refused_sets_nothing(desk: Desk, members: dict[str, str], error: type[Exception]) -> None:
    """Neither a new schedule nor a change of an old one."""
    desk.ask("CRON", name="c", queue="q", schedule="0 0 1 1 *", data=1)
    before = desk.ask("CRONLIST")
    with pytest.raises(error):
        desk.ask("CRON", **{"name": "c", "queue": "q", "schedule": "0 0 1 1 *", **members})
    assert desk.ask("CRONLIST") == before


def test_delete(desk: Desk) -> None:
    """Gone is gone, and fires no more."""
    desk.ask("CRON", name="c", queue="q", schedule="*/1")
    desk.ask("CRONDELETE", name="c")
    desk.pass_time(5_000)
    assert desk.ask("STATS")["queued"] == 0
    with pytest.raises(NotFound, match="Cron job not found"):
        desk.ask("CRONDELETE", name="c")
