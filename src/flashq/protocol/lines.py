"""Newline framing without I/O: bytes in, whole lines out, whatever the pieces they came in."""

from flashq.errors import TooLarge
from flashq.protocol.limits import MAX_LINE_BYTES


class LineSplitter:
    """Cuts one connection's stream into lines. Holds at most one unfinished line."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        """Args: ``limit``: the longest line in bytes, its end not counted."""
        # One growing buffer and not a list of pieces: a line that dribbles in byte by byte costs its length.
        self._buffer = bytearray()
        self._limit = limit

    @property
    def held(self) -> int:
        """Bytes of the unfinished line."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what came and return the lines that are now whole, without their ends.

        Raises:
            TooLarge: a line is over the limit. The stream cannot be read any further.
        """
        end = data.rfind(b"\n")
        if end < 0:
            self._buffer += data
            size = len(self._buffer)
            if size > self._limit and not (size == self._limit + 1 and self._buffer.endswith(b"\r")):  # half its end?
                self._refuse(size)
            return []
        if self._buffer:
            self._buffer += memoryview(data)[:end]
            head = bytes(self._buffer)
            self._buffer = bytearray()
        else:
            head = data[:end]
        if end + 1 < len(data):
            self._buffer += memoryview(data)[end + 1 :]
        lines = head.split(b"\n")
        if b"\r" in head:
            lines = [line.removesuffix(b"\r") for line in lines]
        if len(head) > self._limit:
            longest = max(map(len, lines))
            if longest > self._limit:
                self._refuse(longest)
        return lines

    def _refuse(self, size: int) -> None:
        raise TooLarge(f"Line too large ({size} bytes so far, max {self._limit} bytes)")
