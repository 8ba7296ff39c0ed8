"""What a SQLite database needs besides commits: folding, checkpoints, the high-water file, syncs if relaxed.

All of it runs between commits, on their thread and connection. It is cut into slices of a few milliseconds, as long
as a commit can wait. In quiet moments everything is done; under load only what keeps the bounds.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from flashq.errors import StorageError
from flashq.storage.highwater import HighWater, Mark
from flashq.storage.tables import Tables
from flashq.storage.windows import Windows

CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
"""Length of the log at which it is moved into the database, load or not: about 50 ms of writing, and two syncs."""
QUIET_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""The same when nobody waits: a quiet moment is used so that the next busy one need not stop for it."""

CONFIRM_MS: Final = 1_000
"""How often, under load, the high-water file is written and a relaxed log synced."""

PAGE_BYTES: Final = 4096
"""Of the database; what a commit of a small group adds to the log."""


class Upkeep:
    """The upkeep of one open database."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        tables: Tables,
        windows: Windows,
        high_water: HighWater,
        *,
        steady_ms: Callable[[], int],
        relaxed: bool,
    ) -> None:
        """Take over a database whose connection is at ``synchronous=FULL``.

        Args:
            path: of the database, for sentences.
            connection: to it.
            tables: of it.
            windows: over its journal.
            high_water: beside it.
            steady_ms: milliseconds of a clock that never jumps.
            relaxed: commits do not sync.
        """
        self._path = path
        self._connection = connection
        self._tables = tables
        self._windows = windows
        self._high_water = high_water
        self._steady_ms = steady_ms
        self._relaxed = relaxed
        self._synced = windows.newest
        self._level = "FULL"
        self._confirmed_at = steady_ms()
        self._log_bytes = 0

    def before_commit(self) -> None:
        """Let the next commit sync the log, or not, as the durability says."""
        self._set_level("NORMAL" if self._relaxed else "FULL")

    def committed(self, number: int, blob: bytes) -> None:
        """A group was appended to the journal."""
        self._windows.committed(number, blob)
        self._log_bytes += len(blob) + 2 * PAGE_BYTES

    def tidy(self, *, idle: bool) -> bool:
        """Do what is due; see `flashq.storage.base.Storage.tidy`."""
        self._confirm(now=idle)
        moved = self._checkpoint(CHECKPOINT_BYTES)
        if idle:
            return moved or self._fold_slice() or self._checkpoint(QUIET_CHECKPOINT_BYTES)
        while not moved and self._windows.due() and self._fold_slice():
            pass
        return False

    def finish(self) -> None:
        """Leave a database that is complete in its one file, the journal in it as it is.

        Raises:
            StorageError: the log could not be moved.
        """
        self._confirm(now=True)
        if self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE) != (0, 0):
            raise StorageError(f"{self._path}: the log could not be moved into the database")

    def _set_level(self, level: str) -> None:
        """Choose whether the next commits sync the log (FULL) or leave it to a later one (NORMAL)."""
        if level != self._level:
            self._connection.pragma("synchronous", level)
            self._level = level

    def _confirm(self, *, now: bool) -> None:
        """Sync what a relaxed commit did not, and write down how far the database has come."""
        moment = self._steady_ms()
        if not now and moment - self._confirmed_at < CONFIRM_MS:
            return
        self._confirmed_at = moment
        if self._relaxed and self._synced < self._windows.newest:
            self._set_level("FULL")
            self._connection.execute("UPDATE meta SET synced = ?", (self._windows.newest,))
        self._synced = self._windows.newest
        if self._high_water.mark.number < self._synced:
            self._high_water.write(Mark(self._synced, self._tables.meta.epoch))

    def _fold_slice(self) -> bool:
        """Fold a little. Returns whether there was anything to fold."""
        if self._windows.folded:
            return False
        self._set_level("NORMAL")  # what is lost is folded again, and the next commit syncs it along
        self._windows.fold_slice()
        self._measure_log()
        return True

    def _measure_log(self) -> None:
        """The file of the log keeps its size, so SQLite is asked how much of it still has to be moved."""
        pages, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        self._log_bytes = 0 if pages == moved else pages * PAGE_BYTES

    def _checkpoint(self, limit: int) -> bool:
        """Move the log into the database if it is at least ``limit`` bytes long. Returns whether it was."""
        if self._log_bytes < limit:
            return False
        pages, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        if pages != moved:
            raise StorageError(f"{self._path}: of {pages} pages of the log, {moved} could be moved into the database")
        self._log_bytes = 0
        return True
