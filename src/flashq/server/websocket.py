"""uvicorn's WebSocket protocol, with a bound on what a client may say that has nothing to say.

A frame may be six bytes, and each is parsed in Python: a read could hold forty thousand pings, half a second of the
event loop, each with an answer that need not be read.
"""

from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

FRAME_BYTES: Final = 4 * 1024
"""One message from a client."""

HEAD_BYTES: Final = 14
"""Of the largest frame: https://www.rfc-editor.org/rfc/rfc6455#section-5.2."""

HEARD_BYTES: Final = FRAME_BYTES + HEAD_BYTES
"""What a client may say between two of our pings: pongs, some pings, or one message too many."""


class ListenerSocket(WebSocketsSansIOProtocol):
    """The WebSocket of a client that listens."""

    _heard = 0

    def data_received(self, data: bytes) -> None:
        """It sent something. The request that made the connection a WebSocket comes the same way."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        allowed = HEARD_BYTES - self._heard
        self._heard += len(data)
        super().data_received(data[:allowed])  # a message too long is told so by its head
        if len(data) > allowed and not self.transport.is_closing():
            self.transport.abort()

    def send_keepalive_ping(self) -> None:
        """Ask whether it is still there."""
        self._heard = 0
        super().send_keepalive_ping()
