"""The high-water file: the newest group that was certainly in the database, told by somebody other than it.

SQLite ends its log at the first bad checksum without a word. So a flipped bit in the log, a lost log file or an old
copy put in place of the database all look like a database that is merely shorter. What was confirmed would be gone,
and nobody would know. A second witness, written after the fact, makes this visible at the next start.

Two slots of 32 bytes are written in turn, so that a write cut short leaves the other whole::

    8 bytes  "FLASHQHW"        8 bytes  epoch
    8 bytes  number of group   4 bytes  0       4 bytes  CRC-32 of the 28 before
"""

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from flashq.errors import StorageError

_SLOT: Final = struct.Struct(">8sQQI")
_CHECK: Final = struct.Struct(">I")
_SLOT_BYTES: Final = _SLOT.size + _CHECK.size
_NAME: Final = b"FLASHQHW"


class Mark(NamedTuple):
    """How far a database had come. Marks are compared member by member: neither may go back."""

    number: int
    epoch: int


class HighWater:
    """The file beside a database that says how far the database had come.

    Attributes:
        mark: what the file says; (0, 0) while it says nothing.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one, and see that it may be written: later there is something to undo.

        Args:
            path: of the file.

        Raises:
            StorageError: no slot of the file is whole.
            OSError: it cannot be read or written.
        """
        self._path = path
        self._fd = -1
        content = b""
        if path.exists():
            with path.open("r+b") as file:
                content = file.read()
        found = [_read(content, slot) for slot in (0, 1)]
        if content.strip(b"\0") and found == [None, None]:  # zeros: made, and the machine stopped before it was written
            raise StorageError(
                f"{path}: the high-water file is damaged, so it cannot be told whether the database is complete; "
                "if you know that it is, remove this file"
            )
        marks = [mark if mark is not None else Mark(0, 0) for mark in found]
        self.mark = max(marks)
        self._next_slot = 0 if marks[1] == self.mark else 1

    def check(self, found: Mark, database: Path) -> None:
        """Compare with what the database says of itself.

        Args:
            found: how far the database has come.
            database: its file, for the sentence.

        Raises:
            StorageError: it had come further before.
        """
        if found.number < self.mark.number or found.epoch < self.mark.epoch:
            raise StorageError(
                f"{database}: storage went back in time: it holds {found.number} groups of {found.epoch} starts, but "
                f"{self.mark.number} groups of {self.mark.epoch} starts had been confirmed. A part of it is lost or "
                f"an older copy is in its place. To go on with what is there, remove {self._path}"
            )

    def write(self, mark: Mark) -> None:
        """Say that the database has come so far; synced when it returns.

        Args:
            mark: durable already, and not behind the one before.

        Raises:
            OSError: it cannot be written.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        body = _SLOT.pack(_NAME, mark.epoch, mark.number, 0)
        os.pwrite(self._fd, body + _CHECK.pack(crc32(body)), self._next_slot * _SLOT_BYTES)
        os.fsync(self._fd)
        self._next_slot = 1 - self._next_slot
        self.mark = mark

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _read(content: bytes, slot: int) -> Mark | None:
    piece = content[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES]
    if len(piece) < _SLOT_BYTES or _CHECK.unpack_from(piece, _SLOT.size)[0] != crc32(piece[: _SLOT.size]):
        return None
    name, epoch, number, _ = _SLOT.unpack_from(piece)
    return Mark(number, epoch) if name == _NAME else None
