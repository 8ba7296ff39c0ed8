"""The tables of a database: how a folded window gets into them and how rows come out. For any SQL backend.

What is done, in which order and in which slices is the same everywhere; how a database is told stands in its
*dialect* (`flashq.storage.sqlite_dialect`, `flashq.storage.postgres_dialect`).

Everything is done in slices, a transaction each. So what `Tables.meta` says is never ahead of the database, and what a
crash takes away belongs to a window that is folded again from its beginning.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from heapq import merge
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Protocol

from msgspec import structs

from flashq.engine.records import (
    KEEP_DROPPED,
    MAX_SPAN,
    CallRow,
    Happened,
    JobRow,
    Operated,
    Pushed,
    Snapshot,
)
from flashq.engine.trail import Audited, Numbered, Operations, Question, numbered
from flashq.errors import StorageError
from flashq.protocol.limits import MAX_HISTORY, MAX_ID
from flashq.storage import statements as sql
from flashq.storage.fold import Fold
from flashq.storage.rows import (
    CHANGED,
    FINISHED,
    PROGRESSED,
    SETTINGS,
    Meta,
    Row,
    changed_members,
    cron_row,
    finished_members,
    happened_back,
    happened_rows,
    jobs_of,
    operated_back,
    operated_row,
    pieces,
    progressed_members,
    queue_row,
    stored_cron,
    stored_job,
    stored_webhook,
    webhook_row,
)

SLICE_ROWS: Final = 1_000
SLICE_BYTES: Final = 1024 * 1024
"""Rows or payload after which a transaction of upkeep ends: one to five milliseconds for which a commit would wait."""

MAX_OPERATIONS: Final = 100_000
"""Actions of operators that are kept: people make them one by one, so this is years; a program that goes wild may not
fill the disk with them."""

PAGE_ROWS: Final = 10_000
"""Rows of the trail that are read at once: enough that the way there and back does not count."""

_IDS_AT_ONCE: Final = 2_000


class Dialect(Protocol):
    """How one database is told what to do.

    Attributes:
        place: what it is called in sentences.
        rows_at_once: how many rows one statement takes at the most.
    """

    place: str
    rows_at_once: int

    def transaction(self, epoch: int) -> AbstractContextManager[None]:
        """Everything inside happens or nothing does, if the start with this number is still the newest."""
        ...

    def fetch(self, text: str, *values: object) -> Sequence[Row]:
        """Run one of `flashq.storage.statements`. Returns its rows."""
        ...

    def delete_some(self, text: str, *values: object) -> int:
        """Run one of these that deletes rows. Returns how many."""
        ...

    def meta(self) -> Meta:
        """Where the tables stand.

        Raises:
            StorageError: they do not say it.
        """
        ...

    def settle(self, meta: Meta) -> None:
        """Say where the tables stand, in the last transaction of a window."""
        ...

    def groups(self, after: int) -> Iterator[tuple[int, bytes]]:
        """The groups of the journal behind the one with this number, in their order, with theirs."""
        ...

    def jobs(self, before: int) -> Iterator[tuple[Any, ...]]:
        """The rows of the jobs below an id, in the order of their ids."""
        ...

    def inputs(self, id: int) -> list[tuple[int, bytes]]:
        """What a job has collected."""
        ...

    def all(self, table: str) -> Iterable[Row]:
        """A table as a whole, by its key."""
        ...

    def insert_jobs(self, rows: Sequence[Row]) -> None:
        """Jobs, one by one."""
        ...

    def insert_batch(self, run: Pushed, first: int, data: Sequence[bytes]) -> None:
        """Jobs with consecutive ids from ``first``: these payloads out of a batch."""
        ...

    def update(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Change columns that change together; the key of each row comes first."""
        ...

    def count(self, rows: Sequence[Row]) -> None:
        """Add to the counters of queues."""
        ...

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """Rows of the trail, which an earlier try of the window may have left there."""
        ...

    def add_dropped(self, number: int, ids: Sequence[int]) -> None:
        """Ids that ended without completing, numbered from ``number``."""
        ...

    def put(self, table: str, row: Row) -> None:
        """A row in the place of one that may be there."""
        ...

    def delete(self, table: str, ids: Sequence[int]) -> None:
        """The rows that belong to these ids."""
        ...


