"""Encryption for both clients: whom to believe, and TLS on top of a blocking socket.

asyncio brings TLS along and needs the context only. The plain client leaves the keeping of time to the system
(``SO_RCVTIMEO``) and looks at its sockets with ``poll``; `ssl.SSLSocket` bears neither (it would wait on for ever, and
hide bytes that ``poll`` cannot see). So `TlsStream` moves the bytes itself, between a socket and an `ssl.SSLObject`.
"""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

from flashq.client.address import Address
from flashq.errors import BadRequest

RECEIVE_BYTES: Final = 65_536
"""Read at once: four of the largest records of TLS."""


def context(address: Address) -> ssl.SSLContext | None:
    """What to check a server's certificate with; None for an address without TLS.

    The server must show a certificate for the host's name, signed by someone in the address's ``ca``, or, without
    one, by someone whom the system believes; TLS is 1.2 at least.

    Raises:
        BadRequest: the file of certificates cannot be read.
    """
    if not address.tls:
        return None
    try:
        return ssl.create_default_context(cafile=address.ca or None)
    except OSError as error:
        raise BadRequest(f"Invalid: no certificates could be read from ca {address.ca!r}: {error}") from None


def untrusted(error: BaseException) -> bool:
    """Whether the server's certificate was refused: another attempt would only meet it again."""
    return isinstance(error, ssl.SSLCertVerificationError)


class TlsStream:
    """TLS over a connected socket, for one thread at a time; `shutdown` may come from another one.

    Args:
        connected: the socket; it is this object's from now on.
        context: whom to believe.
        host: whose certificate the server must show.
        timeout_s: how long the handshake may take.

    Raises:
        OSError: the handshake failed, or took too long. The socket is closed then.
    """

    __slots__ = ("_came", "_promised", "_socket", "_tls", "_to_send", "_unsent")

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, host: str, timeout_s: float) -> None:
        self._socket = connected
        self._came = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._to_send, server_hostname=host)
        self._unsent = b""
        self._promised = 0
        try:
            self._shake_hands(time.monotonic() + timeout_s)
        except BaseException:
            connected.close()
            raise

    def sendall(self, data: bytes) -> None:
        """Write all of it."""
        self._tls.write(data)
        self._socket.sendall(self._to_send.read())

    def send(self, data: memoryview) -> int:
        """Write what goes at once.

        What was encrypted must be sent as it is, so bytes count as written only when all that they became has left:
        until then this returns 0, and expects to be offered the same bytes first.
        """
        if not self._unsent:
            self._promised = self._tls.write(data)
            self._unsent = self._to_send.read()
        self._unsent = self._unsent[self._socket.send(self._unsent) :]
        return 0 if self._unsent else self._promised

    def recv(self, _: int, __: int = 0) -> bytes:
        """Read, and wait for it if the socket waits.

        All that can be decrypted is given, whatever was asked for: bytes that stay behind would be seen by no
        ``poll``. For the same reason there is no looking ahead (``MSG_PEEK``): what is seen is taken.

        Raises:
            BlockingIOError: nothing there, or nothing in time.
            OSError: the connection ended, or what came is not TLS.
        """
        while True:
            data = self._decrypted()
            if data is not None:
                return data
            self._take(self._socket.recv(RECEIVE_BYTES))

    def setblocking(self, blocking: bool) -> None:
        """Whether calls wait."""
        self._socket.setblocking(blocking)

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        """An option of the socket."""
        self._socket.setsockopt(level, name, value)

    def fileno(self) -> int:
        """To wait for."""
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        """End it, and wake whoever waits.

        Without TLS's own word of farewell: it guards against a text that somebody cut short, and a cut line has no end.
        """
        self._socket.shutdown(how)

    def close(self) -> None:
        """Give the socket back to the system."""
        self._socket.close()

    # inside

    def _shake_hands(self, deadline: float) -> None:
        while not self._done(self._tls.do_handshake):
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._take(self._socket.recv(RECEIVE_BYTES))

    def _done(self, step: Callable[[], object]) -> bool:
        """Whether a step could be done with the bytes that came; what it has to say is sent in either case."""
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        finally:
            if self._to_send.pending:
                self._socket.sendall(self._to_send.read())
        return True

    def _take(self, data: bytes) -> None:
        if data:
            self._came.write(data)
        else:
            self._came.write_eof()

    def _decrypted(self) -> bytes | None:
        """All that can be read of what came: nothing at the end, None if it is too little for a single byte."""
        parts: list[bytes] = []
        try:
            while part := self._tls.read(RECEIVE_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts) if parts else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass  # the end, with or without farewell; what stood before it is told first
        return b"".join(parts)
