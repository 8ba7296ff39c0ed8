"""uvicorn's WebSocket protocol, with a bound on what a client may say that has nothing to say.

A frame may be six bytes, and each is parsed in Python: a read could hold forty thousand pings, half a second of the
event loop, each with an answer that need not be read.
"""

from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from flashq.transports.base import Patient

FRAME_BYTES: Final = 4 * 1024
"""One message from a client."""

HEARD_BYTES: Final = FRAME_BYTES + 14
"""What a client may say between two of our pings: pongs, some pings, or one message too many. The largest head of a
frame has 14 bytes: https://www.rfc-editor.org/rfc/rfc6455#section-5.2."""

PORTION_BYTES: Final = 512
"""Of it, what is taken in a turn of the loop: some eighty pings, about a millisecond."""


class ListenerSocket(WebSocketsSansIOProtocol):
    """The WebSocket of a client that listens."""

    _heard = 0
    _later = b""

    def __init__(self, after_others: Callable[[Patient], None], **settings: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Build it.

        Args:
            after_others: see `flashq.transports.base.Turns`.
            settings: what uvicorn hands to a protocol.
        """
        super().__init__(**settings)
        self._after_others = after_others

    def data_received(self, data: bytes) -> None:
        """It sent something. The request that made the connection a WebSocket comes the same way."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        allowed = HEARD_BYTES - self._heard
        self._heard += len(data)
        self._take(data[:allowed])  # a message too long is told so by its head
        if len(data) > allowed and not self.transport.is_closing():
            self.transport.abort()

    def go_on(self) -> None:
        """The others have had their turn: take the rest of what it said."""
        later, self._later = self._later, b""
        if not self.transport.is_closing():
            self._take(later)
            if not self._later:
                self.transport.resume_reading()

    def send_keepalive_ping(self) -> None:
        """Ask whether it is still there."""
        self._heard = 0
        super().send_keepalive_ping()

    def _take(self, data: bytes) -> None:
        if self._later:  # uvicorn reads on when the application asks for more
            self._later += data
            return
        if len(data) > PORTION_BYTES:
            data, self._later = data[:PORTION_BYTES], data[PORTION_BYTES:]
            self.transport.pause_reading()
            self._after_others(self)
        super().data_received(data)
