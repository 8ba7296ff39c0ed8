"""The plainest reader of server-sent events: a socket, chunks taken apart, lines put together as the standard says."""

import json
import socket
from types import TracebackType
from typing import Any, Final, NamedTuple

SECONDS: Final = 20


class EndOfStream(Exception):
    """The server has ended the stream in good order."""


class Message(NamedTuple):
    """A block of lines: an event if it has data.

    Attributes:
        event: its type; empty if there was none.
        data: the lines of its data.
        id: as sent; None if there was none.
        comments: lines that say nothing.
    """

    event: str
    data: list[str]
    id: str | None
    comments: list[str]

    @property
    def json(self) -> Any:
        """Its data, which is one line of JSON."""
        (line,) = self.data
        return json.loads(line)


class EventSource:
    """One connection. Every wait ends: with a message, with `EndOfStream`, or with an OSError.

    Attributes:
        status, headers: of the answer.
        body: of an answer that is no stream.
    """

    def __init__(
        self, port: int, path: str = "/events", *, method: str = "GET", receive_buffer: int = 0, **headers: str
    ) -> None:
        """Ask and read the head of the answer. Underscores in a header's name are hyphens."""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(SECONDS)
        self.socket.connect(("127.0.0.1", port))
        self._reader = self.socket.makefile("rb")
        named = {"Host": f"127.0.0.1:{port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.status = int(self._reader.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._reader.readline().decode().strip():
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self.body = self._reader.read(int(self.headers.get("content-length", 0)))
        self._text = ""

    def __enter__(self) -> "EventSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def next_block(self) -> Message:
        """The next block of lines, also one without an event."""
        while "\n\n" not in self._text:
            self._text += self._chunk()
        block, _, self._text = self._text.partition("\n\n")
        event, data, id, comments = "", [], None, []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                id = value
            elif not name:
                comments.append(value)
        return Message(event, data, id, comments)

    def next(self) -> Message:
        """The next event, as a browser would hand it out."""
        while not (message := self.next_block()).data:
            pass
        return message

    def opening(self) -> str:
        """The id in the first block: where the stream begins."""
        id = self.next_block().id
        assert id is not None
        return id

    def close(self) -> None:
        """Go."""
        self._reader.close()
        self.socket.close()

    def _chunk(self) -> str:
        size = self._reader.readline()
        if not size:
            raise ConnectionResetError("the stream was cut off")
        chunk = self._reader.read(int(size, 16))
        self._reader.readline()
        if not chunk:
            raise EndOfStream
        return chunk.decode()
