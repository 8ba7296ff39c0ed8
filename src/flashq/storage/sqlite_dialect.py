"""How the tables of a SQLite database are written and read; see `flashq.storage.tables`.

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
from itertools import chain
from typing import Any

import apsw
from msgspec import structs

from flashq.engine.records import Pushed
from flashq.errors import StorageError
from flashq.model import WAITING
from flashq.storage import sqlite_statements as sql
from flashq.storage.rows import Meta, Row, json_list
from flashq.storage.statements import GROUP


class SqliteDialect:
    """See `flashq.storage.tables.Dialect`."""

    rows_at_once = max(sql.ROW_INSERTS)

    def __init__(self, connection: apsw.Connection) -> None:
        """Take a connection to a database with the newest schema."""
        self._db = connection
        self.place: str = connection.filename

    @contextmanager
    def transaction(self, _epoch: int) -> Iterator[None]:
        """See `Dialect`. Nobody else can have started: one connection has the file."""
        self._db.execute("BEGIN IMMEDIATE")
        yield
        self._db.execute("COMMIT")

    def fetch(self, text: str, *values: Any) -> Sequence[Row]:  # noqa: ANN401  # whatever SQLite can bind
        """See `Dialect`."""
        return self._db.execute(text, values).fetchall()

    def delete_some(self, text: str, *values: Any) -> int:  # noqa: ANN401
        """See `Dialect`."""
        self._db.execute(text, values)
        return self._db.changes()

    def meta(self) -> Meta:
        """See `Dialect`."""
        row = self._db.execute(sql.SELECT_META).get
        if row is None:
            raise StorageError(f"{self.place}: the database is damaged: the table meta is empty")
        return Meta(*row)

    def settle(self, meta: Meta) -> None:
        """See `Dialect`. The next commit syncs it, before anything relies on it."""
        self._db.execute(sql.UPDATE_META, structs.astuple(meta))

    def groups(self, after: int) -> Iterator[tuple[int, bytes]]:
        """See `Dialect`. Each with a statement of its own: one under way would keep the log from being moved."""
        while (blob := self._db.execute(GROUP, (after + 1,)).get) is not None:
            after += 1
            yield after, blob

    def jobs(self, before: int) -> Iterator[tuple[Any, ...]]:
        """See `Dialect`."""
        return self._db.execute(sql.SELECT_JOBS, (before,))

    def inputs(self, id: int) -> list[tuple[int, bytes]]:
        """See `Dialect`."""
        rows: list[Any] = self._db.execute(sql.SELECT_INPUTS, (id,)).fetchall()
        return rows

    def all(self, table: str) -> Iterable[Row]:
        """See `Dialect`."""
        return self._db.execute(sql.ALL[table])

    def insert_jobs(self, rows: Sequence[Row]) -> None:
        """See `Dialect`."""
        self._fill(sql.ROW_INSERTS, rows)

    def insert_batch(self, run: Pushed, first: int, data: Sequence[bytes]) -> None:
        """See `Dialect`."""
        places = _smallest(sql.BATCH_INSERTS, len(data))
        shared = (first, run.queue, WAITING, run.priority, run.created_at, run.created_at)
        options = (run.max_attempts, run.backoff, run.ttl, run.timeout)
        self._db.execute(sql.BATCH_INSERTS[places], (*shared, *options, *data, *[None] * (places - len(data))))

    def update(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See `Dialect`."""
        self._fill(sql.UPDATES[columns], rows)

    def count(self, rows: Sequence[Row]) -> None:
        """See `Dialect`."""
        self._fill(sql.QUEUE_COUNTS, rows)

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """See `Dialect`."""
        self._fill(sql.APPENDS[table], rows)

    def add_dropped(self, number: int, ids: Sequence[int]) -> None:
        """See `Dialect`."""
        self._db.execute(sql.ADD_DROPPED, (number, json_list(ids)))

    def put(self, table: str, row: Row) -> None:
        """See `Dialect`."""
        self._db.execute(sql.PUT[table], row)

    def delete(self, table: str, ids: Sequence[int]) -> None:
        """See `Dialect`."""
        self._db.execute(sql.DELETE[table], (json_list(ids),))

    def _fill(self, statements: Mapping[int, str], rows: Sequence[Row]) -> None:
        """Run the shortest of the statements that takes so many rows."""
        size = _smallest(statements, len(rows))
        blank = [None] * len(rows[0]) * (size - len(rows))
        self._db.execute(statements[size], (*chain.from_iterable(rows), *blank))


def _smallest(statements: Mapping[int, str], rows: int) -> int:
    return min(size for size in statements if size >= rows)
