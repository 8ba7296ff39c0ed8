"""The tables of a PostgreSQL database: how a folded window gets into them and how rows come out.

Everything is done in slices, a transaction each, and each transaction begins with the fence: a server that was
replaced must not touch the tables of its successor. Slices do not wait for the disk; the one that marks a window as
folded does, and takes all before it along. So what `Tables.meta` says is never ahead of the database, and what a crash
of the database takes away belongs to a window that is folded again from its beginning (`Tables.restart`).

New jobs go in as one array of payloads for each batch, which measured as fast as COPY and needs no list of rows; single
ones with COPY; changes as one array a column; deletions as one array of ids.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, Final, TypeVar

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
from flashq.model import WAITING
from flashq.protocol.limits import MAX_HISTORY, MAX_ID
from flashq.storage import postgres_statements as sql
from flashq.storage.fold import Fold
from flashq.storage.postgres_session import Session
from flashq.storage.rows import (
    AUDIT,
    JOB,
    OPERATION,
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
    progressed_members,
    queue_row,
    stored_cron,
    stored_job,
    stored_webhook,
    webhook_row,
)

SLICE_ROWS: Final = 1_000
SLICE_BYTES: Final = 1024 * 1024
"""Rows or payload after which a transaction of upkeep ends: about five milliseconds for which a commit would wait."""

MAX_OPERATIONS: Final = 100_000
"""Actions of operators that are kept: people make them one by one, so this is years; a program that goes wild may not
fill the disk with them."""

PAGE_ROWS: Final = 10_000
PAGE_BYTES: Final = 8 * 1024 * 1024
"""What is read at once of jobs and groups: enough that the way there and back does not count."""

_IDS_AT_ONCE: Final = 2_000
_PLAIN_REST: Final = structs.astuple(JobRow(0, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b""))[len(sql.JOB_HEAD) : len(JOB)]
_TEXTS: Final = [sql.JOB_REST.index(name) for name in ("unique_key", "custom_id", "message")]

_ESCAPE: Final = "\x1a"
_Item = TypeVar("_Item")


class Tables:
    """The tables of one database.

    Attributes:
        meta: where they stand.
    """

    def __init__(self, session: Session) -> None:
        """Look at the tables of a database with the newest schema, as its owner.

        Raises:
            StorageError: they do not say where they stand.
            Away: the database does not answer.
        """
        self._db = session
        self.meta = self._read_meta()

    def restart(self) -> None:
        """After a start or a lost connection: clear away what an unfinished window left, and look where things stand.

        Raises:
            Away, StorageError: as everywhere; nothing is known then, so it has to be done again.
        """
        self.meta = self._read_meta()
        with self._db.transaction(self._begin()):
            for text, mark in sql.LEFTOVERS:
                self._db.fetch(text, getattr(self.meta, mark))

    def newest(self) -> int:
        """Number of the newest group, folded or not."""
        ((number,),) = self._db.fetch(sql.NEWEST)
        return self.meta.folded if number is None else int(number)

    def groups(self, after: int) -> Iterator[tuple[int, bytes]]:
        """The groups of the journal behind one; see `flashq.storage.windows.Tables`."""
        while page := self._db.fetch(sql.GROUPS, after, PAGE_ROWS, PAGE_BYTES):
            yield from map(tuple, page)
            after = page[-1][0]

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
        """What the tables hold, without the journal. The jobs are read page by page."""
        meta, rows = self.meta, self._rows
        return Snapshot(
            next_id=meta.next_id,
            epoch=meta.epoch,
            completions=meta.completions,
            jobs=jobs_of(self._job_rows(), self._inputs),
            queues=list(map(queue_row, rows(sql.SELECT_QUEUES))),
            crons=list(map(cron_row, rows(sql.SELECT_CRONS))),
            dropped=[id for (id,) in rows(sql.SELECT_DROPPED, meta.dropped)],
            webhooks=list(map(webhook_row, rows(sql.SELECT_WEBHOOKS))),
            calls=[CallRow(*row) for row in rows(sql.SELECT_CALLS)],
            importing=meta.importing,
        )

    def apply(self, fold: Fold, last: int) -> Iterator[None]:
        """Bring a settled window into the tables; see `flashq.storage.windows.Tables`.

        Everything but the end may be done twice, or be lost, as long as the window is then begun anew.

        Yields:
            After each transaction but the last.
        """
        work, finished = self._work(fold), None
        while finished is None:
            with self._db.transaction(self._begin()):
                spent = 0
                for rows in work:
                    spent += rows
                    if spent >= SLICE_ROWS:
                        break
                else:
                    finished = self._finish(fold, last)
            if finished is None:
                yield
        self.meta = finished

    def trail(self, question: Question) -> Iterable[Numbered]:
        """What the tables hold for a question, in its order; without what an unfinished window has left in them."""
        if isinstance(question, Operations):
            before = min(question.before or MAX_ID, self.meta.audited + 1)
            rows = self._rows(sql.SELECT_OPERATIONS, before, question.since, question.limit + 1)
            return map(operated_back, reversed(rows))
        id, audited = question.id, self.meta.audited
        found = self._rows(sql.SELECT_HISTORY, id, audited, id - MAX_SPAN + 1, MAX_HISTORY + 1)
        if not found:
            return ()
        starts = self._rows(sql.SELECT_STARTS, found[-1][0], audited)
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
        for text, oldest in (
            (sql.TRIM_AUDIT, self.meta.audited - max_rows),
            (sql.TRIM_OPERATIONS, oldest_operation),
        ):
            gone = SLICE_ROWS
            while gone == SLICE_ROWS:
                yield
                with self._db.transaction(self._begin()):
                    ((gone,),) = self._db.fetch(text, SLICE_ROWS, oldest, since)

    def _begin(self) -> str:
        return f"SET LOCAL synchronous_commit = off; SELECT fence(0, {self.meta.epoch:d})"

    def _read_meta(self) -> Meta:
        rows = self._db.fetch(sql.SELECT_META)
        if not rows:
            raise StorageError(f"{self._db.place}: the database is damaged: the table meta or lease is empty")
        return Meta(*rows[0])

    def _work(self, fold: Fold) -> Iterator[int]:
        """Do everything of a window that may be done twice; yields after each statement how many rows it was."""
        for ids in _pieces(fold.ended(), _IDS_AT_ONCE):
            self._db.fetch(sql.DELETE_JOBS, ids)
            yield len(ids) // 2
        yield from self._many(sql.CHANGE, map(changed_members, fold.changed()))
        yield from self._many(sql.PROGRESS, map(progressed_members, fold.progressed()))
        yield from self._many(sql.FINISH, map(finished_members, fold.finished()))
        yield from self._collect(fold)
        yield from self._insert(fold.born())
        number = self.meta.dropped + 1
        for ids in _pieces(fold.dropped, _IDS_AT_ONCE):
            self._db.fetch(sql.ADD_DROPPED, number, ids)
            number += len(ids)
            yield len(ids)
        yield from self._audit(fold)
        yield from self._calls(fold)
        yield from self._forget(fold)

    def _insert(self, born: Iterable[Pushed | JobRow]) -> Iterator[int]:
        rows: list[Row] = []
        size = 0
        for birth in born:
            if isinstance(birth, Pushed):
                yield from self._insert_batch(birth)
                continue
            rows.append(_with_text(_safe_row(stored_job(birth))))
            size += len(birth.data)
            if birth.inputs is not None:
                yield from self._insert_inputs(birth.id, birth.inputs)
            if len(rows) >= SLICE_ROWS or size >= SLICE_BYTES:
                self._db.copy("jobs", JOB, rows)
                yield len(rows) + _in_rows(size)
                rows, size = [], 0
        if rows:
            self._db.copy("jobs", JOB, rows)
            yield len(rows) + _in_rows(size)

    def _insert_batch(self, run: Pushed) -> Iterator[int]:
        first, size = run.first, sum(map(len, run.data))
        at_once = max(1, min(SLICE_ROWS, SLICE_BYTES * len(run.data) // (size or 1)))
        shared = (_safe(run.queue), WAITING, run.priority, run.created_at)
        options = (run.max_attempts, run.backoff, run.ttl, run.timeout)
        for data in _pieces(run.data, at_once):
            self._db.fetch(sql.INSERT_BATCH, first, *shared, *options, data)
            first += len(data)
            yield len(data) + _in_rows(size * len(data) // len(run.data))

    def _collect(self, fold: Fold) -> Iterator[int]:
        """Inputs of older jobs: those that came, and those that nobody needs any more."""
        for id, excess in fold.overfilled():
            self._db.fetch(sql.OVERFILL, id, excess)
            yield 1
        over = fold.without_inputs()
        if over and self._db.fetch(sql.ANY_INPUTS)[0][0]:
            for ids in _pieces(over, _IDS_AT_ONCE):
                self._db.fetch(sql.DELETE_INPUTS, ids)
                yield len(ids)
        for id, inputs in fold.collected():
            yield from self._insert_inputs(id, inputs)

    def _insert_inputs(self, id: int, inputs: Iterable[tuple[int, bytes]]) -> Iterator[int]:
        for parent, result in inputs:
            self._db.fetch(sql.ADD_INPUT, id, parent, result)
            yield 1 + _in_rows(len(result))

    def _audit(self, fold: Fold) -> Iterator[int]:
        records, _ = numbered(fold.audit, self.meta.audited)
        happened = (
            row for number, record in records if isinstance(record, Happened) for row in happened_rows(number, record)
        )
        operated = (operated_row(number, record) for number, record in records if isinstance(record, Operated))
        for table, columns, rows in (("audit", AUDIT, happened), ("operations", OPERATION, operated)):
            safe = map(_safe_row, rows)
            while piece := list(islice(safe, SLICE_ROWS)):
                self._db.copy(table, columns, piece)
                yield len(piece)

    def _calls(self, fold: Fold) -> Iterator[int]:
        """What is owed to webhooks. A call made and over in the window may be there from an earlier try of it."""
        for numbers in _pieces(fold.calls_over, _IDS_AT_ONCE):
            self._db.fetch(sql.DELETE_CALLS, numbers)
            yield len(numbers)
        for id in [id for id, row in fold.webhooks.items() if row is None]:
            self._db.fetch(sql.DELETE_CALLS_OF, _safe(id))
            yield SLICE_ROWS
        for call in fold.calls.values():
            self._db.fetch(sql.ADD_CALL, call.number, _safe(call.webhook), call.body)
            yield 1 + _in_rows(len(call.body))

    def _forget(self, fold: Fold) -> Iterator[int]:
        forget, forget_results = fold.forget, fold.forget_results
        while forget > self.meta.forget:
            ((forgotten,),) = self._db.fetch(sql.FORGET_SOME, forget, SLICE_ROWS)
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
        self._db.execute("SET LOCAL synchronous_commit = on")
        configured = [fold.queues[name] for name in fold.configured]
        settings = [(row.name, row.paused, row.rate_limit, row.concurrency_limit) for row in configured]
        for _ in self._many(sql.ADD_TO_QUEUES, map(structs.astuple, fold.queues.values())):
            pass
        for _ in self._many(sql.SET_QUEUES, settings):
            pass
        for name, cron in fold.crons.items():
            if cron is None:
                self._db.fetch(sql.DELETE_CRON, _safe(name))
            else:
                self._db.fetch(sql.SET_CRON, *_safe_row(stored_cron(cron)))
        for id, webhook in fold.webhooks.items():
            if webhook is None:
                self._db.fetch(sql.DELETE_WEBHOOK, _safe(id))
            else:
                self._db.fetch(sql.SET_WEBHOOK, *_safe_row(stored_webhook(webhook)))
        self._db.fetch(sql.FORGET_DROPPED, meta.dropped - KEEP_DROPPED)
        self._db.fetch(sql.FORGET_GROUPS, last)
        self._db.fetch(sql.UPDATE_META, *structs.astuple(meta)[1:])
        return meta

    def _many(self, text: str, rows: Iterable[Row]) -> Iterator[int]:
        """Run a statement that takes an array a column, as often as the rows need."""
        rows = iter(rows)
        while piece := list(islice(rows, SLICE_ROWS)):
            self._db.fetch(text, *(_safe_row(column) for column in zip(*piece, strict=True)))
            yield len(piece)

    def _rows(self, text: str, *values: object) -> list[Row]:
        """Rows as they were before they were stored."""
        return [
            [_unsafe(value) if type(value) is str else value for value in row] for row in self._db.fetch(text, *values)
        ]

    def _pages(self, text: str) -> Iterator[Row]:
        """The rows of a statement that takes the number after which it begins, the last number, and how many."""
        after = 0
        while page := self._rows(text, after, self.meta.audited, PAGE_ROWS):
            yield from page
            after = page[-1][0]

    def _job_rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows of all jobs, in the order of their ids."""
        after, before = 0, self.meta.next_id
        while page := self._db.fetch(sql.SELECT_JOBS, after, before, PAGE_ROWS, PAGE_BYTES):
            for *head, rest in page:
                if _ESCAPE in head[1]:
                    head[1] = _unsafe(head[1])
                yield (*head, *(_PLAIN_REST if rest is None else _rest(rest)))
            after = page[-1][0]

    def _inputs(self, id: int) -> list[tuple[int, bytes]] | None:
        return [(parent, result) for parent, result in self._db.fetch(sql.SELECT_INPUTS, id)] or None


