"""A PostgreSQL database looked at without changing it; see `flashq.storage.reading`.

All is read in one transaction that can only read and sees one moment, so a server may go on meanwhile: what it commits
later is not seen, and it is not held up. Pages and checksums are PostgreSQL's own matter (``pg_checksums``,
``pg_amcheck``). How much had been confirmed says the high-water file in the server's data folder, where that is here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flashq.errors import StorageError
from flashq.storage.highwater import HighWater
from flashq.storage.postgres_dialect import PostgresDialect
from flashq.storage.postgres_schema import files_of, schema_number
from flashq.storage.postgres_session import Away, Session
from flashq.storage.reading import Check, StorageMissing
from flashq.storage.schema import steps
from flashq.storage.tables import Tables

_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "repeatable read",
    "idle_in_transaction_session_timeout": "0",  # whoever takes an export may be slow
}
_IDENTITY: Final = "SELECT identity::text FROM meta WHERE shard = 0"
_OWNER: Final = "SELECT owner FROM lease WHERE shard = 0 AND expires > clock_timestamp()"


class PostgresSource:
    """See `flashq.storage.reading.Source`."""

    tables: Tables

    def __init__(self, url: str, folder: Path) -> None:
        """Name the database.

        Args:
            url: as for `flashq.storage.postgres.PostgresStorage`.
            folder: of the server's own data.

        Raises:
            StorageError: asyncpg is not installed.
        """
        self._db = Session(url, _SETTINGS)
        self._folder = folder.absolute()
        self._confirmed: HighWater | StorageError | None = None
        self.place = self._db.place
        self.no_witness = f"its server's high-water file is not in {self._folder}"

    def checks(self) -> Sequence[Check]:
        """See `Source`."""
        return ("database", self._open), ("schema", self._read_schema)

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """See `Source`."""
        try:
            yield
        except Away as away:
            raise StorageError(f"{self.place}: {away}") from away

    def high_water(self) -> HighWater | None:
        """See `Source`."""
        if isinstance(self._confirmed, StorageError):
            raise self._confirmed
        return self._confirmed

    def close(self) -> None:
        """See `Source`."""
        self._db.close()

    def _open(self) -> str:
        self._db.connect()
        self._confirmed = self._look_for_witness()  # before the moment that is looked at: a server may go on
        self._db.execute("BEGIN")  # ends with the connection
        return self.place

    def _read_schema(self) -> str:
        number, newest = schema_number(self._db), steps("postgres")[-1].number
        if number == 0:
            raise StorageMissing(f"{self.place}: there is nothing of FlashQ in it")
        if number != newest:
            what = "a newer FlashQ" if number > newest else "a server once, which brings it up"
            raise StorageError(f"{self.place}: its schema has number {number}, this program knows {newest}: use {what}")
        self.tables = Tables(PostgresDialect(self._db))
        owner = self._db.fetch(_OWNER)
        note = f"; in use by {owner[0][0]}, looked at as it was at this moment" if owner else ""
        return f"number {number}{note}"

    def _look_for_witness(self) -> HighWater | StorageError | None:
        """What the data folder says had been confirmed, or why it cannot; None: this is no database to ask about."""
        if not 0 < schema_number(self._db) <= steps("postgres")[-1].number:
            return None
        found = self._db.fetch(_IDENTITY)
        if not found:
            return None
        file = files_of(self._folder, found[0][0]).with_suffix(".highwater")
        try:
            return HighWater(file)
        except OSError as error:
            return StorageError(f"{file}: {error.strerror}")
        except StorageError as error:
            return error
