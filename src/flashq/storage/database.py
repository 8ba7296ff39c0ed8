"""One SQLite file: looked at, made, connected to and checked, with errors in plain words.

Whatever is wrong with the file is found before anything in it is changed, and the sentence names it.
"""

import errno
import os
from pathlib import Path
from typing import Final

import apsw
import msgspec

from flashq.errors import StorageError, StorageFull
from flashq.storage import checksums
from flashq.storage.files import make_file, publish, read_head
from flashq.storage.schema import APPLICATION_ID, migrate, steps

_SQLITE_FLOOR: Final = (3, 51, 3)
"""The first version without the race between a checkpoint and a commit that could corrupt a database."""

_HEADER_BYTES: Final = 100
_LOG_HEAD_BYTES: Final = 32
_FRAME_HEAD_BYTES: Final = 24
_MAGIC: Final = b"SQLite format 3\x00"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (apsw.CorruptError, "the database is damaged"),
    (apsw.NotADBError, "the database is damaged"),
    (msgspec.MsgspecError, "the database is damaged"),
    (UnicodeError, "the database is damaged"),
    (apsw.BusyError, "another program has the database open"),
    (apsw.CantOpenError, "the database cannot be opened"),
    (apsw.ReadOnlyError, "the database cannot be written to"),
    (apsw.IOError, "reading or writing the disk failed"),
    (apsw.Error, "SQLite failed"),
)
_WRONG_SUM: Final = "the database is damaged: what is in a page does not fit its checksum"
TROUBLE: Final = (apsw.Error, OSError, msgspec.MsgspecError, UnicodeError)
"""What a database can raise besides StorageError: `in_plain_words` knows them all."""


def require_sound_sqlite() -> None:
    """Raises StorageError when the SQLite library is one that can corrupt a database."""
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < _SQLITE_FLOOR:
        raise StorageError(f"SQLite {version} can corrupt a database; install an apsw with 3.51.3 or newer")


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to the database at ``path``."""
    return path.with_name(path.name + suffix)


def is_there(path: Path) -> bool:
    """Look at the file before SQLite does, which might change it.

    Args:
        path: of the database.

    Returns:
        Whether there is a database; it is one of ours then.

    Raises:
        StorageError: there is something else.
        OSError: it cannot be read.
    """
    head = read_head(path, _HEADER_BYTES)
    log = beside(path, "-wal")
    logged = read_head(log, 1)
    if not head:
        if logged:  # SQLite would replay it into the new database
            raise StorageError(f"{path}: the database is missing, but its log is there: {log.name}")
        return False
    if len(head) < _HEADER_BYTES or not head.startswith(_MAGIC):
        raise StorageError(f"{path}: not a FlashQ database, or its beginning is damaged")
    if int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise StorageError(f"{path}: a database, but of another program")
    if checksums.in_header(head) and checksums.vfs() is None:
        raise StorageError(f"{path}: its pages have checksums, and this apsw has no cksumvfs: install one from a wheel")
    return True


def create(path: Path) -> None:
    """Make a new database; under another name until it is whole, so that a crash leaves no half of one.

    Raises:
        apsw.Error, OSError: it cannot be made.
    """
    new = beside(path, ".new")
    beside(path, ".new-journal").unlink(missing_ok=True)
    make_file(new)
    connection = apsw.Connection(str(new), flags=apsw.SQLITE_OPEN_READWRITE, vfs=checksums.vfs())
    try:
        if checksums.vfs() is not None:
            connection.reserve_bytes("main", checksums.RESERVED_BYTES)
        connection.pragma("application_id", APPLICATION_ID)
        migrate(connection, steps("sqlite"))
    finally:
        connection.close()
    publish(new, path)


def connect(path: Path) -> apsw.Connection:
    """The one connection to a database, with the settings that make it safe.

    Raises:
        StorageError: the file may only be read, or the disk has no write-ahead log.
        apsw.Error: it cannot be opened.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=checksums.vfs())
    try:
        if connection.readonly("main"):  # SQLite opens what it may only read without a word
            raise StorageError(f"{path}: the database may not be written to")
        # Closing must not write: a database that is refused stays as it is, and so does one whose disk has failed.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.pragma("locking_mode", "EXCLUSIVE")  # before the first access: no shared-memory file then
        connection.pragma("trusted_schema", "OFF")  # a crafted file must not run code
        connection.pragma("cell_size_check", "ON")  # a damaged page must raise where it is met
        connection.pragma("mmap_size", 0)  # and an unreadable one must not end the process
        connection.pragma("cache_size", -16 * 1024)
        connection.pragma("temp_store", "MEMORY")
        if connection.pragma("journal_mode", "WAL") != "wal":
            raise StorageError(f"{path}: a write-ahead log is not possible here")
        connection.pragma("wal_autocheckpoint", 0)
        connection.pragma("synchronous", "FULL")
        connection.pragma("fullfsync", 1)  # macOS: to the disk, not only to its cache
    except BaseException:
        connection.close()
        raise
    return connection


