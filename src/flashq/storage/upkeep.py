"""What a SQLite database needs besides commits: folding, checkpoints, the high-water file, syncs if relaxed.

All of it runs between commits, on their thread and connection. It is cut into slices of a few milliseconds, as long
as a commit can wait. In quiet moments everything is done; under load only what keeps the bounds.

The journal needs no folding for speed: recovery reads a job from the journal as fast as from the tables. It is folded
so that it does not grow without end, and so that people find their jobs in the tables.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from flashq.engine.records import Completed, Record
from flashq.engine.trail import Question, numbered
from flashq.errors import StorageError
from flashq.storage.fold import Fold
from flashq.storage.highwater import HighWater, Mark
from flashq.storage.records import changes, decode
from flashq.storage.tables import SLICE_ROWS, Tables

WINDOW_CHANGES: Final = 20_000
WINDOW_BYTES: Final = 8 * 1024 * 1024
WINDOW_GROUPS: Final = 1_000
"""A window takes no further group once it has reached one of these. Settling one of 20,000 changes keeps the
interpreter for about five milliseconds; a larger one would save little, as short-lived jobs end in it anyway."""

UNFOLDED_CHANGES: Final = 250_000
UNFOLDED_BYTES: Final = 64 * 1024 * 1024
"""A longer journal is folded under load too, one slice for every `EASY_PACE` changes that are committed. This is a
burst of a second or two, which a quiet moment folds for nothing."""

HARD: Final = 4
"""A journal this many times longer than that is folded faster than it grows, whatever that costs the commits: a
recovery from it (a million jobs) has to stay within seconds."""
EASY_PACE: Final = 4 * SLICE_ROWS
HARD_PACE: Final = SLICE_ROWS // 2

FEED_CHANGES: Final = 8_000
"""Changes decoded in one slice: about two milliseconds."""

CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
"""Length of the log at which it is moved into the database, load or not: about 50 ms of writing, and two syncs."""
QUIET_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""The same when nobody waits: a quiet moment is used so that the next busy one need not stop for it."""

CONFIRM_MS: Final = 1_000
"""How often, under load, the high-water file is written and a relaxed log synced."""

PAGE_BYTES: Final = 4096
"""Of the database; what a commit of a small group adds to the log."""


class Retention(NamedTuple):
    """How much of the trail is kept.

    Attributes:
        keep_ms: ms for which an entry is kept.
        max_rows: entries of jobs that are kept at the most, the newest.
        wall_ms: the wall clock.
    """

    keep_ms: int
    max_rows: int
    wall_ms: Callable[[], int]


