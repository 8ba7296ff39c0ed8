"""A SQLite database looked at without a trace, while no server has it; see `flashq.storage.reading`.

Nothing is written, not even beside the database. One with an older schema is copied to a folder for temporary files and
brought up to date there.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apsw

from flashq.errors import StorageError
from flashq.storage import checksums, database
from flashq.storage.highwater import HighWater
from flashq.storage.reading import Check, StorageInUse, StorageMissing
from flashq.storage.schema import APPLICATION_ID, migrate, steps
from flashq.storage.sqlite_dialect import SqliteDialect
from flashq.storage.tables import Tables
from flashq.storage.traceless import brought_up, looked_at


class SqliteSource:
    """See `flashq.storage.reading.Source`."""

    tables: Tables
    _connection: apsw.Connection

    def __init__(self, path: Path) -> None:
        """Name the file.

        Args:
            path: of the database.
        """
        self._path = path.absolute()
        self._high_water = database.beside(self._path, ".highwater")
        self.place, self.no_witness = str(self._path), f"no {self._high_water.name}"
        self._held = ExitStack()

    def checks(self) -> Sequence[Check]:
        """See `Source`."""
        return ("file", self._open), ("pages", self._check_pages), ("schema", self._read_schema)

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """See `Source`."""
        try:
            yield
        except database.TROUBLE as error:
            raise database.in_plain_words(error, self._path) from error

    def high_water(self) -> HighWater:
        """See `Source`."""
        return HighWater(self._high_water)

    def close(self) -> None:
        """See `Source`."""
        self._held.close()

    def _open(self) -> str:
        database.require_sound_sqlite()
        if not database.is_there(self._path):
            raise StorageMissing(f"{self._path}: there is no database")
        self._connection = self._held.enter_context(looked_at(self._path))
        try:
            found = self._connection.pragma("application_id")
        except apsw.BusyError as error:
            raise StorageInUse(
                f"{self._path}: a server or another program is using the database; stop it first, or look at a backup"
            ) from error
        if found != APPLICATION_ID:
            raise StorageError(f"{self._path}: a database, but of another program")
        return f"{self._path}, {_size(self._path)} bytes, and {_size(database.beside(self._path, '-wal'))} in its log"

    def _check_pages(self) -> str:
        verdict = self._connection.pragma("integrity_check", 1)
        if verdict != "ok":
            raise StorageError(f"{self._path}: the database is damaged: {verdict}")
        failed = database.beside(self._path, ".failed").exists()
        note = "; the last server ended because its storage failed" if failed else ""
        sums = self._connection.reserve_bytes("main") == checksums.RESERVED_BYTES
        pages = f"{self._connection.pragma('page_count')} pages are sound"
        return f"{pages}{'' if sums else ', and have no checksums'}{note}"

    def _read_schema(self) -> str:
        known = steps("sqlite")
        version, newest = self._connection.pragma("user_version"), known[-1].number
        if version < newest:
            self._connection = self._held.enter_context(brought_up(self._connection))
        migrate(self._connection, known)  # refuses a newer one; nothing is missing any more
        self.tables = Tables(SqliteDialect(self._connection))
        note = "" if version == newest else f", which the next start brings to {newest}"
        return f"number {version}{note}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
