"""What a turn asks of the outside: in the order of its causes, and nothing for nobody."""

from msgspec import UNSET

from flashq.engine.effects import Effects, Outbox
from flashq.engine.queue import Queue
from flashq.engine.records import CronDeleted, Pushed
from flashq.model import Event

QUEUE = Queue("q")
PLAIN = QUEUE.options(1, 2, 3, 4, 5)
OTHER = QUEUE.options(9, 2, 3, 4, 5)


def test_single_pushes_in_a_row_are_one_record() -> None:
    """Jobs with shared options, consecutive ids and the same time cost one record, whoever pushed them."""
    outbox = Outbox(recording=True)
    outbox.pushed(PLAIN, 7, [b"a"], 100)
    outbox.pushed(PLAIN, 8, [b"b", b"c"], 100)
    assert outbox.records == [Pushed("q", 7, 100, 1, 2, 3, 4, 5, [b"a", b"b", b"c"])]


def test_what_differs_is_a_record_of_its_own() -> None:
    """Other options, a gap in the ids, another time or another record in between end the run."""
    outbox = Outbox(recording=True)
    outbox.pushed(PLAIN, 1, [b"a"], 100)
    outbox.pushed(OTHER, 2, [b"b"], 100)
    outbox.pushed(PLAIN, 3, [b"c"], 100)
    outbox.pushed(PLAIN, 5, [b"e"], 100)
    outbox.pushed(PLAIN, 6, [b"f"], 101)
    outbox.record(CronDeleted("x"))
    outbox.pushed(PLAIN, 7, [b"g"], 101)
    assert [record.first for record in outbox.records if isinstance(record, Pushed)] == [1, 2, 3, 5, 6, 7]
    assert outbox.records[5] == CronDeleted("x")


def test_a_run_does_not_grow_after_it_was_taken() -> None:
    """What has left may be on its way to the disk: it is never touched again, nor is the caller's list."""
    outbox = Outbox(recording=True)
    payloads = [b"a"]
    outbox.pushed(PLAIN, 1, payloads, 100)
    outbox.pushed(PLAIN, 2, [b"b"], 100)
    (taken,) = outbox.take().records
    outbox.pushed(PLAIN, 3, [b"c"], 100)
    assert isinstance(taken, Pushed)
    assert (taken.data, payloads) == ([b"a", b"b"], [b"a"])
    assert len(outbox.take().records) == 1


def test_nothing_is_recorded_for_nobody() -> None:
    """Without a journal there are no records."""
    outbox = Outbox(recording=False)
    outbox.pushed(PLAIN, 1, [b"a"], 100)
    outbox.record(CronDeleted("x"))
    assert outbox.take() == Effects([], [], [])


def test_events_carry_what_is_set() -> None:
    """Data, error and progress are there when given, an error and a progress of nothing included."""
    outbox = Outbox(recording=True)
    outbox.event("pushed", "q", 1, 100, data=b"{}")
    outbox.event("failed", "q", 1, 101, error="")
    outbox.event("progress", "q", 1, 102, progress=0)
    outbox.event("active", "q", 1, 103)
    first, second, third, fourth = outbox.take().events
    assert bytes(first.data) == b"{}" if first.data is not UNSET else False
    assert (second.error, third.progress) == ("", 0)
    assert fourth == Event("active", "q", 1, 103)


def test_effects_are_taken_once() -> None:
    """What was taken is gone; deliveries keep their order."""
    outbox = Outbox(recording=True)
    outbox.deliver("ann", [])
    outbox.deliver("ben", [])
    assert outbox.take().deliveries == [("ann", []), ("ben", [])]
    assert outbox.take() == Effects([], [], [])
