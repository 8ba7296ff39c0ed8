"""HTTP under the async client: what a `Wire` of ``async_connection.py`` takes for its connection.

The wire writes lines and reads lines, and knows nothing of HTTP. Behind it stand several connections, for over HTTP/1.1
an answer that is held back would hold back all behind it:

- One carries the ordinary calls, in their order: all that were asked while a request was under way leave together in
  the next one. So a thousand concurrent calls are a few requests.
- Each call that may wait (it has a ``reqId``) has a connection to itself until it is answered.
- So has each event stream.

They come from a pool, and go back to it. A connection that breaks under a call ends the wire, as a broken connection
of lines does, with everything that is due; the client above knows what may be sent again. Idle connections are closed
before the server does it, and when the last has gone the wire ends in peace, to be opened again by the next call.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

from msgspec import Struct

from flashq.client.address import Address
from flashq.client.http import (
    KEEP_MS,
    OK_LINE,
    Conversation,
    Speaker,
    is_stream,
    refusal_line,
    req_id_of,
    stream_of,
    take_batch,
)
from flashq.client.sockets import DIAL_LIMIT_S, tune_under
from flashq.errors import BadRequest, ConnectionLost

MAX_WAITING: Final = 100
"""Calls that wait at the same time, each on a connection of its own: as many as a worker has jobs at once, by default.
More of them stand in line."""

MAX_IDLE: Final = 8
"""Idle connections that are kept."""

HIGH_BYTES: Final = 4 * 1024 * 1024
LOW_BYTES: Final = 1024 * 1024
"""Calls that wait for their turn; above the first number callers must wait until it is down to the second."""

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[Any]]


class Lines(Protocol):
    """A wire, as far as its transport needs it."""

    @property
    def due(self) -> int:
        """How many answers are due."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a server."""

    def data_received(self, data: bytes) -> None:
        """Whole lines came."""

    def connection_lost(self, exc: Exception | None) -> None:
        """All is over."""

    def pause_writing(self) -> None:
        """No more requests for now."""

    def resume_writing(self) -> None:
        """Requests again."""


class _Work(Struct, eq=False):
    """What one connection is busy with.

    Attributes:
        lines: commands, sent together.
        req_id: of the one that waits.
        queue: of the event stream that the line asks for.
    """

    lines: list[bytes]
    req_id: str | None = None
    queue: str | None = None


