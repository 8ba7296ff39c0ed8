"""The async client's way to the server: one connection for all calls, opened when needed and again when lost.

Two parts. A `Wire` is the life of one connection, from connect to close. An `AsyncConnection` outlives wires: it
opens one for whoever calls first, tells the server again who we are, spreads reconnects with jitter and keeps
pulls from getting lost between two callers.

Everything asked in one turn of the event loop leaves in one write: a thousand concurrent calls cost one system
call, and a single one waits for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import random
from typing import Any, Final, cast

from msgspec import Struct

from flashq.client import calls, http, tls
from flashq.client.address import Address
from flashq.client.async_http import HttpTransport
from flashq.client.encoding import encode
from flashq.client.orphans import Orphans, pull_key
from flashq.client.pipeline import NEVER, Backoff, Pipeline, Unreachable, checked_event
from flashq.client.sockets import DIAL_LIMIT_S, tune_under
from flashq.errors import CallTimeout, ConnectionLost, FlashQError
from flashq.protocol.requests import Request

CLOSE_LIMIT_S: Final = 1.0
"""How long a closing connection may take to send its last bytes to a server that does not read."""

EVENTS_HIGH: Final = 10_000
EVENTS_LOW: Final = 1_000
"""Events kept for a subscriber that is slow; above the first number nothing more is read until it is down to the
second, and the server's rule for slow subscribers applies."""


