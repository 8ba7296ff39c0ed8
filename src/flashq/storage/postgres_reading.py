"""A PostgreSQL database looked at without changing it; see `flashq.storage.reading`.

All is read in one transaction that can only read and sees one moment, so a server may go on meanwhile: what it commits
later is not seen, and it is not held up. Pages and checksums are PostgreSQL's own matter (``pg_checksums``,
``pg_amcheck``); nobody outside the server can say how much had been confirmed, so its high-water file is not looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from flashq.engine.records import Snapshot
from flashq.engine.trail import Audited
from flashq.errors import StorageError
from flashq.storage.fold import Fold
from flashq.storage.postgres_dialect import PostgresDialect
from flashq.storage.postgres_schema import schema_number
from flashq.storage.postgres_session import Away, Session
from flashq.storage.reading import Check, StorageMissing
from flashq.storage.schema import steps
from flashq.storage.tables import Tables
from flashq.storage.windows import Windows

_Found = TypeVar("_Found")

_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "repeatable read",
    "idle_in_transaction_session_timeout": "0",  # whoever takes an export may be slow
}
_OWNER: Final = "SELECT owner FROM lease WHERE shard = 0 AND expires > clock_timestamp()"
_SHOWN: Final = 5
"""Ids that are named of many."""


class PostgresReading:
    """One PostgreSQL database."""

    _tables: Tables
    _tail: Fold

    def __init__(self, url: str) -> None:
        """Name the database; nothing is touched before the first check.

        Args:
            url: as for `flashq.storage.postgres.PostgresStorage`.

        Raises:
            StorageError: asyncpg is not installed.
        """
        self._db = Session(url, _SETTINGS)

    def checks(self) -> Sequence[Check]:
        """See `flashq.storage.reading.Reading`."""
        steps_ = (
            ("database", self._open),
            ("schema", self._read_schema),
            ("journal", self._read_journal),
            ("rows", self._find_orphans),
        )
        return [(name, self._plainly(step)) for name, step in steps_]

    def snapshot(self) -> Snapshot:
        """See `flashq.storage.reading.Reading`."""
        snapshot = self._plainly(lambda: self._tail.over(self._tables.snapshot()))()
        snapshot.jobs = self._reading(snapshot.jobs)
        return snapshot

    def trail(self) -> Iterator[Audited]:
        """See `flashq.storage.reading.Reading`."""
        yield from self._reading(self._tables.whole_trail())
        yield from self._tail.audit

    def close(self) -> None:
        """See `flashq.storage.reading.Reading`."""
        self._db.close()

    def _open(self) -> str:
        self._db.connect()
        self._db.execute("BEGIN")  # ends with the connection
        return self._db.place

    def _read_schema(self) -> str:
        number, newest = schema_number(self._db), steps("postgres")[-1].number
        if number == 0:
            raise StorageMissing(f"{self._db.place}: there is nothing of FlashQ in it")
        if number != newest:
            what = "a newer FlashQ" if number > newest else "a server once, which brings it up"
            raise StorageError(
                f"{self._db.place}: its schema has number {number}, this program knows {newest}: use {what}"
            )
        self._tables = Tables(PostgresDialect(self._db))
        owner = self._db.fetch(_OWNER)
        note = f"; in use by {owner[0][0]}, looked at as it was at this moment" if owner else ""
        return f"number {number}{note}"

    def _read_journal(self) -> str:
        windows = Windows(self._db.place, self._tables)
        self._tail = windows.fold_tail()
        folded = self._tables.meta.folded
        return f"{windows.newest - folded} groups after group {folded}, which is in the tables"

    def _find_orphans(self) -> str:
        """Inputs belong to a job that collects them. What the journal takes away of them yet is none of them."""
        going = set(self._tail.without_inputs())
        orphans = [child for child in self._tables.orphans() if child not in going]
        if orphans:
            raise StorageError(
                f"{self._db.place}: {len(orphans)} jobs have collected results, and do not collect or are not there: "
                f"{orphans[:_SHOWN]}"
            )
        jobs, inputs = self._tables.counts()
        return f"{jobs} jobs and {inputs} collected results in the tables"

    def _plainly(self, step: Callable[[], _Found]) -> Callable[[], _Found]:
        def checked() -> _Found:
            try:
                return step()
            except Away as away:
                raise StorageError(f"{self._db.place}: {away}") from away

        return checked

    def _reading(self, things: Iterable[_Found]) -> Iterator[_Found]:
        try:
            yield from things
        except Away as away:
            raise StorageError(f"{self._db.place}: {away}") from away
