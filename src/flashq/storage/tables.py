"""The tables of a SQLite database: how a folded window gets into them and how rows come out.

Speed here is a matter of how often the interpreter's lock changes hands: SQLite gives it up at every statement, and
while the event loop is busy each return waits for its turn. So hundreds of rows go with one statement:

- a batch of plain jobs as one list of payloads; what they share is bound once (1.7 million rows a second),
- other jobs as rows of a VALUES list (0.8 million), changes as an UPDATE from such a list,
- deletions as one JSON list of ids.

Statements have a few fixed lengths, the rest of their places is filled with NULL and skipped: a text that is always
the same is compiled once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeVar

import apsw
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
from flashq.engine.trail import Numbered, Operations, Question, numbered
from flashq.errors import StorageError
from flashq.model import WAITING
from flashq.protocol.limits import MAX_HISTORY, MAX_ID
from flashq.storage import statements as sql
from flashq.storage.fold import Fold
from flashq.storage.rows import (
    Meta,
    Row,
    changed_members,
    cron_row,
    finished_members,
    happened_back,
    happened_rows,
    jobs_of,
    json_list,
    operated_back,
    operated_row,
    progressed_members,
    queue_row,
    stored_cron,
    stored_job,
    stored_webhook,
    webhook_row,
)

SLICE_ROWS: Final = 1_000
SLICE_BYTES: Final = 1024 * 1024
"""Rows or payload after which a transaction of upkeep ends: one to three milliseconds for which a commit would wait."""

MAX_OPERATIONS: Final = 100_000
"""Actions of operators that are kept: people make them one by one, so this is years; a program that goes wild may not
fill the disk with them."""

_Item = TypeVar("_Item")

_IDS_AT_ONCE: Final = 2_000
_ROWS_AT_ONCE: Final = 200


class Tables:
    """The tables of one database.

    Attributes:
        meta: where they stand.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        """Look at the tables of a database with the newest schema.

        Raises:
            StorageError: they do not say where they stand.
        """
        self._db = connection
        row = connection.execute(sql.SELECT_META).get
        if row is None:
            raise StorageError(f"{connection.filename}: the database is damaged: the table meta is empty")
        self.meta = Meta(*row)

    def newest(self) -> int:
        """Number of the newest group, folded or not."""
        number = self._db.execute("SELECT max(number) FROM journal").get
        return self.meta.folded if number is None else int(number)

    def groups(self, after: int) -> Iterator[tuple[int, bytes]]:
        """The groups of the journal behind one; see `flashq.storage.windows.Tables`.

        Each with a statement of its own: one that is under way would keep the log from being moved.
        """
        number = after + 1
        while (blob := self._group(number)) is not None:
            yield number, blob
            number += 1

    def group(self, number: int) -> bytes:
        """A group that is in the journal.

        Raises:
            StorageError: it is not.
        """
        blob = self._group(number)
        if blob is None:
            raise StorageError(f"{self._db.filename}: group {number} is missing from the journal")
        return blob

    def start_epoch(self, above: int = 0) -> None:
        """Count this start, with a number above ``above``, and clear away what an unfinished window left."""
        with self._transaction():
            self._db.execute("DELETE FROM jobs WHERE id >= ?", (self.meta.next_id,))
            self._db.execute("DELETE FROM inputs WHERE child >= ?", (self.meta.next_id,))
            self._db.execute("DELETE FROM audit WHERE number > ?", (self.meta.audited,))
            self._db.execute("DELETE FROM operations WHERE number > ?", (self.meta.audited,))
            self._db.execute("UPDATE meta SET epoch = max(epoch, ?) + 1", (above,))
        self.meta.epoch = max(self.meta.epoch, above) + 1

    def snapshot(self) -> Snapshot:
        """What the tables hold, without the journal. The jobs are read from the database one by one."""
        meta = self.meta
        select = self._db.execute
        return Snapshot(
            next_id=meta.next_id,
            epoch=meta.epoch,
            completions=meta.completions,
            jobs=self._jobs(),
            queues=[queue_row(row) for row in select(sql.SELECT_QUEUES)],
            crons=[cron_row(row) for row in select(sql.SELECT_CRONS)],
            dropped=[id for (id,) in select(sql.SELECT_DROPPED, (meta.dropped,))],
            webhooks=[webhook_row(row) for row in select(sql.SELECT_WEBHOOKS)],
            calls=[CallRow(*row) for row in select(sql.SELECT_CALLS)],
            importing=meta.importing,
        )

    def apply(self, fold: Fold, last: int) -> Iterator[None]:
        """Bring a settled window into the tables.

        Everything but the end may be done twice, so the work is cut into small transactions; a crash between two of
        them leaves a window that is not marked as folded and will be folded again.

        Args:
            fold: the window; begins behind what is folded.
            last: number of its last group.

        Yields:
            After each transaction but the last.
        """
        work = self._work(fold)
        while True:
            with self._transaction():
                spent = 0
                for rows in work:
                    spent += rows
                    if spent >= SLICE_ROWS:
                        break
                else:
                    self._finish(fold, last)
                    break
            yield

    def trail(self, question: Question) -> Iterator[Numbered]:
        """What the tables hold for a question, in its order; without what an unfinished window has left in them."""
        if isinstance(question, Operations):
            before = min(question.before or MAX_ID, self.meta.audited + 1)
            rows = self._db.execute(sql.SELECT_OPERATIONS, (before, question.since, question.limit + 1)).fetchall()
            return map(operated_back, reversed(rows))
        id, audited = question.id, self.meta.audited
        found = self._db.execute(sql.SELECT_HISTORY, (id, audited, id - MAX_SPAN + 1, MAX_HISTORY + 1)).fetchall()
        if not found:
            return iter(())
        starts = self._db.execute(sql.SELECT_STARTS, (found[-1][0], audited)).fetchall()
        return merge(map(happened_back, reversed(found)), map(operated_back, starts), key=itemgetter(0))

    def trim(self, since: int, max_rows: int) -> Iterator[None]:
        """Let go of the oldest of the trail.

        Args:
            since: nothing older is kept (wall ms).
            max_rows: of the jobs' entries, so many are kept.

        Yields:
            Before each transaction.
        """
        audited = self.meta.audited
        for text, oldest in ((sql.TRIM_AUDIT, audited - max_rows), (sql.TRIM_OPERATIONS, self._oldest_operation())):
            gone = SLICE_ROWS
            while gone == SLICE_ROWS:
                yield
                with self._transaction():
                    self._db.execute(text, (SLICE_ROWS, oldest, since))
                    gone = self._db.changes()

    def _oldest_operation(self) -> int:
        """Up to which number there are more actions than are kept; 0: none."""
        return int(self._db.execute(sql.EXCESS_OPERATION, (MAX_OPERATIONS,)).get or 0)

    def _work(self, fold: Fold) -> Iterator[int]:
        """Do everything of a window that may be done twice; yields after each statement how many rows it was."""
        for ids in _pieces(fold.ended(), _IDS_AT_ONCE):
            self._db.execute(sql.DELETE_JOBS, (json_list(ids),))
            yield len(ids) // 2
        yield from self._many(sql.CHANGE_UPDATES, map(changed_members, fold.changed()))
        yield from self._many(sql.PROGRESS_UPDATES, map(progressed_members, fold.progressed()))
        yield from self._many(sql.FINISH_UPDATES, map(finished_members, fold.finished()))
        yield from self._collect(fold)
        yield from self._insert(fold.born())
        number = self.meta.dropped + 1
        for ids in _pieces(fold.dropped, _IDS_AT_ONCE):
            self._db.execute(sql.ADD_DROPPED, (number, json_list(ids)))
            number += len(ids)
            yield len(ids)
        yield from self._audit(fold)
        yield from self._calls(fold)
        yield from self._forget(fold)

    def _calls(self, fold: Fold) -> Iterator[int]:
        """What is owed to webhooks. A call made and over in the window may be there from an earlier try of it."""
        for numbers in _pieces(fold.calls_over, _IDS_AT_ONCE):
            self._db.execute(sql.DELETE_CALLS, (json_list(numbers),))
            yield len(numbers)
        for id in [id for id, row in fold.webhooks.items() if row is None]:
            self._db.execute("DELETE FROM webhook_calls WHERE webhook = ?", (id,))
            yield SLICE_ROWS
        for call in fold.calls.values():
            self._db.execute(sql.ADD_CALL, structs.astuple(call))
            yield 1 + _in_rows(len(call.body))

    def _audit(self, fold: Fold) -> Iterator[int]:
        records, _ = numbered(fold.audit, self.meta.audited)
        happened = [
            row for number, record in records if isinstance(record, Happened) for row in happened_rows(number, record)
        ]
        operated = [operated_row(number, record) for number, record in records if isinstance(record, Operated)]
        yield from self._many(sql.AUDIT_INSERTS, happened)
        yield from self._many(sql.OPERATION_INSERTS, operated)

    def _collect(self, fold: Fold) -> Iterator[int]:
        """Inputs of older jobs: those that came, and those that nobody needs any more."""
        for id, excess in fold.overfilled():
            self._db.execute(sql.OVERFILL, (excess, id))
            yield 1
        if self._db.execute(sql.ANY_INPUTS).get:
            for ids in _pieces(fold.without_inputs(), _IDS_AT_ONCE):
                self._db.execute(sql.DELETE_INPUTS, (json_list(ids),))
                yield len(ids)
        for id, inputs in fold.collected():
            yield from self._insert_inputs(id, inputs)

    def _insert_inputs(self, id: int, inputs: Iterable[tuple[int, bytes]]) -> Iterator[int]:
        for parent, result in inputs:
            self._db.execute(sql.ADD_INPUT, (id, parent, result))
            yield 1 + _in_rows(len(result))

    def _insert(self, born: Iterable[Pushed | JobRow]) -> Iterator[int]:
        rows: list[Row] = []
        size = 0
        for birth in born:
            if isinstance(birth, JobRow):
                rows.append(stored_job(birth))
                size += len(birth.data)
                if birth.inputs is not None:
                    yield from self._insert_inputs(birth.id, birth.inputs)
            else:
                yield from self._insert_batch(birth)
            if len(rows) >= _ROWS_AT_ONCE or size >= SLICE_BYTES:
                yield from self._many(sql.ROW_INSERTS, rows)
                yield _in_rows(size)
                rows.clear()
                size = 0
        yield from self._many(sql.ROW_INSERTS, rows)

    def _insert_batch(self, run: Pushed) -> Iterator[int]:
        first, size = run.first, sum(map(len, run.data))
        at_once = SLICE_BYTES * len(run.data) // (size or 1)
        for data in _pieces(run.data, max(1, min(at_once, max(sql.BATCH_INSERTS)))):
            places = _smallest(sql.BATCH_INSERTS, len(data))
            shared = (first, run.queue, WAITING, run.priority, run.created_at, run.created_at)
            options = (run.max_attempts, run.backoff, run.ttl, run.timeout)
            self._db.execute(sql.BATCH_INSERTS[places], (*shared, *options, *data, *[None] * (places - len(data))))
            first += len(data)
            yield len(data) + _in_rows(size * len(data) // len(run.data))

    def _many(self, statements: Mapping[int, str], rows: Iterable[Row]) -> Iterator[int]:
        """Run one of the statements, which differ in how many rows they take, as often as the rows need."""
        for piece in _pieces(list(rows), max(statements)):
            size = _smallest(statements, len(piece))
            blank = [None] * len(piece[0]) * (size - len(piece))
            self._db.execute(statements[size], (*chain.from_iterable(piece), *blank))
            yield len(piece)

    def _forget(self, fold: Fold) -> Iterator[int]:
        forget, forget_results = fold.forget, fold.forget_results
        while forget > self.meta.forget:
            self._db.execute(sql.FORGET_SOME, (forget, SLICE_ROWS))
            forgotten = self._db.changes()
            yield forgotten
            if forgotten < SLICE_ROWS:
                break
        for number in range(max(self.meta.forget_results, forget, 1), forget_results, SLICE_ROWS):
            self._db.execute(sql.FORGET_RESULTS, (number, min(number + SLICE_ROWS, forget_results)))
            yield _IDS_AT_ONCE // 10

    def _finish(self, fold: Fold, last: int) -> None:
        """What must be done once: the counters, and the mark that says so, in one transaction."""
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
        for _ in self._many(sql.QUEUE_COUNTS, map(structs.astuple, fold.queues.values())):
            pass
        for _ in self._many(sql.QUEUE_SETTINGS, settings):
            pass
        for name, cron in fold.crons.items():
            if cron is None:
                self._db.execute("DELETE FROM crons WHERE name = ?", (name,))
            else:
                self._db.execute(sql.SET_CRON, stored_cron(cron))
        for id, webhook in fold.webhooks.items():
            if webhook is None:
                self._db.execute("DELETE FROM webhooks WHERE id = ?", (id,))
            else:
                self._db.execute(sql.SET_WEBHOOK, stored_webhook(webhook))
        self._db.execute("DELETE FROM dropped WHERE number <= ?", (meta.dropped - KEEP_DROPPED,))
        self._db.execute("DELETE FROM journal WHERE number <= ?", (last,))
        self._db.execute(sql.UPDATE_META, structs.astuple(meta))
        self.meta = meta

    def _jobs(self) -> Iterator[JobRow | Pushed]:
        return jobs_of(self._db.execute(sql.SELECT_JOBS, (self.meta.next_id,)), self._inputs)

    def _inputs(self, id: int) -> list[tuple[int, bytes]] | None:
        rows: list[Any] = self._db.execute(sql.SELECT_INPUTS, (id,)).fetchall()
        return rows or None

    def _group(self, number: int) -> bytes | None:
        blob: bytes | None = self._db.execute("SELECT blob FROM journal WHERE number = ?", (number,)).get
        return blob

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        yield
        self._db.execute("COMMIT")


def _in_rows(size: int) -> int:
    """Payload bytes as the number of rows that take as long to write."""
    return size * SLICE_ROWS // SLICE_BYTES


def _pieces(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _smallest(statements: Mapping[int, str], rows: int) -> int:
    return min(size for size in statements if size >= rows)
