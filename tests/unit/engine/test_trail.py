"""The trail: one job's history among the records of all, the actions of operators, and what a ring keeps."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.bench import Bench
from tests.unit.engine.stories import SMALL, STORIES, TELL, Step, Teller

from flashq.engine import trail
from flashq.engine.records import SERVER, STARTED, Actor, CronDeleted, Happened, Operated, Record
from flashq.engine.trail import JobHistory, Operations, Ring, numbered
from flashq.model import ACTIVE, COMPLETED, DELAYED, FAILED, UNKNOWN, WAITING, WAITING_CHILDREN, HistoryEntry
from flashq.protocol.limits import MAX_HISTORY

ADA = Actor("ada", "192.0.2.7", "lines")


def happened(event: str, *runs: int, **more: Any) -> Happened:
    """A record about jobs."""
    return Happened(5, event, "q", list(runs), ADA, **more)


def history(id: int, *records: Record) -> list[HistoryEntry]:
    """What these records say of a job."""
    question = JobHistory(id)
    question.feed(numbered(records, 0)[0])
    return question.answer()[0]


def test_a_job_is_found_in_the_runs_that_hold_it() -> None:
    """The first and the last of a run are in it, their neighbours are not."""
    record = happened("pushed", 3, 2, 9, 1)
    assert [id for id in range(12) if history(id, record)] == [3, 4, 9]


def test_an_entry_says_everything() -> None:
    """When, what, which attempt, who held it, who caused it and from where."""
    record = happened("failed", 7, 1, attempt=2, worker="w", detail="why")
    assert history(7, record) == [HistoryEntry(5, "failed", "q", 2, "w", "ada", "192.0.2.7", "lines", "why")]


def test_what_was_active_at_a_start_is_restored() -> None:
    """Only that: neither what waited, nor what had ended; and each time anew."""
    start = Operated(8, STARTED, SERVER)
    active = happened("active", 1, 2, attempt=3, worker="w")
    events = [
        (entry.event, entry.at, entry.by)
        for entry in history(1, start, happened("pushed", 1, 3), active, start, start, active, start)
    ]
    assert [event for event, _, _ in events] == ["pushed", "active", "restored", "active", "restored"]
    assert events[2] == ("restored", 8, "server")
    restored = history(1, active, start)[-1]
    assert (restored.attempt, restored.worker, restored.queue) == (3, "w", "q")
    assert [entry.event for entry in history(2, active, happened("completed", 2, 1), start)] == ["active", "completed"]
    assert [entry.event for entry in history(3, happened("pushed", 1, 3), start)] == ["pushed"]


def test_other_actions_restore_nothing() -> None:
    """A pause is no start."""
    assert len(history(1, happened("active", 1, 1), Operated(8, "PAUSE", ADA, "q"))) == 1


def test_the_newest_entries_are_kept() -> None:
    """And it is told that there were more."""
    question = JobHistory(1)
    records = [happened("active", 1, 1, attempt=n) for n in range(MAX_HISTORY + 1)]
    question.feed(numbered(records[:-1], 0)[0])
    assert question.answer()[1] is False
    question.feed(numbered(records[-1:], 0)[0])
    entries, truncated = question.answer()
    assert truncated
    assert [entry.attempt for entry in entries] == list(range(1, MAX_HISTORY + 1))


def test_rows_are_numbered_by_runs() -> None:
    """Records of other kinds have no number."""
    records = [happened("pushed", 1, 2, 5, 1), CronDeleted("x"), Operated(1, "PAUSE", ADA), happened("active", 1, 1)]
    found, newest = numbered(records, 10)
    assert [(number, type(record)) for number, record in found] == [(11, Happened), (13, Operated), (14, Happened)]
    assert newest == 14


def actions(*ats: int, since: int = 0, limit: int = 100, before: int = 0) -> tuple[list[int], int]:
    """The numbers of the actions that are found among some at these times, and where to go on."""
    question = Operations(since, limit, before)
    question.feed(numbered([Operated(at, "PAUSE", ADA, "q", "{}") for at in ats], 0)[0])
    found, cursor = question.answer()
    return [action.number for action in found], cursor


def test_actions_come_newest_first_and_page_by_page() -> None:
    """A page ends where the next one begins, and the last one says so."""
    assert actions(1, 2, 3) == ([3, 2, 1], 0)
    assert actions(1, 2, 3, limit=2) == ([3, 2], 2)
    assert actions(1, 2, 3, limit=2, before=2) == ([1], 0)
    assert actions(1, 2, 3, limit=3) == ([3, 2, 1], 0)
    assert actions(1, 2, 3, since=2) == ([3, 2], 0)
    assert actions() == ([], 0)


def test_an_action_says_everything() -> None:
    """When, what, to what, by whom, from where."""
    question = Operations(0, 5, 0)
    question.feed([(4, Operated(9, "PAUSE", ADA, "q", "{}")), (5, happened("pushed", 1, 1))])
    ((action,), _) = question.answer()
    assert (action.number, action.at, action.action, action.target, action.detail) == (4, 9, "PAUSE", "q", "{}")
    assert (action.by, action.peer, action.door) == ("ada", "192.0.2.7", "lines")


def test_a_ring_keeps_the_newest(monkeypatch: Any) -> None:
    """As many records as it may, and reads them in slices; what comes meanwhile is not seen."""
    monkeypatch.setattr(trail, "_SLICE", 2)
    monkeypatch.setattr(trail, "RING_ENTRIES", 5)
    ring = Ring()
    for attempt in range(1, 8):
        ring.append([happened("active", 1, 1, attempt=attempt), CronDeleted("x")])
    question = JobHistory(1)
    slices = ring.read(question)
    next(slices)
    ring.append([happened("completed", 1, 1)])
    assert len(list(slices)) == 1
    assert [entry.attempt for entry in question.answer()[0]] == [3, 4, 5, 6, 7]


# --- the engine, told by random stories ---

LEAVES = {
    "pushed": (WAITING,),
    "delayed": (DELAYED, WAITING),
    "waiting-children": (WAITING_CHILDREN,),
    "ready": (WAITING,),
    "active": (ACTIVE,),
    "completed": (COMPLETED, UNKNOWN),
    "retrying": (DELAYED, WAITING),
    "released": (DELAYED, WAITING),
    "dead": (FAILED,),
    "retried": (WAITING,),
    "cancelled": (UNKNOWN,),
    "expired": (UNKNOWN,),
    "purged": (UNKNOWN,),
    "restored": (WAITING,),
}
"""In which states a job can be whose newest entry is this one. A completed job is forgotten one day, and the end of a
delay is no entry."""

TOLD_AS = {"failed": "dead", "timeout": "timeout", "pushed": "pushed", "active": "active", "completed": "completed",
           "retrying": "retrying", "cancelled": "cancelled", "expired": "expired"}  # fmt: skip
"""What an event that is told to listeners is called in the history."""


class Audited(Teller):
    """A teller whose bench keeps the history, next to the events as listeners hear them."""

    def __init__(self) -> None:
        super().__init__(Bench(**SMALL))
        self._begin()

    def restart(self) -> None:
        """The server is killed, and another one starts on what is remembered."""
        self.bench.take()
        self.bench.restart()
        self._begin()

    def history(self, id: int) -> list[HistoryEntry]:
        """What is remembered of a job."""
        self.bench.take()
        return history(id, *self.bench.memory.log)

    def _begin(self) -> None:
        outbox = self.bench.engine.outbox
        outbox.auditing = True
        outbox.operated(STARTED, self.bench.now)


@TELL
@given(STORIES, st.sets(st.integers(0, 60), max_size=3))
def test_every_history_agrees_with_what_listeners_heard(story: list[Step], restarts: set[int]) -> None:
    """Job by job, over restarts: the events, in order and at their times, and at the end the state the job is in."""
    teller = Audited()
    for place, step in enumerate(story):
        if place in restarts:
            teller.restart()
        teller.tell(step)
    engine = teller.bench.engine
    for id in range(1, engine.jobs.next_id):
        entries = teller.history(id)
        heard = [
            (TOLD_AS[event.event_type], event.timestamp)
            for event in teller.bench.events
            if event.job_id == id and event.event_type in TOLD_AS
        ]
        told = [
            (entry.event, entry.at)
            for entry in entries
            if entry.event in TOLD_AS.values() and entry.detail != "went on after a restart"
        ]
        assert told == heard, id
        assert entries[0].event == "pushed"
        assert engine.jobs.state(id) in LEAVES[entries[-1].event], (id, entries)
        _check_attempts(entries)


def _check_attempts(entries: list[HistoryEntry]) -> None:
    """Attempts are numbered from 1; those that failed are counted, those that were released are not."""
    failed, active = 0, False
    for entry in entries:
        if entry.event == "active":
            assert not active
            active = True
        elif entry.event in ("completed", "failed", "timeout", "released", "restored"):
            assert active
        if entry.event in ("active", "completed", "failed", "timeout", "released", "restored"):
            assert entry.attempt == failed + 1
        else:
            assert entry.attempt == 0
        if entry.event == "retried":
            failed = 0
        failed += entry.event in ("failed", "timeout")
        active = active and entry.event == "active"
