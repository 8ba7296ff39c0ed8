"""Events over HTTP: GET /events as server-sent events, GET /ws as a WebSocket, both of all queues or of one.

A connection has the one task that its server gives it, which waits for the listener to go. What there is to send is
sent by a second task that lives only as long as there is something. So an idle listener costs as little as can be, and
one that does not read holds up nobody: see `flashq.observe.streams`.
"""

import asyncio
from typing import Any, Final, Protocol

from flashq.commands.session import Session
from flashq.errors import BadRequest, FlashQError
from flashq.observe.events import ALL
from flashq.observe.ring import Told
from flashq.observe.streams import Ending, Portion, Stream, Streams
from flashq.protocol.codec import encode, failure
from flashq.protocol.requests import Subscribe
from flashq.transports.calls import Outcome, Pending
from flashq.transports.http.auth import query_of
from flashq.transports.http.endpoints import Door, Receive, Scope, Send, send_all, send_error
from flashq.transports.http.envelope import JSON, SAFE, Headers, refusal

SSE: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would collect 4 kB before it passes anything on
    *SAFE,
]

RETRY_MS: Final = 2_000
"""When a browser connects again after a connection broke: before what it missed is forgotten, and not all at once."""

MAX_EVENT_ID_CHARS: Final = 40
"""An id is two numbers; of a longer one there is nothing to read."""


class Form(Protocol):
    """How a stream looks on one kind of connection."""

    def opening(self, position: int | None) -> list[dict[str, Any]]:
        """What comes first. ``position``: the number up to which nothing is to come, None when that is not known."""

    def portion(self, portion: Portion, position: int) -> list[dict[str, Any]]:
        """Events, and the marks before them. ``position``: the number of the newest event."""

    def beat(self, position: int | None) -> list[dict[str, Any]]:
        """A sign of life."""

    def end(self, ending: Ending) -> dict[str, Any]:
        """The end."""

    def farewell(self, ending: Ending) -> bytes:
        """The end, for one whose connection takes no more of what is sent the usual way."""


class Events:
    """Server-sent events: ``text/event-stream``, as the HTML standard has it."""

    def __init__(self, door: Door, streams: Streams) -> None:
        """Args: ``door``: what all endpoints share; ``streams``: all that are open."""
        self._door = door
        self._streams = streams
        self._form = _EventLines(streams.hub.boot)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell one listener, until it goes."""
        outlet = _Outlet(scope, send, self._form, self._streams, beats=True)
        try:
            refused = await outlet.subscribe(self._door, scope)
            if refused:
                await send_error(send, refused)
                return
            await send({"type": "http.response.start", "status": 200, "headers": SSE})
            await outlet.begin()
            while (await receive())["type"] == "http.request":
                pass
        finally:
            outlet.close()


class WebSockets:
    """A WebSocket: one text frame an event. What a client says is refused: commands have a door of their own."""

    def __init__(self, door: Door, streams: Streams) -> None:
        """Args: ``door``: what all endpoints share; ``streams``: all that are open."""
        self._door = door
        self._streams = streams
        self._plain = _Frames(streams.hub.boot, ids=False)
        self._numbered = _Frames(streams.hub.boot, ids=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell one listener, until it goes."""
        await receive()
        outlet = _Outlet(scope, send, self._plain, self._streams, beats=False)
        try:
            refused = await outlet.subscribe(self._door, scope)
            if refused:
                await _reject(receive, send, refused)
                return
            if outlet.goes_on:
                outlet.form = self._numbered
            await send({"type": "websocket.accept"})
            await outlet.begin()
            while (await receive())["type"] != "websocket.disconnect":
                outlet.stream.end(Ending.UNSUPPORTED)
        finally:
            outlet.close()


def event_streams(door: Door, streams: Streams) -> dict[tuple[str, str], Any]:
    """Both, by the kind of connection and the first word of their path."""
    return {
        ("http", "events"): Events(door, streams),
        ("websocket", "ws"): WebSockets(door, streams),
        ("http", "ws"): _no_websocket,
    }


