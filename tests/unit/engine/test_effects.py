"""What a turn asks of the outside: in the order of its causes, and nothing for nobody."""

from msgspec import UNSET

from flashq.engine.effects import Effects, Outbox, runs_of
from flashq.engine.queue import Queue
from flashq.engine.records import MAX_SPAN, SERVER, Actor, CronDeleted, Happened, Operated, Pushed
from flashq.model import Event, Instant

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


NOW = Instant(100, 1)
ADA = Actor("ada")


def test_ids_become_runs() -> None:
    """Consecutive ids are one run, in whatever order they come; no run is longer than a batch."""
    assert runs_of([7]) == [7, 1]
    assert runs_of(range(3, 8)) == [3, 5]
    assert runs_of([3, 4, 9, 10, 11, 20]) == [3, 2, 9, 3, 20, 1]
    assert runs_of([5, 4, 9, 3]) == [3, 3, 9, 1]
    assert runs_of(range(1, MAX_SPAN + 3)) == [1, MAX_SPAN, MAX_SPAN + 1, 2]


def test_what_happens_to_jobs_one_by_one_is_one_record() -> None:
    """As long as it is the same: event, queue, time, attempt, worker, detail and who caused it."""
    outbox = Outbox(recording=True)
    outbox.by = ADA
    outbox.happened("pushed", "q", [1], NOW)
    outbox.happened("pushed", "q", range(2, 5), NOW)
    outbox.happened("pushed", "q", [9], NOW)
    assert outbox.records == [Happened(100, "pushed", "q", [1, 4, 9, 1], ADA)]
    for place, other in enumerate((
        {"event": "active"}, {"queue": "r"}, {"now": Instant(101, 1)}, {"attempt": 1}, {"worker": "w"},
        {"detail": "d"}, {"by": Actor("eve")},
    )):  # fmt: skip
        outbox.happened(**{"event": "pushed", "queue": "q", "ids": [20 + place], "now": NOW} | other)  # type: ignore[arg-type]
        outbox.happened("pushed", "q", [40 + place], NOW)
    assert len(outbox.records) == 15


def test_history_does_not_part_what_belongs_together() -> None:
    """Single pushes are still one record of jobs, with one record of history beside it."""
    outbox = Outbox(recording=True)
    for id in (1, 2, 3):
        outbox.pushed(PLAIN, id, [b"a"], 100)
        outbox.happened("pushed", "q", [id], NOW)
    assert [type(record) for record in outbox.records] == [Pushed, Happened]


def test_history_grows_no_more_once_it_was_taken() -> None:
    """What has left is never touched again."""
    outbox = Outbox(recording=True)
    outbox.happened("pushed", "q", [1], NOW)
    taken = outbox.take_records()
    outbox.happened("pushed", "q", [2], NOW)
    assert taken == [Happened(100, "pushed", "q", [1, 1], SERVER)]
    assert len(outbox.records) == 1


def test_history_is_noted_without_storage_too() -> None:
    """A server without a disk keeps it in memory."""
    outbox = Outbox(recording=False)
    outbox.by = ADA
    outbox.operated("PAUSE", NOW, "q", "{}")
    assert outbox.records == [Operated(100, "PAUSE", ADA, "q", "{}")]
