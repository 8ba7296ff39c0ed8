"""Backups of a SQLite database, made while a server uses it.

The database belongs to one connection, so that connection has to make the copy; SQLite's backup API can, in steps.
Between two steps the server commits: SQLite brings every page that changes and was copied already into the copy as
well, because it is the same connection that changes it. So the copy that is complete holds the database as it is at
that moment, with all that was committed until then and nothing by halves. ``VACUUM INTO`` would make it in one piece,
for as long as which nothing could be committed.

A step is synced, so that there is never much that a commit's own sync, on the same disk, would have to write first. The
copy is made under a name of its own and gets that of a backup once all of it is on the disk: after a crash there is no
half of one, and the next start removes what there is. A file of a backup has everything in it, and needs none beside
it: no log and no high-water file.

What fails here fails the backup. The database has lost nothing by it, and goes on.
"""

import os
import re
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, datetime
from logging import getLogger
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from flashq.errors import StorageFull
from flashq.storage import checksums, database
from flashq.storage.files import make_file, make_folder, publish
from flashq.storage.schema import APPLICATION_ID

log = getLogger("flashq")

STEP_PAGES: Final = 128
"""Half a MiB, which takes about as long to be copied and synced as a commit takes: a commit waits for so much."""

DROP_BYTES: Final = 64 * 1024 * 1024
"""By how much a file that is too old shrinks in a step: the system takes its time to free the blocks of a large one."""

GAIN: Final = 2
"""Pages more for each by which the database has grown since the step before. It may grow faster than by a step at a
time, and would never be copied to its end; whoever commits that much waits for its own writing first of all."""

CACHE_KIB: Final = 256
"""Of the copy's pages, in memory, for those that change again and again; what is more is written at once."""

SPARE_BYTES: Final = 64 * 1024 * 1024
"""Room that a backup leaves on the disk of the database, whose log grows by 32 MiB until it is moved, and then the
database by as much. Without it a backup would not fail by itself: it would take the server with it."""

PART: Final = ".part"
"""How the name of a backup ends that is not complete."""


class Backup(NamedTuple):
    """A finished backup.

    Attributes:
        path: of its file.
        size: of it in bytes.
        group: number of the newest group in it.
    """

    path: Path
    size: int
    group: int


class BackupFolder:
    """The backups of one database, in a folder of theirs. Used by one thread at a time."""

    def __init__(self, database_path: Path, folder: Path, keep: int, wall_ms: Callable[[], int]) -> None:
        """Name the folder; it is made when it is needed.

        Args:
            database_path: of the database.
            folder: where they are; other databases with other names may have theirs there too.
            keep: how many are kept, the youngest; 0: all.
            wall_ms: the wall clock, for their names.
        """
        self._database = database_path
        self._folder = folder.absolute()
        self._keep = keep
        self._wall_ms = wall_ms
        stem = re.escape(database_path.stem)
        self._whole = re.compile(rf"{stem}-\d{{8}}T\d{{6}}\.\d{{3}}Z\.db")
        self._parts = re.compile(self._whole.pattern + re.escape(PART))

    def clear(self) -> None:
        """Remove what a process has left that ended in the middle of a backup. Only under the lock of the database.

        Raises:
            OSError: it cannot be removed.
        """
        for left in self._named(self._parts):
            left.unlink()

    def make(self, source: apsw.Connection, newest: Callable[[], int]) -> Generator[None, None, Backup]:
        """Make a backup, step by step.

        Args:
            source: the one connection to the database; between two steps it may do what it likes, but close.
            newest: number of the newest group in it.

        Yields:
            After each step. Closed early, it removes what it has made.

        Returns:
            The backup, durable.

        Raises:
            StorageFull: there is no room for it.
            StorageError: it cannot be written, or the database not be read.
        """
        path = self._free_name()
        part = path.with_name(path.name + PART)
        try:
            make_folder(self._folder)
            page_bytes = source.pragma("page_size")
            self._require_room(source.pragma("page_count") * page_bytes)
            for _ in _copied(source, part):
                yield
                self._require_room(STEP_PAGES * page_bytes)
            group = newest()
            publish(part, path)
        except database.TROUBLE as error:
            raise database.in_plain_words(error, self._database if _is_damage(error) else part) from error
        finally:
            with suppress(OSError):  # the next start removes it
                part.unlink(missing_ok=True)
        yield from self._let_go_of_old(path)
        return Backup(path, path.stat().st_size, group)

    def _free_name(self) -> Path:
        """One that tells when, and that no backup has: the clock may have been set back."""
        at_ms = self._wall_ms()
        while (path := self._folder / _name(self._database.stem, at_ms)).exists():
            at_ms += 1
        return path

    def _require_room(self, size: int) -> None:
        """Raises: StorageFull: with so many bytes more, too little would be left."""
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        shared = self._folder.stat().st_dev == self._database.stat().st_dev
        needed = size + (SPARE_BYTES if shared else 0)
        if free < needed:
            why = f", {SPARE_BYTES} of them to be left for the database" if shared else ""
            raise StorageFull(f"{self._folder}: a backup needs {needed} bytes{why}, and {free} are free")

    def _let_go_of_old(self, made: Path) -> Generator[None, None, None]:
        """Remove the oldest of too many, but never the one that was just made."""
        try:
            older = sorted(path for path in self._named(self._whole) if path != made)
            for path in older[: len(older) + 1 - self._keep] if 0 < self._keep <= len(older) else ():
                part = path.rename(path.with_name(path.name + PART))  # no backup any more
                for size in reversed(range(0, part.stat().st_size, DROP_BYTES)):
                    os.truncate(part, size)
                    yield
                part.unlink()
        except OSError as error:
            log.warning("an old backup could not be removed: %s", error)

    def _named(self, names: re.Pattern[str]) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if names.fullmatch(path.name)]


def _copied(source: apsw.Connection, part: Path) -> Generator[None, None, None]:
    """Copy a database into a new file. Each step is synced but the last, which its caller syncs with the name."""
    make_file(part)
    descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    target = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE, vfs=checksums.vfs())
    try:
        _prepare(target, source.reserve_bytes("main"))
        with target.backup("main", source, "main") as copying:
            pages, grown = source.pragma("page_count"), 0
            while not copying.step(STEP_PAGES + GAIN * grown):
                os.fsync(descriptor)
                yield
                before, pages = pages, source.pragma("page_count")
                grown = max(0, pages - before)
        target.close()
    finally:
        target.close(force=True)
        os.close(descriptor)


def _prepare(target: apsw.Connection, reserved: int) -> None:
    """Settings for a file that nobody else sees, and that is thrown away if anything goes wrong."""
    target.pragma("locking_mode", "EXCLUSIVE")
    target.pragma("journal_mode", "OFF")
    target.pragma("synchronous", "OFF")  # we sync it ourselves
    target.pragma("cache_size", -CACHE_KIB)
    target.pragma("mmap_size", 0)
    if reserved:
        target.reserve_bytes("main", reserved)
    target.pragma("application_id", APPLICATION_ID)  # writes the header, from which the layer below knows of checksums


def _is_damage(error: Exception) -> bool:
    """Whether it is the database that is wrong, and not the copy of it."""
    return isinstance(error, apsw.CorruptError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA


def _name(stem: str, at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1_000)
    return f"{stem}-{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{ms:03}Z.db"
