"""The files around a database: the folder, the lock that keeps a second server out, what must be done to the disk.

SQLite locks its file as well, but with locks that a process loses when it closes any descriptor of that file, and
only once the file is open. Ours is taken before anything else is touched, and the sentence can name the folder.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from flashq.errors import StorageError

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
"""Jobs carry what their owners put in; other accounts of the machine have no business with it."""

AHEAD_BYTES: Final = 1024**3
"""How much of a file is read ahead: more would drive out of the system's cache what was read first."""
_PIECE_BYTES: Final = 1024**2


class FolderLock:
    """Ownership of a database, for as long as the process lives or until `release`."""

    def __init__(self, database: Path) -> None:
        """Take it.

        Args:
            database: the file to own; the lock is a file beside it.

        Raises:
            StorageError: another server has it.
            OSError: the lock file cannot be made.
        """
        path = database.with_name(database.name + ".lock")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise StorageError(
                f"another FlashQ server is using {database.name} in the folder {database.parent}; "
                "stop it, or give this one a DATA_DIR of its own"
            ) from error

    def release(self) -> None:
        """Let others in. The file stays: removing it would let two servers lock two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def make_folder(folder: Path) -> None:
    """Make the data folder, for its owner only, and whatever is missing above it, so that a power cut takes none away.

    Raises:
        OSError: it cannot be made, or is not a folder.
    """
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    if missing:
        folder.mkdir(mode=_FOLDER_MODE, parents=True)
    for made in missing:
        sync_folder(made.parent)


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may read, whatever the umask says. One that is there is replaced.

    Raises:
        OSError: it cannot be made.
    """
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    os.fchmod(fd, _FILE_MODE)
    os.close(fd)


def publish(new: Path, path: Path) -> None:
    """Give a finished file its name, so that it appears whole or not at all, also after a power cut.

    Raises:
        OSError: the disk failed.
    """
    fd = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    new.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; a synced file without a name is lost.

    Raises:
        OSError: the disk failed.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a file, read from the disk.

    What an earlier process failed to sync may look written for as long as its pages are cached; so they are dropped
    first, for all of the file. Only for a file that nothing in this process has open: closing it would drop the
    locks that SQLite holds on it.

    Args:
        path: of the file; one that is missing has no bytes.
        size: how many bytes at most.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists():
        return b""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.read(fd, size)
    except OSError as error:
        error.filename = str(path)  # a folder can be opened, and the error of reading it names nothing
        raise
    finally:
        os.close(fd)


def read_ahead(path: Path) -> None:
    """Have the system cache a file that will be read in another order than that of the disk.

    To wait for each page of a database singly takes four times as long as to check it. Only for a file that nothing in
    this process has open; see `read_head`. What cannot be read is left to whoever needs it.

    Args:
        path: of the file.
    """
    piece = bytearray(_PIECE_BYTES)
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        for _ in range(AHEAD_BYTES // _PIECE_BYTES):
            if not file.readinto(piece):
                break
