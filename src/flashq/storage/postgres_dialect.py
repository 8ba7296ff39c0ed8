"""How the tables of a PostgreSQL database are written and read; see `flashq.storage.tables`.

Each transaction begins with the fence: a server that was replaced must not touch the tables of its successor. Slices do
not wait for the disk; the one that marks a window as folded does, and takes all before it along.

New jobs go in as one array of payloads for each batch, which measured as fast as COPY and needs no list of rows; single
ones with COPY; changes as one array a column; deletions as one array of ids.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from msgspec import structs

from flashq.engine.records import JobRow, Pushed
from flashq.errors import StorageError
from flashq.model import WAITING
from flashq.storage import postgres_statements as sql
from flashq.storage.postgres_session import Session
from flashq.storage.rows import COLUMNS, JOB, Meta, Row

PAGE_ROWS: Final = 10_000
PAGE_BYTES: Final = 8 * 1024 * 1024
"""What is read at once of jobs and groups: enough that the way there and back does not count."""

_PLAIN_REST: Final = structs.astuple(JobRow(0, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b""))[len(sql.JOB_HEAD) : len(JOB)]
_TEXTS: Final = [sql.JOB_REST.index(name) for name in ("unique_key", "custom_id", "message")]

_ESCAPE: Final = "\x1a"


class PostgresDialect:
    """See `flashq.storage.tables.Dialect`. All of it raises `Away` when the database does not answer."""

    rows_at_once = 1_000
    """As many as a slice has."""

    def __init__(self, session: Session) -> None:
        """Take a session of a database with the newest schema, as its owner or to read only."""
        self._db = session
        self.place = session.place

    def transaction(self, epoch: int) -> AbstractContextManager[None]:
        """See `Dialect`."""
        return self._db.transaction(f"SET LOCAL synchronous_commit = off; SELECT fence(0, {epoch:d})")

    def fetch(self, text: str, *values: object) -> list[Row]:
        """See `Dialect`."""
        return self._rows(text.replace("?", "$"), *_safe_row(values))

    def delete_some(self, text: str, *values: object) -> int:
        """See `Dialect`."""
        ((gone,),) = self.fetch(f"WITH gone AS ({text} RETURNING 1) SELECT count(*) FROM gone", *values)  # noqa: S608
        return int(gone)

    def meta(self) -> Meta:
        """See `Dialect`."""
        rows = self._db.fetch(sql.SELECT_META)
        if not rows:
            raise StorageError(f"{self.place}: the database is damaged: the table meta or lease is empty")
        return Meta(*rows[0])

    def settle(self, meta: Meta) -> None:
        """See `Dialect`."""
        self._db.execute("SET LOCAL synchronous_commit = on")
        self._db.fetch(sql.UPDATE_META, *structs.astuple(meta)[1:])

    def groups(self, after: int) -> Iterator[tuple[int, bytes]]:
        """See `Dialect`."""
        while page := self._db.fetch(sql.GROUPS, after, PAGE_ROWS, PAGE_BYTES):
            yield from map(tuple, page)
            after = page[-1][0]

    def jobs(self, before: int) -> Iterator[tuple[Any, ...]]:
        """See `Dialect`."""
        after = 0
        while page := self._db.fetch(sql.SELECT_JOBS, after, before, PAGE_ROWS, PAGE_BYTES):
            for *head, rest in page:
                if _ESCAPE in head[1]:
                    head[1] = _unsafe(head[1])
                yield (*head, *(_PLAIN_REST if rest is None else _rest(rest)))
            after = page[-1][0]

    def inputs(self, id: int) -> list[tuple[int, bytes]]:
        """See `Dialect`."""
        return [(parent, result) for parent, result in self._db.fetch(sql.SELECT_INPUTS, id)]

    def all(self, table: str) -> list[Row]:
        """See `Dialect`."""
        return self._rows(sql.ALL[table])

    def insert_jobs(self, rows: Sequence[Row]) -> None:
        """See `Dialect`."""
        self._db.copy("jobs", JOB, [_with_text(_safe_row(row)) for row in rows])

    def insert_batch(self, run: Pushed, first: int, data: Sequence[bytes]) -> None:
        """See `Dialect`."""
        shared = (_safe(run.queue), WAITING, run.priority, run.created_at)
        options = (run.max_attempts, run.backoff, run.ttl, run.timeout)
        self._db.fetch(sql.INSERT_BATCH, first, *shared, *options, data)

    def update(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See `Dialect`."""
        self._db.fetch(sql.UPDATES[columns], *_arrays(rows))

    def count(self, rows: Sequence[Row]) -> None:
        """See `Dialect`."""
        self._db.fetch(sql.ADD_TO_QUEUES, *_arrays(rows))

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """See `Dialect`. An earlier try left nothing there: `LEFTOVERS` is cleared away before the next one."""
        self._db.copy(table, COLUMNS[table], list(map(_safe_row, rows)))

    def add_dropped(self, number: int, ids: Sequence[int]) -> None:
        """See `Dialect`."""
        self._db.fetch(sql.ADD_DROPPED, number, ids)

    def put(self, table: str, row: Row) -> None:
        """See `Dialect`."""
        self._db.fetch(sql.PUT[table], *_safe_row(row))

    def delete(self, table: str, ids: Sequence[int]) -> None:
        """See `Dialect`."""
        self._db.fetch(sql.DELETE[table], ids)

    def _rows(self, text: str, *values: object) -> list[Row]:
        """Rows as they were before they were stored."""
        return [
            [_unsafe(value) if type(value) is str else value for value in row] for row in self._db.fetch(text, *values)
        ]


def _arrays(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """One for each column."""
    return (_safe_row(column) for column in zip(*rows, strict=True))


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
