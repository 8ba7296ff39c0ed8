"""The table of schedules: set, replaced, fired once an instant, moved on."""

import pytest
from msgspec import Raw

from flashq.engine import cron as module
from flashq.engine.cron import Crons
from flashq.errors import BadRequest, LimitReached
from flashq.model import JobSpec

NOON = 1_700_049_600_000  # 2023-11-15 12:00:00 UTC
HOUR = 3_600_000


def every(crons: Crons, name: str, schedule: str, now: int = NOON) -> int:
    """Set a schedule; returns when it fires next."""
    return crons.set(name, "q", b"{}", schedule, 0, "UTC", now).next_run


def due(crons: Crons, now: int, most: int = 100) -> list[tuple[str, int, int]]:
    """What fires, as (name, instant, next instant)."""
    return [(row.name, row.last_run, row.next_run) for row in crons.due(now, most)]


def test_a_schedule_fires_once_an_instant() -> None:
    """At its time, once, and then at the next one."""
    crons = Crons()
    assert crons.next_due() is None
    assert every(crons, "hourly", "0 0 * * * *") == NOON + HOUR
    assert crons.next_due() == NOON + HOUR
    assert due(crons, NOON + HOUR - 1) == []
    assert due(crons, NOON + HOUR) == [("hourly", NOON + HOUR, NOON + 2 * HOUR)]
    assert due(crons, NOON + HOUR) == []


def test_missed_instants_make_one_firing() -> None:
    """After a week of absence one job is made and not a hundred and sixty-eight."""
    crons = Crons()
    every(crons, "hourly", "0 0 * * * *")
    late = NOON + 168 * HOUR + 5
    assert due(crons, late) == [("hourly", NOON + HOUR, NOON + 169 * HOUR)]
    assert due(crons, late) == []


def test_schedules_fire_in_the_order_of_their_instants() -> None:
    """The earlier instant first; no more at once than is asked for."""
    crons = Crons()
    every(crons, "late", "0 30 * * * *")
    every(crons, "early", "0 10 * * * *")
    every(crons, "middle", "0 20 * * * *")
    assert [name for name, _, _ in due(crons, NOON + HOUR - 1, most=2)] == ["early", "middle"]
    assert [name for name, _, _ in due(crons, NOON + HOUR - 1)] == ["late"]


def test_the_same_name_replaces() -> None:
    """What was set before fires no more; what it has fired is remembered, so that no instant fires twice."""
    crons = Crons()
    every(crons, "x", "*/10")
    due(crons, NOON + 10_000)
    row = crons.set("x", "other", b"[]", "*/5", 7, "Europe/Rome", NOON + 9_000)  # the clock was set back
    assert (row.queue, row.data, row.priority, row.timezone) == ("other", b"[]", 7, "Europe/Rome")
    assert (row.last_run, row.next_run) == (NOON + 10_000, NOON + 15_000)
    assert crons.rows() == [row]
    assert due(crons, NOON + 14_999) == []
    assert due(crons, NOON + 15_000) == [("x", NOON + 15_000, NOON + 20_000)]


def test_a_deleted_schedule_is_gone() -> None:
    """It does not fire, and there is nothing to delete a second time."""
    crons = Crons()
    every(crons, "x", "*/10")
    assert crons.delete("x")
    assert not crons.delete("x")
    assert crons.next_due() is None
    assert due(crons, NOON + HOUR) == []


def test_schedules_are_listed_by_name() -> None:
    """Whatever the order in which they were set."""
    crons = Crons()
    for name in ("b", "c", "a"):
        every(crons, name, "*/10")
    assert [row.name for row in crons.rows()] == ["a", "b", "c"]


def test_a_wrong_schedule_changes_nothing() -> None:
    """The old schedule of that name goes on."""
    crons = Crons()
    every(crons, "x", "*/10")
    with pytest.raises(BadRequest, match="Invalid cron expression"):
        every(crons, "x", "61 * * * * *")
    assert [row.schedule for row in crons.rows()] == ["*/10"]


def test_a_schedule_that_never_fires_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar that has come to its end is told at once and not by silence."""
    monkeypatch.setattr(module, "parse", lambda *_: Ending(None))
    with pytest.raises(BadRequest, match=r"^Invalid cron expression '0 0 \* \* \*': it never fires$"):
        every(Crons(), "x", "0 0 * * *")


class Ending:
    """A schedule with one more instant, or none."""

    def __init__(self, instant: int | None) -> None:
        self.instant = instant

    def next_after(self, wall_ms: int) -> int | None:
        """The instant, if it is still to come."""
        return self.instant if self.instant is not None and wall_ms < self.instant else None


def test_a_schedule_that_comes_to_its_end_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last firing says that there is no next one."""
    monkeypatch.setattr(module, "parse", lambda *_: Ending(NOON + 1))
    crons = Crons()
    every(crons, "x", "whatever")
    assert due(crons, NOON + 1) == [("x", NOON + 1, 0)]
    assert crons.rows() == []
    assert crons.next_due() is None


def test_there_are_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One schedule too many is refused; replacing one is not."""
    monkeypatch.setattr(module, "MAX_CRONS", 1)
    crons = Crons()
    every(crons, "x", "*/10")
    with pytest.raises(LimitReached, match=r"^Too many crons \(max 1\)$"):
        every(crons, "y", "*/10")
    every(crons, "x", "*/20")


def test_replacing_for_ever_does_not_pile_up() -> None:
    """A client that sets its schedule every second leaves a short heap."""
    crons = Crons()
    for name, schedule in (("late", "0 0 0 1 1 *"), ("later", "0 0 0 2 1 *"), ("soon", "*/2")):
        every(crons, name, schedule)
    for number in range(1_000):
        every(crons, "x", f"*/{number + 10}")
    assert len(crons._heap) <= 200
    assert [crons.next_due()] == [row.next_run for row in crons.rows() if row.name == "soon"]
    assert [name for name, _, _ in due(crons, NOON + 86_400_000 * 365)] == ["soon", "x", "late", "later"]


def test_a_remembered_schedule_goes_on_where_it_was() -> None:
    """Neither the next instant nor the last one is computed anew."""
    crons, restored = Crons(), Crons()
    every(crons, "x", "0 0 * * * *")
    due(crons, NOON + HOUR)
    for row in crons.rows():
        restored.put(row)
    assert restored.rows() == crons.rows()
    assert due(restored, NOON + 2 * HOUR) == due(crons, NOON + 2 * HOUR)


def test_the_payloads_of_all_schedules_are_bounded() -> None:
    """Together, since one answer lists them all; replacing a schedule frees what it held."""
    crons = Crons()
    for number in range(16):
        crons.set(f"c{number}", "q", b" " * (module.MAX_CRON_BYTES // 16), "*/5", 0, "UTC", NOON)
    with pytest.raises(LimitReached, match="The payloads of all crons are too large"):
        crons.set("one more", "q", b"1", "*/5", 0, "UTC", NOON)
    crons.set("c3", "q", b"1", "*/5", 0, "UTC", NOON)
    crons.set("one more", "q", b"1", "*/5", 0, "UTC", NOON)
    tagged = JobSpec(data=Raw(), tags=["t" * 256] * 100)
    for number in range(module.MAX_CRON_BYTES // 16 // 25_600):
        crons.set(f"t{number}", "q", b"", "*/5", 0, "UTC", NOON, tagged)
    with pytest.raises(LimitReached, match="too large"):
        crons.set("tags count as well", "q", b"", "*/5", 0, "UTC", NOON, tagged)