class Tables:
    """The tables of one database.

    Attributes:
        meta: where they stand.
    """

    def __init__(self, dialect: Dialect) -> None:
        """Look at the tables of a database with the newest schema.

        Raises:
            StorageError: they do not say where they stand.
        """
        self._db = dialect
        self.meta = dialect.meta()

    def restart(self, epoch: int = 0) -> None:
        """After a start or a lost connection: look where things stand, and clear away what an unfinished window left.

        Args:
            epoch: number of this start, to be written down along with it; 0: that has been done elsewhere.
        """
        meta = self._db.meta()
        with self._db.transaction(meta.epoch):
            for text, mark in sql.LEFTOVERS:
                self._db.fetch(text, getattr(meta, mark))
            if epoch:
                self._db.fetch(sql.START, epoch)
        self.meta = structs.replace(meta, epoch=epoch or meta.epoch)

    def newest(self) -> int:
        """Number of the newest group, folded or not."""
        ((number,),) = self._db.fetch(sql.NEWEST)
        return self.meta.folded if number is None else int(number)

    def groups(self, after: int) -> Iterator[tuple[int, bytes]]:
        """The groups of the journal behind the one with this number, in their order, with theirs."""
        return self._db.groups(after)

    def group(self, number: int) -> bytes:
        """A group that is in the journal.

        Raises:
            StorageError: it is not.
        """
        rows = self._db.fetch(sql.GROUP, number)
        if not rows:
            raise StorageError(f"{self._db.place}: group {number} is missing from the journal")
        blob: bytes = rows[0][0]
        return blob

    def snapshot(self) -> Snapshot:
        """What the tables hold, without the journal. The jobs are read one by one, or page by page."""
        meta, rows = self.meta, self._db.all
        return Snapshot(
            next_id=meta.next_id,
            epoch=meta.epoch,
            completions=meta.completions,
            jobs=jobs_of(self._db.jobs(meta.next_id), lambda id: self._db.inputs(id) or None),
            queues=list(map(queue_row, rows("queues"))),
            crons=list(map(cron_row, rows("crons"))),
            dropped=[id for (id,) in self._db.fetch(sql.SELECT_DROPPED, meta.dropped)],
            webhooks=list(map(webhook_row, rows("webhooks"))),
            calls=[CallRow(*row) for row in rows("webhook_calls")],
            importing=meta.importing,
        )

    def counts(self) -> tuple[int, int]:
        """How many jobs there are, and how many results that some have collected."""
        ((jobs, inputs),) = self._db.fetch(sql.COUNTS)
        return jobs, inputs

    def orphans(self) -> list[int]:
        """Ids for which results were collected, of jobs that do not collect or are not there; ascending."""
        return [child for (child,) in self._db.fetch(sql.ORPHANS, self.meta.next_id)]

    def apply(self, fold: Fold, last: int) -> Iterator[None]:
        """Bring a settled window into the tables.

        Everything but the end may be done twice, or be lost as long as the window is then begun anew. So the work is
        cut into small transactions; a crash between two of them leaves a window that is not marked as folded.

        Args:
            fold: the window; begins behind what is folded.
            last: number of its last group.

        Yields:
            After each transaction but the last.
        """
        work, after = self._work(fold), None
        while after is None:
            with self._db.transaction(self.meta.epoch):
                spent = 0
                for rows in work:
                    spent += rows
                    if spent >= SLICE_ROWS:
                        break
                else:
                    after = self._finish(fold, last)
            if after is None:
                yield
        self.meta = after

    def trail(self, question: Question) -> Iterable[Numbered]:
        """What the tables hold for a question, in its order; without what an unfinished window has left in them."""
        fetch = self._db.fetch
        if isinstance(question, Operations):
            before = min(question.before or MAX_ID, self.meta.audited + 1)
            rows = fetch(sql.SELECT_OPERATIONS, before, question.since, question.limit + 1)
            return map(operated_back, reversed(rows))
        id, audited = question.id, self.meta.audited
        found = fetch(sql.SELECT_HISTORY, id, audited, id - MAX_SPAN + 1, MAX_HISTORY + 1)
        if not found:
            return ()
        starts = fetch(sql.SELECT_STARTS, found[-1][0], audited)
        return merge(map(happened_back, reversed(found)), map(operated_back, starts), key=itemgetter(0))

    def whole_trail(self) -> Iterator[Audited]:
        """Everything of the trail that the tables hold, in its order; page by page."""
        happened = map(happened_back, self._pages(sql.TRAIL_PAGE))
        operated = map(operated_back, self._pages(sql.ACTIONS_PAGE))
        return (record for _, record in merge(happened, operated, key=itemgetter(0)))

    def trim(self, since: int, max_rows: int) -> Iterator[None]:
        """Let go of the oldest of the trail.

        Args:
            since: nothing older is kept (wall ms).
            max_rows: of the jobs' entries, so many are kept.

        Yields:
            Before each transaction.
        """
        excess = self._db.fetch(sql.EXCESS_OPERATION, MAX_OPERATIONS)
        oldest_operation = excess[0][0] if excess else 0
        for text, oldest in ((sql.TRIM_AUDIT, self.meta.audited - max_rows), (sql.TRIM_OPERATIONS, oldest_operation)):
            gone = SLICE_ROWS
            while gone == SLICE_ROWS:
                yield
                with self._db.transaction(self.meta.epoch):
                    gone = self._db.delete_some(text, SLICE_ROWS, oldest, since)

    def _pages(self, text: str) -> Iterator[Row]:
        """The rows of a statement that takes the number after which it begins, the last number, and how many."""
        after = 0
        while page := self._db.fetch(text, after, self.meta.audited, PAGE_ROWS):
            yield from page
            after = page[-1][0]

    def _work(self, fold: Fold) -> Iterator[int]:
        """Do everything of a window that may be done twice; yields after each statement how many rows it was."""
        for ids in pieces(fold.ended(), _IDS_AT_ONCE):
            self._db.delete("jobs", ids)
            yield len(ids) // 2
        yield from self._many(partial(self._db.update, CHANGED), map(changed_members, fold.changed()))
        yield from self._many(partial(self._db.update, PROGRESSED), map(progressed_members, fold.progressed()))
        yield from self._many(partial(self._db.update, FINISHED), map(finished_members, fold.finished()))
        yield from self._collect(fold)
        yield from self._insert(fold.born())
        number = self.meta.dropped + 1
        for ids in pieces(fold.dropped, _IDS_AT_ONCE):
            self._db.add_dropped(number, ids)
            number += len(ids)
            yield len(ids)
        yield from self._audit(fold)
        yield from self._calls(fold)
        yield from self._forget(fold)

    def _collect(self, fold: Fold) -> Iterator[int]:
        """Inputs of older jobs: those that came, and those that nobody needs any more."""
        for id, excess in fold.overfilled():
            self._db.fetch(sql.OVERFILL, id, excess)
            yield 1
        if self._db.fetch(sql.ANY_INPUTS)[0][0]:
            for ids in pieces(fold.without_inputs(), _IDS_AT_ONCE):
                self._db.delete("inputs", ids)
                yield len(ids)
        for id, inputs in fold.collected():
            yield from self._insert_inputs(id, inputs)

    def _insert_inputs(self, id: int, inputs: Iterable[tuple[int, bytes]]) -> Iterator[int]:
        for parent, result in inputs:
            self._db.put("inputs", (id, parent, result))
            yield 1 + _in_rows(len(result))

    def _insert(self, born: Iterable[Pushed | JobRow]) -> Iterator[int]:
        rows: list[Row] = []
        size = 0
        for birth in born:
            if isinstance(birth, Pushed):
                yield from self._insert_batch(birth)
                continue
            rows.append(stored_job(birth))
            size += len(birth.data)
            if birth.inputs is not None:
                yield from self._insert_inputs(birth.id, birth.inputs)
            if len(rows) >= self._db.rows_at_once or size >= SLICE_BYTES:
                yield from self._many(self._db.insert_jobs, rows)
                yield _in_rows(size)
                rows, size = [], 0
        yield from self._many(self._db.insert_jobs, rows)
        yield _in_rows(size)

    def _insert_batch(self, run: Pushed) -> Iterator[int]:
        first, size = run.first, sum(map(len, run.data))
        at_once = SLICE_BYTES * len(run.data) // (size or 1)
        for data in pieces(run.data, max(1, min(at_once, SLICE_ROWS))):
            self._db.insert_batch(run, first, data)
            first += len(data)
            yield len(data) + _in_rows(size * len(data) // len(run.data))

    def _audit(self, fold: Fold) -> Iterator[int]:
        records, _ = numbered(fold.audit, self.meta.audited)
        happened = (happened_rows(number, record) for number, record in records if isinstance(record, Happened))
        operated = (operated_row(number, record) for number, record in records if isinstance(record, Operated))
        yield from self._many(partial(self._db.append, "audit"), chain.from_iterable(happened))
        yield from self._many(partial(self._db.append, "operations"), operated)

    def _calls(self, fold: Fold) -> Iterator[int]:
        """What is owed to webhooks. A call made and over in the window may be there from an earlier try of it."""
        for numbers in pieces(fold.calls_over, _IDS_AT_ONCE):
            self._db.delete("webhook_calls", numbers)
            yield len(numbers)
        for id in [id for id, row in fold.webhooks.items() if row is None]:
            self._db.fetch(sql.DELETE_CALLS_OF, id)
            yield SLICE_ROWS
        for call in fold.calls.values():
            self._db.put("webhook_calls", structs.astuple(call))
            yield 1 + _in_rows(len(call.body))

    def _forget(self, fold: Fold) -> Iterator[int]:
        forget, forget_results = fold.forget, fold.forget_results
        while forget > self.meta.forget:
            forgotten = self._db.delete_some(sql.FORGET_SOME, forget, SLICE_ROWS)
            yield forgotten
            if forgotten < SLICE_ROWS:
                break
        for number in range(max(self.meta.forget_results, forget, 1), forget_results, SLICE_ROWS):
            self._db.fetch(sql.FORGET_RESULTS, number, min(number + SLICE_ROWS, forget_results))
            yield _IDS_AT_ONCE // 10

    def _finish(self, fold: Fold, last: int) -> Meta:
        """What must be done once: the counters, and the mark that says so, in one transaction. Returns the mark."""
        meta = structs.replace(
            self.meta,
            folded=last,
            next_id=fold.next_id,
            completions=max(self.meta.completions, fold.completions),
            forget=max(self.meta.forget, fold.forget),
            forget_results=max(self.meta.forget_results, fold.forget_results),
            dropped=self.meta.dropped + len(fold.dropped),
            audited=numbered(fold.audit, self.meta.audited)[1],
            importing=self.meta.importing if fold.importing is None else fold.importing,
        )
        configured = [fold.queues[name] for name in fold.configured]
        settings = [(row.name, row.paused, row.rate_limit, row.concurrency_limit) for row in configured]
        for _ in self._many(self._db.count, map(structs.astuple, fold.queues.values())):
            pass
        for _ in self._many(partial(self._db.update, SETTINGS), settings):
            pass
        for name, cron in fold.crons.items():
            if cron is None:
                self._db.fetch(sql.DELETE_CRON, name)
            else:
                self._db.put("crons", stored_cron(cron))
        for id, webhook in fold.webhooks.items():
            if webhook is None:
                self._db.fetch(sql.DELETE_WEBHOOK, id)
            else:
                self._db.put("webhooks", stored_webhook(webhook))
        self._db.fetch(sql.FORGET_DROPPED, meta.dropped - KEEP_DROPPED)
        self._db.fetch(sql.FORGET_GROUPS, last)
        self._db.settle(meta)
        return meta

    def _many(self, write: Callable[[list[Row]], None], rows: Iterable[Row]) -> Iterator[int]:
        """Write rows, as many with one statement as it takes; yields after each how many."""
        for piece in pieces(rows, min(self._db.rows_at_once, SLICE_ROWS)):
            write(piece)
            yield len(piece)


def _in_rows(size: int) -> int:
    """Payload bytes as the number of rows that take as long to write."""
    return size * SLICE_ROWS // SLICE_BYTES