def _rest(record: Iterable[Any]) -> list[Any]:
    rest = list(record)
    for place in _TEXTS:
        if rest[place] is not None:
            rest[place] = _unsafe(rest[place])
    return rest


def _safe(text: str) -> str:
    """A text without the zero bytes that PostgreSQL cannot store."""
    if "\0" in text or _ESCAPE in text:
        return text.replace(_ESCAPE, 2 * _ESCAPE).replace("\0", _ESCAPE + "0")
    return text


def _unsafe(text: str) -> str:
    """The text again."""
    if _ESCAPE not in text:
        return text
    return _ESCAPE.join(piece.replace(_ESCAPE + "0", "\0") for piece in text.split(2 * _ESCAPE))


def _safe_row(row: Iterable[Any]) -> list[Any]:
    return [_safe(value) if type(value) is str else value for value in row]


_DATA: Final = JOB.index("data")
_RESULT: Final = JOB.index("result")


def _with_text(row: list[Any]) -> list[Any]:
    """JSON as the text that COPY takes."""
    row[_DATA] = row[_DATA].decode()
    if row[_RESULT] is not None:
        row[_RESULT] = row[_RESULT].decode()
    return row


def _in_rows(size: int) -> int:
    """Payload bytes as the number of rows that take as long to write."""
    return size * SLICE_ROWS // SLICE_BYTES


def _pieces(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
