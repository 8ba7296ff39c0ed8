"""Storages that break their word on purpose: the controls of the tests of disks.

A harness that finds nothing wrong may be one that cannot find anything. So each of them is also held against a storage
that is wrong in a way it must see, and fails when it does not. `tests.crash.planted` serves with one of them.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from flashq.errors import StorageError
from flashq.storage import database, sqlite
from flashq.storage.fold import Fold
from flashq.storage.sqlite import SqliteStorage
from flashq.storage.tables import Tables
from flashq.storage.upkeep import Upkeep


def the_log_is_synced_seldom() -> None:
    """SQLite syncs its log when it moves it, and not at every commit."""
    _always("NORMAL")


def the_log_is_never_synced() -> None:
    """SQLite leaves it to the system when anything reaches the disk."""
    _always("OFF")


def _always(level: str) -> None:
    """One ``synchronous`` for all commits; and no second witness, so that a start shows what is left."""

    def set_level(self: Upkeep, _asked: str) -> None:
        self._connection.pragma("synchronous", level)

    Upkeep._set_level = set_level  # type: ignore[method-assign]
    sqlite.HighWater.check = lambda *_: None  # type: ignore[method-assign]


def the_journal_is_emptied_first() -> None:
    """Groups leave the journal before what they say has reached the tables."""
    fold_in = Tables.apply

    def apply(self: Tables, fold: Fold, last: int) -> Iterator[None]:
        self._db.fetch("DELETE FROM journal WHERE number <= ?1", last)
        yield from fold_in(self, fold, last)

    Tables.apply = apply  # type: ignore[method-assign]


def sqlite_moves_the_log_by_itself() -> None:
    """It does so when it likes to, and keeps to itself whether it worked."""
    connect = database.connect

    def connect_carelessly(path: Path) -> apsw.Connection:
        connection = connect(path)
        connection.pragma("wal_autocheckpoint", 8)
        return connection

    database.connect = connect_carelessly
    Upkeep._checkpoint = lambda self, limit: False  # type: ignore[method-assign]


def failed_commits_pass_for_done() -> None:
    """An error is nothing to make a fuss about."""
    commit = SqliteStorage.commit

    def commit_carelessly(self: SqliteStorage, number: int, blob: bytes) -> None:
        with suppress(StorageError):
            commit(self, number, blob)

    SqliteStorage.commit = commit_carelessly  # type: ignore[method-assign]


CARELESS: Final[dict[str, Callable[[], None]]] = {
    spoil.__name__: spoil
    for spoil in (
        the_log_is_synced_seldom,
        the_log_is_never_synced,
        the_journal_is_emptied_first,
        sqlite_moves_the_log_by_itself,
        failed_commits_pass_for_done,
    )
}