class _Lane(asyncio.Protocol):
    """One HTTP connection.

    Attributes:
        conversation: what is said on it.
        work: what it is busy with.
        since: when it became idle, on the loop's clock.
    """

    def __init__(self, owner: "HttpTransport", address: Address) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self.conversation = Conversation(address)
        self.work: _Work | None = None
        self.since = 0.0

    def send(self, work: _Work, request: bytes) -> None:
        """Begin something."""
        assert self._transport is not None
        self.work = work
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        # As in Wire: a loop's transport need not descend from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        tune_under(transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer came."""
        self._owner.came(self, data)

    def eof_received(self) -> bool:
        """The server will say no more, which may be how it ends an answer."""
        if self.work is not None:
            self._owner.came(self, b"")
        else:
            self._owner.gone(self, None)  # at once, lest it be given something to do
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._owner.gone(self, exc)

    def read_on(self, *, wanted: bool) -> None:
        """Whether to read."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def close(self) -> None:
        """Close it; what it was busy with is of no interest any more."""
        self.work = None
        if self._transport is not None:
            self._transport.abort()


class HttpTransport(asyncio.Transport):
    """The connections behind one wire.

    Args:
        wire: reads the answers.
        address: of the server.
        connect: opens one connection for a protocol.

    Raises:
        BadRequest: the address's token cannot be sent over HTTP.
    """

    def __init__(self, wire: Lines, address: Address, connect: Connect) -> None:
        super().__init__()
        self._wire = wire
        self._address = address
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._speaker = Speaker(address)
        # Ordinary calls in their order, the bytes of those that were not sent yet, and what is under way.
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._main: _Work | None = None
        # Calls that wait at the server, and those that wait until they may.
        self._waiting: dict[str, _Work] = {}
        self._in_line: dict[str, _Work] = {}
        self._streams: dict[str, _Lane] = {}
        self._lanes: set[_Lane] = set()
        self._idle: list[_Lane] = []
        self._dialing: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._choked = False
        self._reading = True
        self._closing = False
        self._ended = False

    async def open(self) -> None:
        """Connect once, to see that somebody is there.

        Raises:
            OSError: nobody is.
        """
        self._rest(await self._dial())
        self._wire.connection_made(self)

    # --- what the wire asks of its transport ---

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401, ARG002 - as the base has it
        """Nothing: there is no one socket."""
        return default

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """Take whole lines; each is sent when it is its turn."""
        for line in bytes(data).split(b"\n")[:-1]:
            req_id = req_id_of(line)
            if req_id is None:
                self._queue.append(line)
                self._queued += len(line)
            else:
                self._in_line[req_id] = _Work([line], req_id)
        self._go_on()
        if self._queued > HIGH_BYTES and not self._choked:
            self._choked = True
            self._wire.pause_writing()

    def pause_reading(self) -> None:
        """No events for now."""
        self._read_on(wanted=False)

    def resume_reading(self) -> None:
        """Events again."""
        self._read_on(wanted=True)

    def is_closing(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing or self._ended

    def close(self) -> None:
        """Close as soon as the ordinary calls that were asked are carried out."""
        self._closing = True
        if self._main is None:
            self._end(None)

    def abort(self) -> None:
        """Close."""
        self._end(None)

    def withdraw(self, req_id: str) -> bool:
        """Give up a call that waits; whether there was one. It is not answered any more."""
        if self._in_line.pop(req_id, None) is not None:
            return True
        work = self._waiting.pop(req_id, None)
        if work is None:
            return False
        for lane in [lane for lane in self._lanes if lane.work is work]:
            lane.close()
        self._go_on()
        return True

    # --- what the connections tell ---

    def came(self, lane: _Lane, data: bytes) -> None:
        """A part of an answer came over one of them; nothing: its end."""
        work = lane.work
        if work is None:
            lane.close()  # nothing was asked there
            return
        try:
            lines = lane.conversation.receive(data)
        except ConnectionLost as error:
            self._end(error)
            return
        if work is self._main and lines:
            self._speaker.heard(work.lines[0], lines[0])
        if work is self._main and work.queue is not None and lane.conversation.begun:
            self._begin_stream(work.queue, lane)
        if lines:
            self._answer(lines)
        if lane.conversation.done:
            self._finished(lane, work)

    def gone(self, lane: _Lane, error: Exception | None) -> None:
        """One of them has ended, and with it the wire, if something was under way there, or it was the last and idle.

        The next call then begins as the first did, and finds also a server that comes back only now.
        """
        self._lanes.discard(lane)
        if lane in self._idle:
            self._idle.remove(lane)
        if lane.work is not None:
            self._end(error)
        elif not (self._lanes or self._dialing or self._wire.due):
            self._end(None)

    # --- inside ---

    def _answer(self, lines: list[bytes]) -> None:
        """Give the wire its answers; one that is closing wants none."""
        if not self._closing and not self._ended:
            self._wire.data_received(b"\n".join([*lines, b""]))

    def _finished(self, lane: _Lane, work: _Work) -> None:
        """Something is answered to its end; its connection is free."""
        lane.work = None
        if lane.conversation.reusable:
            self._rest(lane)
        else:
            lane.close()
        if work is self._main:
            self._main = None
        elif work.req_id is not None:
            self._waiting.pop(work.req_id, None)
        self._go_on()

    def _go_on(self) -> None:
        """Start all that may start."""
        while self._main is None and self._queue and not self._ended:
            self._start_next()
        while self._in_line and len(self._waiting) < MAX_WAITING and not self._ended:
            req_id, work = next(iter(self._in_line.items()))
            self._waiting[req_id] = self._in_line.pop(req_id)
            self._start(work)
        if self._choked and self._queued <= LOW_BYTES:
            self._choked = False
            self._wire.resume_writing()
        if self._closing and self._main is None:
            self._end(None)

    def _start_next(self) -> None:
        """The next of the ordinary calls, with those that may go along."""
        queue = None
        if is_stream(self._queue[0]):
            lines = [self._queue.popleft()]
            begins, queue, _ = stream_of(lines[0])
        else:
            lines = take_batch(self._queue)
        self._queued -= sum(map(len, lines))
        if queue is not None and not begins:
            self._end_stream(queue)
            self._answer([OK_LINE])
            return
        self._main = _Work(lines, queue=queue)
        self._start(self._main)

    def _start(self, work: _Work) -> None:
        if self._idle:
            self._send(self._idle.pop(), work)
            return
        dialing = self._loop.create_task(self._dial_for(work))
        self._dialing.add(dialing)
        dialing.add_done_callback(self._dialing.discard)

    async def _dial_for(self, work: _Work) -> None:
        try:
            lane = await self._dial()
        except OSError as error:
            self._end(error)
            return
        if work.req_id is None or self._waiting.get(work.req_id) is work:
            self._send(lane, work)
        else:
            self._rest(lane)  # nobody wants it any more

    async def _dial(self) -> _Lane:
        lane = _Lane(self, self._address)
        async with asyncio.timeout(DIAL_LIMIT_S):
            await self._connect(lambda: lane)
        self._lanes.add(lane)
        return lane

    def _send(self, lane: _Lane, work: _Work) -> None:
        try:
            if work.queue is None:
                request = lane.conversation.post(work.lines, self._speaker, work.req_id)
            else:
                request = lane.conversation.stream(work.queue, stream_of(work.lines[0])[2], self._speaker)
        except BadRequest as error:
            self._main = None
            self._rest(lane)
            self._answer([refusal_line(error)])
            self._loop.call_soon(self._go_on)
        else:
            lane.send(work, request)

    def _rest(self, lane: _Lane) -> None:
        """Keep a connection for what comes next."""
        lane.since = self._loop.time()
        self._idle.append(lane)
        if len(self._idle) > MAX_IDLE:
            self._idle.pop(0).close()
        if self._alarm is None:
            self._alarm = self._loop.call_later(KEEP_MS / 1000, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long; the one that was used last stands at the end."""
        self._alarm = None
        oldest = self._loop.time() - KEEP_MS / 1000
        while self._idle and self._idle[0].since <= oldest:
            self._idle.pop(0).close()
        if self._idle:
            self._alarm = self._loop.call_at(self._idle[0].since + KEEP_MS / 1000, self._sweep)

    def _begin_stream(self, queue: str, lane: _Lane) -> None:
        """The server has accepted a subscription; it replaces an older one of the same queue."""
        self._end_stream(queue)
        self._streams[queue] = lane
        self._main = None
        self._answer([OK_LINE])
        lane.read_on(wanted=self._reading)
        self._loop.call_soon(self._go_on)

    def _end_stream(self, queue: str) -> None:
        lane = self._streams.pop(queue, None)
        if lane is not None:
            lane.close()

    def _read_on(self, *, wanted: bool) -> None:
        self._reading = wanted
        for lane in self._streams.values():
            lane.read_on(wanted=wanted)

    def _end(self, error: Exception | None) -> None:
        """All is over; only the first reason counts."""
        if self._ended:
            return
        self._ended = True
        if self._alarm is not None:
            self._alarm.cancel()
        for dialing in self._dialing:
            dialing.cancel()
        for lane in list(self._lanes):
            lane.close()
        self._wire.connection_lost(error)
