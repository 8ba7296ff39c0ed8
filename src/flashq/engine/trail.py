"""What the audit records say: the history of one job, and what operators did. Pure.

A question is asked by feeding it, in their order, all records that may belong to its answer; whoever keeps them (tables
and a journal, or a ring in memory) knows which these are. So there is one meaning of a record, whoever keeps it.

Nothing about a delivery is stored among the jobs, and nobody is there to note what a crash cuts short. That a job was
ready again after a restart follows from what is noted: it was active, and then the server started.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from flashq.engine.records import SERVER, STARTED, Happened, Operated, Record
from flashq.model import HistoryEntry, Operation
from flashq.protocol.limits import MAX_HISTORY

Audited = Happened | Operated
Numbered = tuple[int, Audited]
"""A record and the number of its first row: rows of the trail are numbered 1, 2, 3 ... in their order."""

RING_ENTRIES: Final = 100_000
"""Records that a server without storage keeps: some 30 MB, and a glance at all of them takes about ten milliseconds."""

_SLICE: Final = 5_000
"""Records looked at before others have their turn: below a millisecond."""


class JobHistory:
    """The question what happened to one job: its newest entries, oldest first.

    Attributes:
        id: the job.
    """

    def __init__(self, id: int) -> None:
        self.id = id
        self._entries: deque[HistoryEntry] = deque(maxlen=MAX_HISTORY)
        self._count = 0
        self._running: HistoryEntry | None = None  # the newest entry, when it says that the job is active

    def feed(self, records: Iterable[Numbered]) -> None:
        """Take the next records, in their order; those of other jobs are left."""
        for _, record in records:
            if isinstance(record, Happened):
                if self._is_named(record.runs):
                    self._add(_entry(record))
            elif record.action == STARTED and self._running is not None:
                running = self._running
                self._add(
                    HistoryEntry(
                        record.at,
                        "restored",
                        running.queue,
                        running.attempt,
                        running.worker,
                        SERVER.name,
                        None,
                        None,
                        None,
                    )
                )

    def answer(self) -> tuple[list[HistoryEntry], bool]:
        """The entries, and whether older ones were left out."""
        return list(self._entries), self._count > len(self._entries)

    def _is_named(self, runs: Sequence[int]) -> bool:
        id = self.id
        return any(runs[at] <= id < runs[at] + runs[at + 1] for at in range(0, len(runs), 2))

    def _add(self, entry: HistoryEntry) -> None:
        self._entries.append(entry)
        self._count += 1
        self._running = entry if entry.event == "active" else None


class Operations:
    """The question what operators did: the newest actions, newest first.

    Attributes:
        since: no older ones (wall ms).
        limit: at most so many.
        before: only those with smaller numbers; 0: all.
    """

    def __init__(self, since: int, limit: int, before: int) -> None:
        self.since = since
        self.limit = limit
        self.before = before
        self._found: deque[tuple[int, Operated]] = deque(maxlen=limit + 1)

    def feed(self, records: Iterable[Numbered]) -> None:
        """Take the next records, in their order."""
        for number, record in records:
            if isinstance(record, Operated) and record.at >= self.since and (not self.before or number < self.before):
                self._found.append((number, record))

    def answer(self) -> tuple[list[Operation], int]:
        """The actions, and the number to go on ``before``, 0 when there are no more."""
        found = list(self._found)[::-1]
        more = found[self.limit - 1][0] if len(found) > self.limit else 0
        return [_operation(number, record) for number, record in found[: self.limit]], more


Question = JobHistory | Operations


class Ring:
    """The newest audit records of a server that has no storage."""

    def __init__(self) -> None:
        self._kept: deque[Numbered] = deque(maxlen=RING_ENTRIES)
        self._number = 0

    def append(self, records: Iterable[Record]) -> None:
        """Keep those that belong to the trail."""
        more, self._number = numbered(records, self._number)
        self._kept += more

    def read(self, question: Question) -> Iterator[None]:
        """Feed a question, a slice at a time; what is appended meanwhile is not seen."""
        kept = list(self._kept)
        question.feed(kept[:_SLICE])
        for start in range(_SLICE, len(kept), _SLICE):
            yield
            question.feed(kept[start : start + _SLICE])


def numbered(records: Iterable[Record], newest: int) -> tuple[list[Numbered], int]:
    """The audit records among others, with the numbers of their rows.

    Args:
        records: in their order.
        newest: the number of the last row before them.

    Returns:
        Them, and the number of the last row of the last one.
    """
    found: list[Numbered] = []
    for record in records:
        if isinstance(record, Happened):
            found.append((newest + 1, record))
            newest += len(record.runs) // 2
        elif isinstance(record, Operated):
            found.append((newest + 1, record))
            newest += 1
    return found, newest


def _entry(record: Happened) -> HistoryEntry:
    by = record.by
    return HistoryEntry(
        record.at, record.event, record.queue, record.attempt, record.worker, by.name, by.peer, by.door, record.detail
    )


def _operation(number: int, record: Operated) -> Operation:
    by = record.by
    return Operation(number, record.at, record.action, record.target, by.name, by.peer, by.door, record.detail)