class Upkeep:
    """The upkeep of one open database.

    Attributes:
        newest: number of the newest group.
    """

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        tables: Tables,
        high_water: HighWater,
        *,
        steady_ms: Callable[[], int],
        relaxed: bool,
        retention: Retention | None = None,
    ) -> None:
        """Take over a database whose connection is at ``synchronous=FULL``.

        Args:
            path: of the database, for sentences.
            connection: to it.
            tables: of it.
            high_water: beside it.
            steady_ms: milliseconds of a clock that never jumps.
            relaxed: commits do not sync.
            retention: how much of the trail is kept; None: all of it.
        """
        self._retention = retention
        self._path = path
        self._connection = connection
        self._tables = tables
        self._high_water = high_water
        self._steady_ms = steady_ms
        self._relaxed = relaxed
        self.newest = self._synced = tables.newest()
        self._level = "FULL"
        self._confirmed_at = steady_ms()
        self._unfolded_changes = self._unfolded_bytes = 0
        self._credit = 0
        self._log_bytes = 0
        self._window: Iterator[None] | None = None

    def fold_tail(self) -> Fold:
        """Read all of the journal, at the start. It stays as it is, to be folded when it is quiet.

        Returns:
            The window of all groups that are not in the tables, settled.

        Raises:
            StorageError: a group is damaged or missing.
        """
        fold, expected = Fold(self._tables.meta.next_id), self._tables.meta.folded
        for number, blob in self._connection.execute("SELECT number, blob FROM journal ORDER BY number"):
            expected += 1
            if number != expected:
                raise StorageError(f"{self._path}: group {expected} is missing from the journal")
            fold.feed(self._decoded(number, blob))
            self._count(blob)
        fold.settle()
        return fold

    def before_commit(self) -> None:
        """Let the next commit sync the log, or not, as the durability says."""
        self._set_level("NORMAL" if self._relaxed else "FULL")

    def committed(self, number: int, blob: bytes) -> None:
        """A group was appended to the journal."""
        self.newest = number
        self._count(blob)
        self._credit += changes(blob)
        self._log_bytes += len(blob) + 2 * PAGE_BYTES

    def tidy(self, *, idle: bool) -> bool:
        """Do what is due; see `flashq.storage.base.Storage.tidy`."""
        self._confirm(now=idle)
        moved = self._checkpoint(CHECKPOINT_BYTES)
        if idle:
            return moved or self._fold_slice() or self._checkpoint(QUIET_CHECKPOINT_BYTES)
        if not moved:
            self._keep_bounds()
        return False

    def read(self, question: Question) -> Iterator[None]:
        """Feed a question: from the tables, then from the journal. See `flashq.storage.base.Storage`."""
        meta, newest = self._tables.meta, self.newest
        question.feed(self._tables.trail(question))
        number, fed = meta.audited, FEED_CHANGES  # a slice of its own
        for group in range(meta.folded + 1, newest + 1):
            if fed >= FEED_CHANGES:
                yield
                fed = 0
            blob = self._group(group)
            records, number = numbered(self._decoded(group, blob), number)
            question.feed(records)
            fed += changes(blob)

    def finish(self) -> None:
        """Leave a database that is complete in its one file, the journal in it as it is.

        Raises:
            StorageError: the log could not be moved.
        """
        self._confirm(now=True)
        if self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE) != (0, 0):
            raise StorageError(f"{self._path}: the log could not be moved into the database")

    def _count(self, blob: bytes) -> None:
        self._unfolded_changes += changes(blob)
        self._unfolded_bytes += len(blob)

    def _decoded(self, number: int, blob: bytes) -> list[Record]:
        try:
            return decode(blob)
        except StorageError as error:
            raise StorageError(f"{self._path}: group {number}: {error}") from error

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
        if self._relaxed and self._synced < self.newest:
            self._set_level("FULL")
            self._connection.execute("UPDATE meta SET synced = ?", (self.newest,))
        self._synced = self.newest
        if self._high_water.mark.number < self._synced:
            self._high_water.write(Mark(self._synced, self._tables.meta.epoch))

    def _keep_bounds(self) -> None:
        """Under load: fold in step with the commits once the journal is long."""
        over = max(self._unfolded_changes / UNFOLDED_CHANGES, self._unfolded_bytes / UNFOLDED_BYTES)
        if over < 1:
            self._credit = 0
            return
        pace = HARD_PACE if over >= HARD else EASY_PACE
        while self._credit >= pace and self._fold_slice():
            self._credit -= pace

    def _fold_slice(self) -> bool:
        """One step of the window being folded, or of the next one. Returns whether there was anything to do."""
        if self._window is None:
            if self._tables.meta.folded == self.newest:
                return False
            self._window = self._fold_window()
        self._set_level("NORMAL")  # what is lost is folded again, and the next commit syncs it along
        if next(self._window, self) is self:
            self._window = None
        self._measure_log()
        return True

    def _fold_window(self) -> Iterator[None]:
        """Fold the oldest groups of the journal, slice by slice."""
        fold = Fold(self._tables.meta.next_id)
        first = last = self._tables.meta.folded
        count = size = fed = 0
        while last < self.newest and count < WINDOW_CHANGES and size < WINDOW_BYTES and last - first < WINDOW_GROUPS:
            last += 1
            blob = self._group(last)
            fold.feed(self._decoded(last, blob))
            count += changes(blob)
            size += len(blob)
            if count - fed >= FEED_CHANGES:
                fed = count
                yield
        fold.settle(*self._forgotten_later(last))
        yield
        yield from self._tables.apply(fold, last)
        if self._retention is not None:
            keep_ms, max_rows, wall_ms = self._retention
            yield from self._tables.trim(wall_ms() - keep_ms, max_rows)
        self._unfolded_changes -= count
        self._unfolded_bytes -= size

    def _forgotten_later(self, last: int) -> tuple[int, int]:
        """What the newest group says is forgotten: in a long journal that is most of what an older one completed."""
        if last < self.newest:
            for record in reversed(self._decoded(self.newest, self._group(self.newest))):
                if isinstance(record, Completed):
                    return record.forget, record.forget_results
        return 0, 0

    def _group(self, number: int) -> bytes:
        blob: bytes = self._connection.execute("SELECT blob FROM journal WHERE number = ?", (number,)).get
        return blob

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