class Wire(asyncio.Protocol):
    """One connection: writes what was asked in a turn at once, hands out the answers.

    Attributes:
        ended: nothing can be asked here any more.
        choked: the socket takes no more for now; wait for `unchoked` before asking further.
        unchoked: done when the socket takes more again, or the connection has ended.
        gone: done when the transport is closed.
        cut: it ended while answers were due.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, server: str) -> None:
        self._loop = loop
        self._server = server
        self._pipeline: Pipeline[asyncio.Future[bytes]] = Pipeline()
        self._output: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = NEVER
        self._reason = "the connection ended"
        self._retry_after_ms = 0
        self._event_wanted: asyncio.Future[None] | None = None
        self._reading = True
        self.ended = False
        self.cut = False
        self.choked = False
        self.unchoked: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    # asked by our side

    def ask(self, line: bytes, deadline: float = NEVER, req_id: str | None = None) -> "asyncio.Future[bytes]":
        """Send one request at the end of this turn; the future gets the answer's line.

        Args:
            line: the request, ended by a line break.
            deadline: on the loop's clock; then the future gets `CallTimeout`.
            req_id: set if the request carries it.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if self.ended:
            answer.set_exception(self._lost())
            return answer
        self._pipeline.asked(answer, deadline, req_id)
        if not self._output:
            self._loop.call_soon(self._flush)
        self._output.append(line)
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        return answer

    async def ask_beside_events(self, line: bytes, timeout_ms: int | None) -> bytes:
        """Send one request on a connection that also carries events."""
        return await self.ask(line, NEVER if timeout_ms is None else self._loop.time() + timeout_ms / 1000)

    async def next_event(self, timeout_ms: int | None) -> bytes:
        """The next event line.

        Args:
            timeout_ms: how long to wait for one; None: as long as it takes.

        Raises:
            CallTimeout: none came in time.
            ConnectionLost: the connection ended, or events were left out; all that came before are taken.
        """
        events = self._pipeline.events
        limit = NEVER if timeout_ms is None else self._loop.time() + timeout_ms / 1000
        while not events:
            if self.ended:
                raise self._lost()
            if self._event_wanted is None:
                self._event_wanted = self._loop.create_future()
            if not await _done_by(self._event_wanted, limit):
                raise CallTimeout(f"no event within {timeout_ms} ms")
        if not self._reading and len(events) <= EVENTS_LOW and self._transport is not None and not self.ended:
            self._reading = True
            self._transport.resume_reading()
        return checked_event(events.popleft())

    def abandon(self, req_id: str) -> None:
        """The answer to a request with this id is of use to nobody.

        Over lines it comes nevertheless and is dropped. Over HTTP the request is taken back: it holds a connection.
        """
        if isinstance(self._transport, HttpTransport) and self._transport.withdraw(req_id):
            self._pipeline.forget(req_id)

    def give_up(self, reason: str) -> None:
        """Nothing that is due will be answered: whoever waits gets `CallTimeout` now."""
        for answer in self._pipeline.expire(NEVER):
            if not answer.done():
                answer.set_exception(CallTimeout(reason))

    async def close(self) -> None:
        """Send what is still to be sent and close; whoever waits for an answer gets `ConnectionLost`."""
        if self._transport is None:
            return
        self._flush()
        self._end("the client was closed")
        self._transport.close()
        if not await _done_by(self.gone, self._loop.time() + CLOSE_LIMIT_S):
            self._transport.abort()
            await asyncio.wait({self.gone})

    # called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        # A loop's transport has the interface of asyncio's, but need not descend from it: uvloop's does not.
        self._transport = cast("asyncio.Transport", transport)
        tune_under(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came in: hand out the answers they complete."""
        try:
            matched = self._pipeline.feed(data)
        except ConnectionLost as error:
            self._end(str(error))
            if self._transport is not None:
                self._transport.abort()
            return
        for answer, line in matched:
            if not answer.done():
                answer.set_result(line)
        if self._pipeline.events:
            self._events_came()

    def pause_writing(self) -> None:
        """The socket's buffer is full: callers wait, rather than fill the memory."""
        self.choked = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self.choked = False
        if not self.unchoked.done():
            self.unchoked.set_result(None)
        if not self.ended:
            self.unchoked = self._loop.create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whichever side."""
        if isinstance(exc, ConnectionLost):
            self._retry_after_ms = exc.retry_after_ms
        self._end(f"the connection ended: {exc}" if exc else "the server closed the connection")
        if not self.gone.done():
            self.gone.set_result(None)

    # inside

    @property
    def due(self) -> int:
        """How many answers are due."""
        return len(self._pipeline)

    @property
    def answered(self) -> int:
        """How many answers came over this connection."""
        return self._pipeline.answered

    def _flush(self) -> None:
        if self._output and self._transport is not None and not self.ended:
            data = b"".join(self._output)
            self._output.clear()
            self._transport.write(data)

    def _events_came(self) -> None:
        if self._event_wanted is not None:
            if not self._event_wanted.done():
                self._event_wanted.set_result(None)
            self._event_wanted = None
        if self._reading and len(self._pipeline.events) >= EVENTS_HIGH and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = None if at == NEVER else self._loop.call_at(at, self._sweep)

    def _sweep(self) -> None:
        """Give up all calls whose time has come.

        One alarm serves the whole connection: a timer for each call would cost more than the call.
        """
        # The loop may wake a little before the time it was asked for; what is due now must not be due again.
        for answer in self._pipeline.expire(max(self._loop.time(), self._alarm_at)):
            if not answer.done():
                answer.set_exception(CallTimeout(f"no answer from {self._server} in time; the outcome is unknown"))
        self._set_alarm(self._pipeline.next_deadline())

    def _lost(self) -> ConnectionLost:
        lost = ConnectionLost(f"{self._reason} ({self._server})")
        lost.retry_after_ms = self._retry_after_ms
        return lost

    def _end(self, reason: str) -> None:
        """Nothing will be asked or answered any more; tell all who wait. Only the first reason counts."""
        if self.ended:
            return
        self.ended = True
        self._reason = reason
        self._output.clear()
        self._set_alarm(NEVER)
        self.cut = len(self._pipeline) > 0
        for answer in self._pipeline.give_up():
            if not answer.done():
                answer.set_exception(self._lost())
        for waiting in (self.unchoked, self._event_wanted):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)


class AsyncConnection:
    """Asks the server, over a connection that is opened, greeted and replaced as needed.

    Args:
        address: where and with which token.
        connect_timeout_ms: how long calls wait for a connection before `Unreachable`; None: as long as it takes.
        opens: connects a wire to a transport of its own, in place of a socket; for a server in the same process.

    Raises:
        BadRequest: the address's file of certificates cannot be read; or it asks for HTTP, and what speaks it is not
            installed, or its token cannot be sent over it.
    """

    def __init__(
        self,
        address: Address,
        connect_timeout_ms: int | None,
        opens: "Callable[[Wire], Awaitable[None]] | None" = None,
    ) -> None:
        self.address = address
        self._opens = opens or self._open_socket
        self._tls = tls.context(address)
        if address.http:
            http.library()
            http.Speaker(address)
        self._connect_timeout_ms = connect_timeout_ms
        self._auth = None if address.token is None else encode(calls.auth(address.token).request)
        self._hello: bytes | None = None
        self._wire: Wire | None = None
        self._opening: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self._orphans = Orphans(self._give_back)
        self._last_req_id = 0
        self._closed = False

    def now_ms(self) -> float:
        """A clock that only ever goes forward, in ms."""
        return asyncio.get_running_loop().time() * 1000

    async def pause(self, ms: float) -> None:
        """Let ``ms`` pass."""
        await asyncio.sleep(ms / 1000)

    async def connect(self) -> None:
        """Open the connection now, so that a wrong address or token shows here and not at the first call.

        Raises:
            Unreachable: no server there within the connect timeout.
            Unauthorized: the token is wrong.
        """
        await self._ready(NEVER)

    async def ask(self, line: bytes, timeout_ms: int | None) -> bytes:
        """Send one request and wait for its answer.

        Args:
            line: the request, ended by a line break.
            timeout_ms: from now to the answer, connecting included; None: as long as it takes.

        Raises:
            Unreachable: there is no connection; nothing was sent.
            ConnectionLost: the connection ended before the answer came.
            CallTimeout: no answer in time.
        """
        deadline = NEVER if timeout_ms is None else asyncio.get_running_loop().time() + timeout_ms / 1000
        wire = self._wire
        if wire is None or wire.ended or wire.choked:
            wire = await self._ready(deadline)
        return await wire.ask(line, deadline)

    async def ask_all(self, lines: Sequence[bytes], timeout_ms: int | None) -> list[bytes | BaseException]:
        """Send many requests without waiting in between; answers in order, or what became of them."""
        deadline = NEVER if timeout_ms is None else asyncio.get_running_loop().time() + timeout_ms / 1000
        answers: list[asyncio.Future[bytes]] = []
        wire = await self._ready(deadline)
        try:
            for line in lines:
                if wire.choked and not wire.ended:
                    await _done_by(wire.unchoked, deadline)
                answers.append(wire.ask(line, deadline))
            return await asyncio.gather(*answers, return_exceptions=True)
        finally:
            # Given up in the middle, nobody waits for the answers to what was sent so far.
            for answer in answers:
                answer.cancel()

    async def wait(self, request: Request, wait_ms: int | None, timeout_ms: int | None) -> bytes:
        """Send a request whose answer the server may hold back; other calls overtake it.

        A caller who gives up (cancellation) leaves his request behind at the server. If it is a pull it is kept: the
        next caller who asks for the same takes it over, and a job that comes for nobody is given back. The answer to
        anything else is dropped when it comes.

        Args:
            request: the pull, or what else waits.
            wait_ms: how long the server may hold it; None: for ever.
            timeout_ms: how long the answer may take beyond that.
        """
        loop = asyncio.get_running_loop()
        key = pull_key(request)
        answer = None if key is None else self._orphans.adopt(key, forever=wait_ms is None)
        if answer is None:
            patience = None if wait_ms is None or timeout_ms is None else wait_ms + timeout_ms
            opening = NEVER if timeout_ms is None else loop.time() + timeout_ms / 1000
            wire = await self._ready(opening)
            self._last_req_id += 1
            request.req_id = str(self._last_req_id)
            deadline = NEVER if patience is None else loop.time() + patience / 1000
            answer = wire.ask(encode(request), deadline, request.req_id)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if key is None:
                answer.cancel()
                if request.req_id is not None and self._wire is not None:
                    self._wire.abandon(request.req_id)
            else:
                self._orphans.leave(key, answer, forever=wait_ms is None)
            raise

    async def authenticate(self, token: str, timeout_ms: int | None) -> None:
        """Present another token, now and at every later connection."""
        line = encode(calls.auth(token).request)
        calls.read_ok(await self.ask(line, timeout_ms))
        self._auth = line

    async def greet(self, hello: Struct, timeout_ms: int | None) -> None:
        """Say who we are, now and at every later connection."""
        line = encode(hello)
        calls.read_ok(await self.ask(line, timeout_ms))
        self._hello = line

    def forget_greeting(self) -> None:
        """Later connections belong to no worker."""
        self._hello = None

    async def open_wire(self, timeout_ms: int | None) -> Wire:
        """A connection of its own, authenticated: for a subscription. Whoever asked for it closes it."""
        limit = NEVER if timeout_ms is None else asyncio.get_running_loop().time() + timeout_ms / 1000
        try:
            return await self._dial(limit, self._auth, None)
        except OSError as error:
            raise self._unreachable(error) from error

    async def close(self) -> None:
        """Close; whoever waits for an answer gets `ConnectionLost`. Closing twice is no mistake."""
        self._closed = True
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            with suppress(asyncio.CancelledError, FlashQError):
                await opening
        self._orphans.close()
        if self._wire is not None:
            await self._wire.close()

    # inside

    async def _ready(self, deadline: float) -> Wire:
        """The wire, as soon as there is one that takes requests."""
        while True:
            if self._closed:
                raise Unreachable("the client is closed")
            wire = self._wire
            if wire is not None and not wire.ended:
                if not wire.choked:
                    return wire
                if not await _done_by(wire.unchoked, deadline):
                    raise CallTimeout(f"{self.address} takes no more requests; this one was not sent")
                continue
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open())
                self._opening.add_done_callback(self._opened)
            opening = self._opening
            if not await _done_by(opening, deadline):
                raise CallTimeout(f"no connection to {self.address} in time; the request was not sent")
            if opening.cancelled():
                raise Unreachable("the client is closed")
            opening.result()

    def _opened(self, opening: asyncio.Task[None]) -> None:
        """The attempt is over; look at its error, which those who wait for it raise, if there is any left."""
        if self._opening is opening:
            self._opening = None
        if not opening.cancelled():
            opening.exception()

    async def _open(self) -> None:
        """Connect, again and again until it works or the time is up."""
        loop = asyncio.get_running_loop()
        if self._wire is not None:
            self._judge(self._wire)
        limit = NEVER if self._connect_timeout_ms is None else loop.time() + self._connect_timeout_ms / 1000
        pause = self._backoff.delay_ms(random()) / 1000  # noqa: S311 - spreads clients, guards nothing
        while True:
            await asyncio.sleep(pause)
            try:
                self._wire = await self._dial(limit, self._auth, self._hello)
                self._backoff.connected()
                return
            except (OSError, ConnectionLost) as error:
                self._backoff.failed(error)
                pause = self._backoff.delay_ms(random()) / 1000  # noqa: S311
                if loop.time() + pause >= limit or tls.untrusted(error):
                    raise self._unreachable(error) from error

    def _judge(self, wire: Wire) -> None:
        """Whether the connection that ended was of use decides how soon the next one is tried."""
        if not wire.answered:
            self._backoff.failed()
        elif wire.cut or not self.address.http:  # over HTTP an idle connection ends without a reason
            self._backoff.lost()
        self._wire = None

    async def _dial(self, limit: float, *greetings: bytes | None) -> Wire:
        """One attempt to connect and to say who we are.

        Raises:
            OSError: nobody there.
            FlashQError: the server refused the greeting or hung up.
        """
        loop = asyncio.get_running_loop()
        limit = min(limit, loop.time() + DIAL_LIMIT_S)
        wire = Wire(loop, str(self.address))
        try:
            async with asyncio.timeout_at(limit):
                await self._opens(wire)
                for greeting in greetings:
                    if greeting is not None:
                        calls.read_ok(await wire.ask(greeting))
        except BaseException:
            await wire.close()
            raise
        return wire

    async def _open_socket(self, wire: Wire) -> None:
        if self.address.unix_socket:
            await asyncio.get_running_loop().create_unix_connection(lambda: wire, self.address.unix_socket)
        elif self.address.http:
            await HttpTransport(wire, self.address, self._connect).open()
        else:
            await self._connect(lambda: wire)

    async def _connect(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        await asyncio.get_running_loop().create_connection(
            protocol, self.address.host, self.address.port, ssl=self._tls
        )

    def _unreachable(self, error: BaseException) -> Unreachable:
        reason = str(error) or "no answer in time"
        return Unreachable(f"no connection to {self.address}: {reason}; the request was not sent")

    def _give_back(self, id: int, token: str | None) -> None:
        """Give back a job whose puller has gone; without a connection its lease gives it back."""
        if self._wire is not None and not self._wire.ended:
            request = calls.release(id, token=token).request
            self._wire.ask(encode(request)).add_done_callback(_looked_at)


def _looked_at(future: "asyncio.Future[bytes]") -> None:
    """Nobody waits for this answer; an error in it must not be reported as overlooked."""
    if not future.cancelled():
        future.exception()


async def _done_by(future: "asyncio.Future[Any]", deadline: float) -> bool:
    """Wait for a future that others wait for too: neither the deadline nor a cancellation here ends it."""
    timeout = None if deadline == NEVER else max(0.0, deadline - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait({future}, timeout=timeout)
    return bool(done)