async def _no_websocket(_: Scope, __: Receive, send: Send) -> None:
    """Tell one who asked for a page where there is none."""
    headers = [*JSON, (b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    await send_all(send, 426, headers, encode(failure(BadRequest("Invalid: there is only a WebSocket here"))))


class _Outlet:
    """The door's side of a stream.

    Attributes:
        goes_on: whether the listener named an event to go on from, even an empty one.
    """

    __slots__ = (
        "_begun",
        "_ended",
        "_in_line",
        "_send",
        "_streams",
        "_task",
        "_transport",
        "form",
        "goes_on",
        "session",
        "stream",
    )

    def __init__(self, scope: Scope, send: Send, form: Form, streams: Streams, *, beats: bool) -> None:
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._send = send
        self._streams = streams
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._ended = False
        self._in_line = False
        self.form = form
        self.goes_on = False
        self.session = Session()
        self.stream = Stream(streams, self, self._revoked, beats=beats)

    async def subscribe(self, door: Door, scope: Scope) -> FlashQError | None:
        """Let the listener hear what it asks for. Returns why it may not; see `Outcome`."""
        try:
            begun = self._ask(door, scope)
        except FlashQError as error:
            return error.with_traceback(None)
        outcome = await begun.future if isinstance(begun, Pending) else begun
        return outcome if isinstance(outcome, FlashQError) else None

    def _ask(self, door: Door, scope: Scope) -> Outcome | Pending:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.session = door.gate.admit(scope, headers, same_site=True, token_in_query=True)
        query = query_of(scope)
        self.session.subscriber = self.stream
        types = [word.strip() for word in query.get("types", "").split(",") if word.strip()]
        self._streams.add(self.stream)
        request = Subscribe(queue=scope["path_params"].get("queue", ALL), events=types)
        begun = door.calls.begin(self.session, request, lambda _, __: b"")
        last = headers.get(b"last-event-id", b"").decode("latin-1") or query.get("last_event_id")
        self.goes_on = last is not None
        if last:
            self.stream.replay(_number(last, self._streams.hub.boot))
        return begun

    async def begin(self) -> None:
        """The connection can take events."""
        for message in self.form.opening(self.stream.position):
            await self._send(message)
        self._begun = True
        self.wake()

    def close(self) -> None:
        """The listener is gone."""
        self._streams.remove(self.stream)
        self.session.subscriber = None  # they know each other, and the collector comes late
        self._begun = False
        if self._task is not None:
            self._task.cancel()

    # --- the stream's side ---

    def wake(self) -> None:
        """There is something to send."""
        if self._begun and not self._in_line and self._task is None:
            self._in_line = True
            self._streams.in_turn(self)

    def go_on(self) -> None:
        """Send some of it."""
        self._in_line = False
        if self._begun:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def unread(self) -> int:
        """Bytes that the listener has not read."""
        return self._transport.get_write_buffer_size()

    def turn_out(self, ending: Ending) -> None:
        """Say so behind what is on its way, and close: the usual way waits until the listener reads."""
        farewell = self.form.farewell(ending)
        if farewell:
            self._transport.write(farewell)
        self._transport.close()

    def cut(self) -> None:
        """Close without a word."""
        self._transport.abort()

    async def _run(self) -> None:
        """Send a portion, and ask for another turn if there is more."""
        try:
            for message in self._next():
                await self._send(message)
        except OSError:
            return  # it has gone, as the other task is about to see
        finally:
            self._task = None
        stream = self.stream
        if stream.pending or stream.beat or (stream.ending is not None and not self._ended):
            self.wake()

    def _next(self) -> list[dict[str, Any]]:
        stream = self.stream
        portion = stream.take()
        if portion is not None:
            return self.form.portion(portion, self._streams.hub.position)
        if stream.ending is not None:
            if self._ended:
                return []
            self._ended = True
            return [self.form.end(stream.ending)]
        if stream.beat:
            stream.beat = False
            return self.form.beat(stream.position)
        return []

    def _revoked(self) -> bool:
        identity = self.session.identity
        return identity is not None and identity.revoked


class _EventLines:
    """Server-sent events."""

    def __init__(self, boot: int) -> None:
        self._boot = boot

    def opening(self, position: int | None) -> list[dict[str, Any]]:
        return [_body(b"retry: %d\n%b\n" % (RETRY_MS, self._id(position)))]

    def portion(self, portion: Portion, position: int) -> list[dict[str, Any]]:
        lines = []
        if portion.reset:
            lines.append(b'event: reset\ndata: {"reset":true}\n%b\n' % self._id(position))
        if portion.lagged:
            lines.append(b'event: lagged\ndata: {"lagged":%d}\n\n' % portion.lagged)
        lines += map(self._event, portion.events)
        return [_body(b"".join(lines))]

    def beat(self, position: int | None) -> list[dict[str, Any]]:
        return [_body(b": still here\n%b\n" % self._id(position))]

    def end(self, ending: Ending) -> dict[str, Any]:  # noqa: ARG002 - there is one way to end
        return {"type": "http.response.body", "body": b"", "more_body": False}

    def farewell(self, ending: Ending) -> bytes:  # noqa: ARG002
        return b""

    def _event(self, told: Told) -> bytes:
        return b"event: %b\n%bdata: %b\n\n" % (told.event.event_type.encode(), self._id(told.number), told.json)

    def _id(self, number: int | None) -> bytes:
        """The line from which the listener's next connection goes on; also without an event it moves it on."""
        return b"" if number is None else b"id: %x-%d\n" % (self._boot, number)


class _Frames:
    """WebSocket messages."""

    def __init__(self, boot: int, *, ids: bool) -> None:
        """Args: ``ids``: events have a further member, ``id``, as server-sent events have them."""
        self._boot = boot
        self._ids = ids

    def opening(self, position: int | None) -> list[dict[str, Any]]:
        return [] if position is None or not self._ids else [_text(f'{{"id":"{self._id(position)}"}}')]

    def portion(self, portion: Portion, position: int) -> list[dict[str, Any]]:
        frames = []
        if portion.reset:
            frames.append(_text(f'{{"id":"{self._id(position)}","reset":true}}'))
        if portion.lagged:
            frames.append(_text(f'{{"lagged":{portion.lagged}}}'))
        frames += [_text(self._event(told)) for told in portion.events]
        return frames

    def beat(self, position: int | None) -> list[dict[str, Any]]:  # noqa: ARG002
        return []  # the protocol has its own

    def end(self, ending: Ending) -> dict[str, Any]:
        return {"type": "websocket.close", "code": int(ending), "reason": _REASONS[ending]}

    def farewell(self, ending: Ending) -> bytes:
        reason = _REASONS[ending].encode()
        return b"\x88%c%b%b" % (2 + len(reason), ending.to_bytes(2, "big"), reason)

    def _event(self, told: Told) -> str:
        text = told.json.decode()
        return f'{{"id":"{self._id(told.number)}",{text[1:]}' if self._ids else text

    def _id(self, number: int) -> str:
        return f"{self._boot:x}-{number}"


_REASONS: Final = {
    Ending.GOING_AWAY: "the server stops",
    Ending.UNSUPPORTED: "this connection takes no messages",
    Ending.REVOKED: "the token is no longer valid",
    Ending.TOO_SLOW: "reading too slowly",
}


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


def _text(text: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": text}


def _number(id: str, boot: int) -> int | None:
    """The number in an event's id; None when it is of another boot, or none of ours."""
    of, _, number = id.partition("-")
    if of != f"{boot:x}" or not (number.isascii() and number.isdigit()) or len(id) > MAX_EVENT_ID_CHARS:
        return None
    return int(number)


async def _reject(receive: Receive, send: Send, error: FlashQError) -> None:
    status, body, headers = refusal(error)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
    for _ in range(2):  # that it was refused, and that the connection is closed: uvicorn would miss a handshake before
        await receive()
