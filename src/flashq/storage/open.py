"""From the setting DATABASE_URL to a backend. The only file that knows which backends there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from flashq.errors import StorageError
from flashq.storage.base import Storage
from flashq.storage.postgres import PostgresStorage
from flashq.storage.postgres_reading import PostgresSource
from flashq.storage.postgres_session import place_of
from flashq.storage.reading import Reading
from flashq.storage.sqlite import Durability, SqliteStorage
from flashq.storage.sqlite_reading import SqliteSource
from flashq.storage.windows import Retention

_SQLITE: Final = "sqlite:///"
_MEMORY: Final = "memory://"
_POSTGRES: Final = ("postgres://", "postgresql://")


def name_of(url: str) -> str:
    """What a database is called where everybody may read it: its URL, or what of it can be no password.

    Args:
        url: as for `storage_for`.
    """
    return place_of(url) if url.startswith(_POSTGRES) else url


def kind_of(url: str) -> str:
    """What keeps the jobs, in a word: ``sqlite``, ``postgres`` or ``memory``, however the address spells it.

    Args:
        url: as for `storage_for`.
    """
    return "postgres" if url.startswith(_POSTGRES) else url.partition(":")[0]


def storage_for(
    url: str,
    *,
    durability: Durability,
    steady_ms: Callable[[], int],
    retention: Retention | None = None,
    folder: Path = Path(),
    address: str = "",
    lost: Callable[[StorageError], None] | None = None,
) -> Storage | None:
    """The backend that a database URL names; not opened yet.

    Args:
        url: ``sqlite:///PATH``, where a path that begins with a slash starts at the root and any other in the working
            folder, ``postgres://...`` or ``postgresql://...`` as libpq knows it, or ``memory://``.
        durability: what a commit promises, for backends that have a choice.
        steady_ms: milliseconds of a clock that never jumps.
        retention: how much of the trail is kept; None: all of it.
        folder: this server's own, for what a database elsewhere cannot keep.
        address: where the server listens, for whoever finds the database in use.
        lost: called on another thread if another server takes over: the process must end.

    Returns:
        The backend, or None for a server that remembers nothing.

    Raises:
        StorageError: a library that the backend needs is missing.
        ValueError: no backend is named so. The sentence does not repeat the URL, which may hold a password.
    """
    if url == _MEMORY:
        return None
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        return SqliteStorage(path, steady_ms=steady_ms, durability=durability, retention=retention)
    if url.startswith(_POSTGRES):
        return PostgresStorage(
            url,
            folder,
            steady_ms=steady_ms,
            durability=durability,
            retention=retention,
            address=address,
            lost=lost,
        )
    raise _unknown(url)


def reading_for(url: str, folder: Path = Path()) -> Reading:
    """The same storage to be looked at while no server has it; nothing is touched yet.

    Args:
        url: as for `storage_for`.
        folder: the server's own, for what a database elsewhere cannot keep.

    Raises:
        ValueError: no backend is named so, or one that keeps nothing.
    """
    if url == _MEMORY:
        raise ValueError(f"a server on {_MEMORY} leaves nothing that could be looked at")
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return Reading(SqliteSource(Path(url.removeprefix(_SQLITE))))
    if url.startswith(_POSTGRES):
        return Reading(PostgresSource(url, folder))
    raise _unknown(url)


def _unknown(url: str) -> ValueError:
    scheme, _, rest = url.partition("://")
    what = f"{scheme}://..." if rest else "this"
    return ValueError(f"unknown storage: DATABASE_URL may be {_SQLITE}PATH, {_POSTGRES[0]}... or {_MEMORY}, not {what}")
