"""Remembering in one SQLite file.

A commit appends one row to the table ``journal``; upkeep folds old rows into the tables, so that people can look
with SQL, and recovery lays the rest of the journal over them. That is all; what makes it safe is in the settings:

- one connection, in exclusive mode, under a lock file: nobody else can write, and no shared memory is needed;
- write-ahead log with ``synchronous=FULL``: a commit returns when the log is on the disk. With NORMAL a power cut
  lost 269 of 2,000 confirmed commits, with FULL none. Only upkeep runs at NORMAL: its work can be done again;
- no automatic checkpoint, which hides errors of fsync; ours are explicit, and their results are looked at;
- after any error nothing is written any more, not even at the end: after a failed fsync the system may take pages
  for written that are not. The next start reads past its cache and checks everything.

``relaxed`` durability leaves out the sync at a commit and does one a second, or when it is quiet, by a small commit at
FULL. A killed server loses nothing by it, a power cut at most what the last second confirmed.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Literal

import apsw

from flashq.engine.records import JobRow, Pushed, Snapshot
from flashq.engine.trail import Question
from flashq.errors import StorageError
from flashq.storage import database
from flashq.storage.backup import Backup, BackupFolder
from flashq.storage.files import FolderLock, make_folder, read_ahead, sync_folder
from flashq.storage.fold import Fold
from flashq.storage.highwater import HighWater, Mark
from flashq.storage.schema import migrate, steps
from flashq.storage.sqlite_dialect import SqliteDialect
from flashq.storage.tables import Tables
from flashq.storage.upkeep import Upkeep
from flashq.storage.windows import Retention, Windows

Durability = Literal["full", "relaxed"]


class SqliteStorage:
    """The backend on one SQLite file, with a lock file and a high-water file beside it."""

    _connection: apsw.Connection
    _tables: Tables
    _upkeep: Upkeep
    _windows: Windows
    _tail: Fold
    """What was found in the journal; until it is loaded."""

    def __init__(
        self,
        path: Path,
        *,
        steady_ms: Callable[[], int],
        durability: Durability = "full",
        retention: Retention | None = None,
    ) -> None:
        """Name the file; nothing is touched before `open`.

        Args:
            path: the database. Its folder is made if it is missing.
            steady_ms: milliseconds of a clock that never jumps.
            durability: what a commit promises: ``full`` = on the disk, ``relaxed`` = handed to the system.
            retention: how much of the trail is kept; None: all of it.
        """
        self._retention = retention
        self._path = path.absolute()
        self._steady_ms = steady_ms
        self._relaxed = durability == "relaxed"
        self._writable = False
        self._held = ExitStack()

    @property
    def path(self) -> Path:
        """Of the database."""
        return self._path

    def open(self, above: int = 0) -> int:
        """Take ownership, verify, migrate, count this start. See `flashq.storage.base.Storage`."""
        with self._plainly():
            try:
                return self._open(above)
            except BaseException:
                self._held.close()
                raise

    def load(self) -> Snapshot:
        """The tables with the rest of the journal laid over them. See `flashq.storage.base.Storage`."""
        with self._plainly():
            snapshot = self._tail.over(self._tables.snapshot())
            del self._tail
        snapshot.jobs = self._reading(snapshot.jobs)
        return snapshot

    def commit(self, number: int, blob: bytes) -> None:
        """Append a row to the journal. See `flashq.storage.base.Storage`."""
        newest = self._windows.newest
        if number <= newest:
            return
        with self._plainly():
            self._require_writable()
            if number != newest + 1:
                raise StorageError(f"{self._path}: group {number} cannot follow group {newest}")
            self._upkeep.before_commit()
            self._connection.execute("INSERT INTO journal (number, blob) VALUES (?, ?)", (number, blob))
            self._upkeep.committed(number, blob)

    def tidy(self, *, idle: bool) -> bool:
        """A slice of upkeep. See `flashq.storage.base.Storage`."""
        with self._plainly():
            self._require_writable()
            return self._upkeep.tidy(idle=idle)

    def read(self, question: Question) -> Iterator[None]:
        """Feed a question about the past. See `flashq.storage.base.Storage`."""
        with self._plainly():
            self._require_writable()
            yield from self._windows.read(question)

    @property
    def held_until_ms(self) -> float:
        """Always ours: the folder is locked. See `flashq.storage.base.Storage`."""
        return inf

    def back_up(self, folder: BackupFolder) -> Generator[None, None, Backup]:
        """Make a backup of what is committed when it is complete, step by step; see `BackupFolder.make`.

        Between two steps anything may come but `close`. An error of it is not one of the storage, which goes on.
        """
        self._require_writable()
        return (yield from folder.make(self._connection, lambda: self._windows.newest))

    def give_up(self) -> None:
        """Nothing waits here for what may come back."""

    def close(self) -> None:
        """Leave a database that is complete in its one file. See `flashq.storage.base.Storage`."""
        try:
            if self._writable:
                with self._plainly():
                    self._upkeep.finish()
        finally:
            self._writable = False
            self._held.close()

    def _open(self, above: int) -> int:
        path, held = self._path, self._held
        database.require_sound_sqlite()
        make_folder(path.parent)
        held.callback(FolderLock(path).release)
        high_water = HighWater(database.beside(path, ".highwater"))
        held.callback(high_water.close)
        if not database.is_there(path):
            high_water.check(Mark(0, 0), path)
            database.create(path)
        read_ahead(path)
        connection = database.connect(path)
        held.callback(connection.close)
        database.check_pages(connection, path)
        migrate(connection, steps("sqlite"))
        tables = Tables(SqliteDialect(connection))
        windows = Windows(str(path), tables, self._retention)
        high_water.check(Mark(windows.newest, tables.meta.epoch), path)
        self._tail = windows.fold_tail()
        # The first change: whatever is wrong has been found by now.
        tables.restart(epoch=max(tables.meta.epoch, above) + 1)
        high_water.write(Mark(windows.newest, tables.meta.epoch))
        sync_folder(path.parent)
        self._upkeep = Upkeep(
            path, connection, tables, windows, high_water, steady_ms=self._steady_ms, relaxed=self._relaxed
        )
        self._connection, self._tables, self._windows, self._writable = connection, tables, windows, True
        return windows.newest

    def _require_writable(self) -> None:
        if not self._writable:
            raise StorageError(f"{self._path}: closed, or failed before; nothing more is written")

    def _reading(self, jobs: Iterable[JobRow | Pushed]) -> Iterator[JobRow | Pushed]:
        with self._plainly():
            yield from jobs

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Errors in plain words. Whatever it was, nothing is written after it."""
        try:
            yield
        except (StorageError, *database.TROUBLE) as error:
            if self._writable:
                self._writable = False
                with suppress(OSError):
                    database.note_failure(self._path)
            if isinstance(error, StorageError):
                raise
            raise database.in_plain_words(error, self._path) from error