def check_pages(connection: apsw.Connection, path: Path) -> None:
    """Check the structure of the whole file: 0.3 s for a million jobs, if it is cached. More thorough after a failure.

    Args:
        connection: to the database.
        path: of the database.

    Raises:
        StorageError: it is damaged.
        apsw.Error, OSError: so badly that it cannot be checked.
    """
    marker = beside(path, ".failed")
    verdict = connection.pragma("integrity_check" if marker.exists() else "quick_check", 1)
    if f"error code={apsw.SQLITE_IOERR_DATA}" in verdict:
        raise StorageError(f"{path}: {_WRONG_SUM}")
    if verdict != "ok":
        raise StorageError(f"{path}: the database is damaged: {' '.join(verdict.split())}")
    cut_off = _cut_off(connection)
    if cut_off and not cut_off <= _in_log(connection):
        raise StorageError(f"{path}: the database is damaged (its end is missing)")
    marker.unlink(missing_ok=True)


def _cut_off(connection: apsw.Connection) -> set[int]:
    """Numbers of the pages that are not, or not whole, in the file.

    SQLite takes zeros for what is missing, which may well end a long row, and compares no checksum of such a page.
    """
    whole = Path(connection.filename).stat().st_size // connection.pragma("page_size")
    return set(range(whole + 1, connection.pragma("page_count") + 1))


def _in_log(connection: apsw.Connection) -> set[int]:
    """Numbers of the pages that SQLite reads from the log; a crash while it is moved leaves the file without them.

    Each frame begins with the number of its page: https://sqlite.org/fileformat2.html#the_write_ahead_log
    """
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    if not frames:  # and perhaps no file
        return set()
    step = _FRAME_HEAD_BYTES + connection.pragma("page_size")
    with Path(connection.filename_wal).open("rb", buffering=0) as log:
        return {int.from_bytes(os.pread(log.fileno(), 4, _LOG_HEAD_BYTES + at * step)) for at in range(frames)}


def note_failure(path: Path) -> None:
    """Ask the next start for the thorough check.

    Raises:
        OSError: the disk is too far gone for that.
    """
    make_file(beside(path, ".failed"))


def in_plain_words(error: Exception, path: Path) -> StorageError:
    """One of `TROUBLE` as what a person is told.

    Args:
        error: what was raised.
        path: of the database.
    """
    if isinstance(error, OSError):
        where = error.filename or path
        if error.errno in _FULL:
            return StorageFull(f"{where}: there is no room left on the disk")
        return StorageError(f"{where}: {error.strerror or error}")
    if isinstance(error, apsw.FullError):
        return StorageFull(f"{path}: there is no room left on the disk")
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
        return StorageError(f"{path}: {_WRONG_SUM}")
    words = next(words for kind, words in _WORDS if isinstance(error, kind))
    return StorageError(f"{path}: {words} ({error})")
