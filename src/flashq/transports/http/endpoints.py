"""What stands at the end of a path: reads the request, has the command carried out, and sends the answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final

from flashq.commands.jobs import marked
from flashq.commands.session import Context, Session
from flashq.errors import BadRequest, FlashQError, Overloaded, TooLarge
from flashq.protocol.codec import decode_request, encode, failure, request_mark
from flashq.protocol.limits import MAX_LINE_BYTES
from flashq.transports.base import check_unfinished
from flashq.transports.calls import Calls, Outcome, Pending
from flashq.transports.http.auth import Gatekeeper, query_of
from flashq.transports.http.envelope import JSON, SAFE, Encoded, Headers, head_of, refusal, sized
from flashq.transports.http.routes import Reader, Route

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_SECONDS: Final = 60
"""How long a body may take to come."""

MAX_COMMANDS: Final = 10_000
"""Lines in one body of commands: about as much of the event loop as a batch."""

MAX_TOGETHER: Final = 1_000
"""Commands of one body whose answers wait for the disk together."""

FLUSH_BYTES: Final = 256 * 1024
"""Answers of one body that are sent before there are more."""

LINES: Final[Headers] = [(b"content-type", b"application/x-ndjson"), *SAFE]
JSON_HEAD: Final = head_of(JSON)
LINES_HEAD: Final = head_of(LINES)


class Door:
    """What all endpoints share.

    Attributes:
        calls: carries commands out.
        gate: knows who may ask.
    """

    def __init__(self, calls: Calls, gate: Gatekeeper) -> None:
        self.calls = calls
        self.gate = gate

    @property
    def context(self) -> Context:
        """What commands work on."""
        return self.calls.context

    async def finish(self, pending: Pending, scope: Scope, receive: Receive) -> Outcome | None:
        """Wait for an answer. None: the client is gone, and jobs that were in the answer have gone back."""
        try:
            if pending.waits:
                gone = asyncio.ensure_future(_disconnect(receive))
                try:
                    await asyncio.wait((pending.future, gone), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    gone.cancel()
                if not pending.future.done():
                    self.calls.abandon(pending)
                    return None
            answer = await pending.future
        except asyncio.CancelledError:
            self.calls.abandon(pending)
            raise
        if pending.jobs and is_closing(scope):
            self.calls.give_back(pending.jobs)
            return None
        return answer

    async def body(self, headers: dict[bytes, bytes], receive: Receive, most: int = MAX_LINE_BYTES) -> bytes:
        """The whole body.

        Raises:
            Encoded: it is compressed.
            BadRequest: it was cut off or too slow.
            TooLarge: it is longer than ``most`` bytes.
            Overloaded: too much of too many bodies is on its way.
        """
        require_plain(headers)
        length = headers.get(b"content-length", b"0")
        if len(length) > 15 or int(length) > most:
            raise TooLarge(f"Body too large (max {most} bytes)")
        message = await receive()
        if not message.get("more_body"):
            first: bytes = message.get("body", b"")
            if len(first) > most:
                raise TooLarge(f"Body too large (max {most} bytes)")
            return first
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._rest_of_body(message, receive, most)
        except TimeoutError:
            raise BadRequest(f"Invalid: the body did not come within {BODY_SECONDS} s") from None

    async def _rest_of_body(self, message: MutableMapping[str, Any], receive: Receive, most: int) -> bytes:
        body = bytearray(message["body"])
        context = self.context
        counted = len(body)
        context.unfinished += counted
        try:
            while message.get("more_body"):
                message = await receive()
                if message["type"] != "http.request":
                    raise BadRequest("Invalid: the body was cut off")
                body += message["body"]
                context.unfinished += len(body) - counted
                counted = len(body)
                if counted > most:
                    raise TooLarge(f"Body too large (max {most} bytes)")
                check_unfinished(counted, context.unfinished)
        finally:
            context.unfinished -= counted
        return bytes(body)


class Endpoint:
    """One route."""

    def __init__(self, door: Door, route: Route) -> None:
        self.route = route
        self._door = door
        self._reader = Reader(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Its path's members stand in ``path_params``."""
        door = self._door
        headers = dict(scope["headers"])
        try:
            session = door.gate.admit(scope, headers, same_site=self.route.changes)
            body = await door.body(headers, receive) if self.route.body else b""
            await door.calls.room()
            if is_closing(scope):
                return
            answer = self._begin(session, scope, body)
        except FlashQError as error:
            await send_error(send, error)
            return
        if isinstance(answer, Pending):
            await self._finish(answer, headers, scope, receive, send)
        else:
            await _send(answer, headers, scope, receive, send)

    def at_once(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> Application | None:
        """Carry out a request that is there as a whole, and answer it if that may leave at once.

        Args:
            scope: of the request; the path's members stand in ``path_params``.
            headers: the request's.
            body: the whole of it, and not longer than one read from a connection.

        Returns:
            What brings the answer; None: it was sent.
        """
        try:
            session = self._door.gate.admit(scope, headers, same_site=self.route.changes)
            require_plain(headers)
            answer = self._begin(session, scope, body)
        except FlashQError as error:
            answer = error.with_traceback(None)  # see `Outcome`
        if isinstance(answer, Pending):
            return partial(self._finish, answer, headers)
        if not isinstance(answer, FlashQError) and send_whole(scope, headers, JSON_HEAD, answer):
            return None
        return partial(_send, answer, headers)

    def _begin(self, session: Session, scope: Scope, body: bytes) -> Outcome | Pending:
        door, route = self._door, self.route
        request = self._reader.request(scope["path_params"], {} if route.body else query_of(scope), body)
        shape = route.shape
        return door.calls.begin(session, request, lambda reply, now: shape(door.context, session, request, reply, now))

    async def _finish(
        self, pending: Pending, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = await self._door.finish(pending, scope, receive)
        if answer is not None:
            await _send(answer, headers, scope, receive, send)


class Commands:
    """Commands as they are over lines: one in each line of the body, their answers in the lines of the answer."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        door = self._door
        headers = dict(scope["headers"])
        try:
            session = door.gate.admit(scope, headers, same_site=True)
            body = await door.body(headers, receive)
            lines = body.removesuffix(b"\n").split(b"\n")
            if len(lines) > MAX_COMMANDS:
                raise TooLarge(f"Too many commands ({len(lines)} lines, max {MAX_COMMANDS})")
        except FlashQError as error:
            await send_error(send, error)
            return
        out = _Lines(scope, headers, send)
        answers: list[tuple[bytes | Pending, str | None]] = []
        for line in lines:
            await door.calls.room()
            if is_closing(scope):
                break
            answer, mark = self._begin(session, line.removesuffix(b"\r"))
            answers.append((answer, mark))
            if len(answers) == MAX_TOGETHER or (isinstance(answer, Pending) and answer.waits):
                await self._collect(answers, out, scope, receive)
        await self._collect(answers, out, scope, receive)
        await out.end()

    def _begin(self, session: Session, line: bytes) -> tuple[bytes | Pending, str | None]:
        try:
            request = decode_request(line)
        except FlashQError as error:
            return encode(marked(failure(error), request_mark(line))), None
        mark = request.req_id
        answer = self._door.calls.begin(session, request, lambda reply, _: encode(marked(reply, mark)))
        return encode(marked(failure(answer), mark)) if isinstance(answer, FlashQError) else answer, mark

    async def _collect(
        self, answers: list[tuple[bytes | Pending, str | None]], out: "_Lines", scope: Scope, receive: Receive
    ) -> None:
        """Wait for each of these answers and pass it on."""
        for answer, mark in answers:
            line = await self._door.finish(answer, scope, receive) if isinstance(answer, Pending) else answer
            if isinstance(line, FlashQError):
                line = encode(marked(failure(line), mark))
            if line is not None:
                await out.add(line)
        answers.clear()


class _Lines:
    """The lines of an answer: in one piece if it is short, else as they come."""

    def __init__(self, scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> None:
        self._scope = scope
        self._headers = headers
        self._send = send
        self._lines: list[bytes] = []
        self._bytes = 0
        self._begun = False

    async def add(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes > FLUSH_BYTES:
            if not self._begun:
                self._begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": LINES})
            await self._send({"type": "http.response.body", "body": self._take(), "more_body": True})

    async def end(self) -> None:
        rest = self._take()
        if self._begun:
            await self._send({"type": "http.response.body", "body": rest})
        elif not send_whole(self._scope, self._headers, LINES_HEAD, rest):
            await send_all(self._send, 200, LINES, rest)

    def _take(self) -> bytes:
        lines, self._lines, self._bytes = [*self._lines, b""], [], 0
        return b"\n".join(lines)


def send_whole(scope: Scope, headers: Mapping[bytes, bytes], head: bytes, body: bytes) -> bool:
    """Send a whole answer in one write, if the server that we run in knows how to.

    Where an origin is named, something may want to add headers on the way.
    """
    whole: Callable[[Scope, bytes, bytes], bool] | None = scope.get("state", {}).get("whole")
    return whole is not None and b"origin" not in headers and whole(scope, head, body)


async def _send(answer: Outcome, headers: Mapping[bytes, bytes], scope: Scope, _: Receive, send: Send) -> None:
    """An answer as JSON, or a refusal."""
    if isinstance(answer, FlashQError):
        await send_error(send, answer)
    elif not send_whole(scope, headers, JSON_HEAD, answer):
        await send_all(send, 200, JSON, answer)


async def send_all(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": sized(headers, body)})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: FlashQError) -> None:
    """The answer of a request that was refused. What its body still holds is not read: the connection ends with it."""
    status, body, headers = refusal(error)
    if isinstance(error, TooLarge | Overloaded):
        headers = [*headers, (b"connection", b"close")]
    await send_all(send, status, headers, body)


def require_plain(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body that is compressed: what it unfolds to has no bound.

    Raises:
        Encoded: it is.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Encoded("Invalid: a body must not be compressed")


def is_closing(scope: Scope) -> bool:
    """Whether nobody can read the answer any more."""
    transport = scope.get("state", {}).get("transport")
    return transport is not None and transport.is_closing()


async def _disconnect(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] == "http.request":
        pass
