"""A database looked at without a trace: what the doctor examines and an export reads, while no server has it.

`SqliteStorage` cannot be used for looking: it takes ownership, migrates, counts a start and moves the log. Here nothing
is written, not even beside the database; whoever looks at a damaged one must find it again as it was left.

A database with an older schema is copied to a folder for temporary files and brought up to date there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol, TypeVar

import apsw

from flashq.engine.records import Snapshot
from flashq.engine.trail import Audited
from flashq.errors import StorageError
from flashq.storage import checksums, database
from flashq.storage.fold import Fold
from flashq.storage.highwater import HighWater, Mark
from flashq.storage.schema import APPLICATION_ID, migrate, steps
from flashq.storage.sqlite_dialect import SqliteDialect
from flashq.storage.tables import Tables
from flashq.storage.traceless import brought_up, looked_at
from flashq.storage.windows import Windows

_Found = TypeVar("_Found")

Check = tuple[str, Callable[[], str]]
"""The name of a check, and what does it: it returns what it has found in order, or raises StorageError."""

_SHOWN: Final = 5
"""Ids that are named of many."""


class StorageInUse(StorageError):
    """A server has it: it cannot be looked at now."""


class StorageMissing(StorageError):
    """There is nothing to look at."""


class Reading(Protocol):
    """A storage that is looked at while no server has it."""

    def checks(self) -> Sequence[Check]:
        """What can be checked, in order: each check needs those before it. The first one opens the storage."""
        ...

    def snapshot(self) -> Snapshot:
        """Everything that is remembered, as a server would load it now, but for its epoch: no start is counted.

        Called after all checks, once; the jobs are read before anything else.

        Raises:
            StorageError: it cannot be read; while the jobs are read too.
        """
        ...

    def trail(self) -> Iterator[Audited]:
        """Everything that is remembered of the past, in its order; after the jobs of the snapshot have been read.

        Raises:
            StorageError: it cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go."""
        ...


class SqliteReading:
    """One SQLite database."""

    _connection: apsw.Connection
    _tables: Tables
    _tail: Fold

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is touched before the first check.

        Args:
            path: of the database.
        """
        self._path = path.absolute()
        self._held = ExitStack()
        self._newest = 0

    def checks(self) -> Sequence[Check]:
        """See `Reading`."""
        steps_ = (
            ("file", self._open),
            ("pages", self._check_pages),
            ("schema", self._read_schema),
            ("journal", self._read_journal),
            ("high water", self._check_high_water),
            ("rows", self._find_orphans),
        )
        return [(name, self._plainly(step)) for name, step in steps_]

    def snapshot(self) -> Snapshot:
        """See `Reading`."""
        snapshot = self._plainly(lambda: self._tail.over(self._tables.snapshot()))()
        snapshot.jobs = self._reading(snapshot.jobs)
        return snapshot

    def trail(self) -> Iterator[Audited]:
        """See `Reading`."""
        yield from self._reading(self._tables.whole_trail())
        yield from self._tail.audit

    def close(self) -> None:
        """See `Reading`."""
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
        self._tables = Tables(SqliteDialect(self._connection))
        note = "" if version == newest else f", which the next start brings to {newest}"
        return f"number {version}{note}"

    def _read_journal(self) -> str:
        """Every group is there, whole, and says something that this program understands."""
        windows = Windows(str(self._path), self._tables)
        self._tail, self._newest = windows.fold_tail(), windows.newest
        folded = self._tables.meta.folded
        return f"{windows.newest - folded} groups after group {folded}, which is in the tables"

    def _check_high_water(self) -> str:
        file = database.beside(self._path, ".highwater")
        mark = Mark(self._newest, self._tables.meta.epoch)
        confirmed = HighWater(file)
        confirmed.check(mark, self._path)
        if confirmed.mark == Mark(0, 0):
            return f"{mark.number} groups of {mark.epoch} starts; no witness of how many there were: no {file.name}"
        return f"{mark.number} groups of {mark.epoch} starts; {confirmed.mark.number} are known to have been confirmed"

    def _find_orphans(self) -> str:
        """Inputs belong to a job that collects them. What the journal takes away of them yet is none of them."""
        going = set(self._tail.without_inputs())
        orphans = [child for child in self._tables.orphans() if child not in going]
        if orphans:
            raise StorageError(
                f"{self._path}: {len(orphans)} jobs have collected results, and do not collect or are not there: "
                f"{orphans[:_SHOWN]}"
            )
        jobs, inputs = self._tables.counts()
        return f"{jobs} jobs and {inputs} collected results in the tables"

    def _plainly(self, step: Callable[[], _Found]) -> Callable[[], _Found]:
        def checked() -> _Found:
            try:
                return step()
            except database.TROUBLE as error:
                raise database.in_plain_words(error, self._path) from error

        return checked

    def _reading(self, things: Iterable[_Found]) -> Iterator[_Found]:
        try:
            yield from things
        except database.TROUBLE as error:
            raise database.in_plain_words(error, self._path) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
