"""A transport without a socket: it remembers what a connection does with it, and the test is the client."""

from asyncio import BaseProtocol


class FakeTransport:
    """Keeps what was written. The test says how much of it the client has not read.

    Attributes:
        written: everything so far.
        unread: bytes in the buffer, as the connection is told.
        reading: whether the connection reads.
        eof, closed, aborted: whether the connection has done so.
    """

    def __init__(self) -> None:
        self.written = bytearray()
        self.unread = 0
        self.reading = True
        self.eof = False
        self.closed = False
        self.aborted = False
        self.marks = (0, 0)
        self.connection: BaseProtocol | None = None
        self.peer = ("192.0.2.7", 4711)
        self.stalled = False
        """The client does not read: what is written stays in the buffer."""

    def get_extra_info(self, name: str) -> object:
        """Where the client is, and nothing of TLS."""
        return {"peername": self.peer}.get(name)

    def write(self, data: bytes) -> None:
        """As asyncio has it: writing behind the end is a mistake, and a full buffer is told at once.

        So is writing behind a close, though asyncio forgives it; who was cut off need not know it yet.
        """
        if self.eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        assert not self.closed
        self.written += data
        if self.stalled:
            before, self.unread = self.unread, self.unread + len(data)
            if before <= self.marks[0] < self.unread and self.connection is not None:
                self.connection.pause_writing()

    def drained(self) -> None:
        """The client has read everything, this once."""
        was, self.unread = self.unread, 0
        if was > self.marks[0] and self.connection is not None:
            self.connection.resume_writing()

    def write_eof(self) -> None:
        """No more will be written."""
        self.eof = True

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """The marks."""
        self.marks = (high, low)

    def get_write_buffer_size(self) -> int:
        """What the client has not read."""
        return self.unread

    def pause_reading(self) -> None:
        """The connection does not want to read."""
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        """The connection wants to read."""
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self.closed or self.aborted

    def close(self) -> None:
        """Close when everything is sent."""
        self.closed = True

    def abort(self) -> None:
        """Close now."""
        self.aborted = True
