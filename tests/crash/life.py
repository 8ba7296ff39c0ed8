"""A short life of two databases, in a process that may be killed at any call to the system.

``python -m tests.crash.life FOLDER GROUPS NOTES [CARELESS]`` plays it; `tests.crash.points` kills it and judges what
is left. It does what the writer's thread of a server does, without the server: commits groups, looks after the database
between them, folds in quiet moments, moves the log, makes a backup, stops and starts again. One of the databases is
made by it, the other was left by a program of the first schema.

What it was told is noted in a file, a line a fact: ``new begin 7``, ``new ok 7``. After a failure it tries once more
what a server must not: that has to be refused.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
from tests.crash.careless import CARELESS

from flashq.errors import StorageError
from flashq.storage import backup, tables, upkeep, windows
from flashq.storage.backup import Backup, BackupFolder
from flashq.storage.sqlite import SqliteStorage

EXIT_STORAGE: Final = 74
EXIT_START: Final = 1

NEW, OLD, BACKUPS = "new", "old", "backups"
OLD_GROUPS: Final = 3
"""Groups in the journal of the old database, from its former owner."""

LIVES: Final = ((NEW, 0, 14), (NEW, 14, 30), (OLD, OLD_GROUPS, 30))
"""Starts, in order: of which database, after which group, up to which group."""

QUIET_EVERY: Final = 9
"""After so many commits a quiet moment, in which everything is folded."""


BACKUP_AFTER: Final = 18
"""After this group of the new database a backup begins, of which there is a step after each commit."""


def backups_of(database: Path) -> BackupFolder:
    """Where its backups are: outside of its folder, so that a call tells by its file what would suffer.

    The clock stands still, as every life must make the same calls.
    """
    name, lives = database.parent.name, database.parents[1]
    return BackupFolder(database, lives / BACKUPS / name, keep=1, wall_ms=lambda: 1_700_000_000_000)


def _small_pieces() -> None:
    """Bounds so small that a few dozen commits cross all of them."""
    tables.SLICE_ROWS = 30
    windows.WINDOW_CHANGES = 150
    windows.FEED_CHANGES = 40
    upkeep.CHECKPOINT_BYTES = 300_000
    upkeep.QUIET_CHECKPOINT_BYTES = 100_000
    backup.STEP_PAGES = 8


class Life:
    """One process."""

    def __init__(self, folder: Path, groups: list[bytes], notes: int) -> None:
        """Args: ``notes``: descriptor of a file that is appended to."""
        self._folder = folder
        self._groups = groups
        self._notes = notes
        self._done = 0
        self._backup: Iterator[None] = iter(())

    def play(self) -> int:
        """All starts. Returns the exit code that a server would end with."""
        for name, first, last in LIVES:
            code = self._start(name, first, last)
            if code:
                return code
        return 0

    def _start(self, name: str, first: int, last: int) -> int:
        steady = count(0, 300)
        self._done = first
        storage = SqliteStorage(self._folder / name / "flashq.db", steady_ms=lambda: next(steady))
        try:
            assert storage.open() == first
            backups_of(storage.path).clear()
            list(storage.load().rows())
        except StorageError:
            self._note(name, "not started", 0)
            return EXIT_START
        try:
            for number in range(first + 1, last + 1):
                self._commit(storage, name, number)
                if (name, number) == (NEW, BACKUP_AFTER):
                    self._backup = self._back_up(storage)
                next(self._backup, None)
            for _ in self._backup:
                pass
            storage.close()
            self._note(name, "closed", last)
        except StorageError:
            self._note(name, "failed", 0)
            self._try_again(storage, name)
            return EXIT_STORAGE
        return 0

    def _commit(self, storage: SqliteStorage, name: str, number: int) -> None:
        self._note(name, "begin", number)
        storage.commit(number, self._groups[number - 1])
        self._note(name, "ok", number)
        self._done = number
        storage.tidy(idle=False)
        if number % QUIET_EVERY == 0:
            while storage.tidy(idle=True):
                pass

    def _back_up(self, storage: SqliteStorage) -> Iterator[None]:
        """Step by step; if it fails, nothing else does."""
        try:
            made: Backup = yield from storage.back_up(backups_of(storage.path))
        except StorageError:
            return
        self._note(NEW, "backed up", made.group)

    def _try_again(self, storage: SqliteStorage, name: str) -> None:
        """Nothing may be accepted after a failure, whatever the disk says by then; and nothing written at the end."""
        for number in (self._done + 1, self._done + 2):
            with suppress(StorageError):
                storage.commit(number, self._groups[0])
                self._note(name, "accepted", number)
        with suppress(StorageError):
            storage.close()

    def _note(self, name: str, what: str, number: int) -> None:
        os.write(self._notes, f"{name} {what} {number}\n".encode())


def main(folder: str, groups: str, notes: str, careless: str = "") -> int:
    """Play it."""
    if careless:
        CARELESS[careless]()
    _small_pieces()
    blobs = msgspec.msgpack.decode(Path(groups).read_bytes(), type=list[bytes])
    fd = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return Life(Path(folder), blobs, fd).play()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
