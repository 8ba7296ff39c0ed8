"""A SQLite database opened so that nothing changes: not the file, not its log, not what lies beside them.

SQLite by itself is not that careful. It reads a database with a write-ahead log only if it may write to the log, or
make one that is missing, or make a file of shared memory; told that the file cannot change, it ignores the log and all
that was confirmed in it. So it is given files that are opened for reading only, an empty log in place of a missing one,
and a shared lock where it wants an exclusive one.

The shared lock is real. A server that has the database keeps us out; one that starts meanwhile finds it taken, says so
and changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import apsw

from flashq.storage import checksums
from flashq.storage.schema import migrate, steps

_NAME: Final = "flashq-traceless"
_PLAIN: Final = "unix"
"""SQLite's ordinary files: right for the log, which has checksums of its own."""

_WRITING: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


class _File(apsw.VFSFile):
    """A file that is read, and locked for reading."""

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802  # SQLite's name
        """Read; SQLite would take zeros for what is not there, and the checksums pass over a page that is cut off."""
        read = super().xRead(amount, offset)
        if len(read) < amount:
            raise apsw.CorruptError("its end is missing")
        return read

    def xLock(self, level: int) -> None:  # noqa: N802  # SQLite's name
        """Take the lock for reading; SQLite, which asks for more in order to read a log, is told that it has it."""
        if level == apsw.SQLITE_LOCK_SHARED:
            super().xLock(level)


class _NoLog(apsw.VFSFile):
    """A log in which nothing stands, without a file."""

    def __init__(self) -> None:
        """There is nothing to open."""

    def xFileSize(self) -> int:  # noqa: N802
        """There is nothing in it."""
        return 0

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: ARG002, N802
        """There is nothing in it."""
        return b""

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        """Nothing special."""
        return 0

    def xSectorSize(self) -> int:  # noqa: N802
        """That of a disk."""
        return 4096

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: ARG002, N802
        """No wish is known."""
        return False

    def xClose(self) -> None:  # noqa: N802
        """There is nothing to close."""


class _Files(apsw.VFS):
    """Files that are only read."""

    def __init__(self) -> None:
        super().__init__(_NAME, _PLAIN)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Open a file for reading; a log that is missing is an empty one."""
        if name is None:
            raise apsw.CantOpenError("nothing is written, so no temporary file either")
        path = name if isinstance(name, str) else name.filename()
        flags[0] = (flags[0] & ~_WRITING) | apsw.SQLITE_OPEN_READONLY
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            if Path(path).exists():
                return _File(_PLAIN, name, flags)
            flags[1] = flags[0]  # else SQLite would want to delete it in the end
            return _NoLog()
        return _File(checksums.vfs() or _PLAIN, name, flags)

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Where a name leads; of a symbolic link SQLite would tell apsw in a way that it takes for an error."""
        return str(Path(name).resolve())

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: ARG002, N802
        """Nothing is deleted."""
        raise apsw.ReadOnlyError(f"{filename} is only looked at")


_files: Final = _Files()
"""Known to SQLite by its name for as long as it lives."""


@contextmanager
def looked_at(path: Path) -> Iterator[apsw.Connection]:
    """A connection that can only read; nobody writes while it is there.

    Args:
        path: of a database.

    Yields:
        The connection. Its first statement raises `apsw.BusyError` while a server has the database.

    Raises:
        apsw.Error: it cannot be opened.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=_NAME)
    try:
        connection.pragma("locking_mode", "EXCLUSIVE")  # no file of shared memory
        connection.pragma("temp_store", "MEMORY")
        connection.pragma("trusted_schema", "OFF")  # a crafted file must not run code
        connection.pragma("cell_size_check", "ON")
        yield connection
    finally:
        connection.close()


@contextmanager
def brought_up(source: apsw.Connection) -> Iterator[apsw.Connection]:
    """A copy of a database with an older schema, in a folder for temporary files, with the newest one.

    Args:
        source: the older one; stays as it is.

    Yields:
        A connection to the copy, which is gone afterwards.

    Raises:
        apsw.Error, OSError: it cannot be copied.
    """
    with TemporaryDirectory(prefix="flashq-") as folder:
        copy = apsw.Connection(str(Path(folder) / "copy.db"))
        try:
            copy.pragma("synchronous", "OFF")
            with copy.backup("main", source, "main") as pages:
                while not pages.done:
                    pages.step(1_000)
            migrate(copy, steps("sqlite"))
            yield copy
        finally:
            copy.close()
