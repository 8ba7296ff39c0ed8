"""The plain client's way to the server: blocking sockets, no thread of its own, no event loop.

A call is one ``send`` and one ``recv``. Threads may share a client: a call takes an idle connection or opens one,
and puts it back when the answer is in. So nobody waits for a lock, a thread that waits for a job hinders no other,
and one thread alone uses one connection. (One connection behind a lock was rejected: a blocking pull would hold
it, and with it the ack that another thread owes.)

A connection whose call did not end with an answer (a timeout, an interrupt) is closed: what comes late comes to
nobody, and a parked pull is taken back by the server.
"""

import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from random import random
from typing import Final, Protocol

from msgspec import Struct

from flashq.client import calls, http, tls
from flashq.client.address import Address
from flashq.client.deadlines import deadline_of, left_ms, now_ms
from flashq.client.encoding import encode
from flashq.client.pipeline import NEVER, Backoff, LineSplitter, Pipeline, Unreachable, checked_event, is_event
from flashq.client.sockets import DIAL_LIMIT_S, Stream, set_timeout, shut, stale, tune
from flashq.client.sync_http import HttpWire
from flashq.errors import CallTimeout, ConnectionLost
from flashq.protocol.requests import Request

RECEIVE_BYTES: Final = 65_536
"""Read at once: a batch's answer in few calls."""

ANSWER_BYTES: Final = 4_096
"""Read first: most answers are short, and a buffer of the size above costs more than they do."""

SEND_BYTES: Final = 262_144
"""Written at once in a pipeline, between two looks at what came back."""

IDLE_MS: Final = 1_000.0
"""A connection unused for longer is looked at before it is used: a server that restarted meanwhile has closed it, and
to learn that only after sending would leave the outcome unknown."""


class Wire(Protocol):
    """One connection, used by one thread at a time: a socket's, or one that a test's server hands out.

    Attributes:
        generation: which greeting it was opened with.
        used_at: when it answered last, in ms.
        answered: whether it ever answered.
    """

    generation: int
    used_at: float
    answered: bool

    def ask(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request and wait for its answer.

        Raises:
            ConnectionLost: the connection ended first.
            CallTimeout: no answer in time. In both cases the connection is of no use any more.
        """

    def ask_all(self, lines: Sequence[bytes], timeout_ms: float | None) -> list[bytes | BaseException]:
        """Send many requests and gather their answers in order; from the first that did not come on, the error."""

    def ask_beside_events(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request on a connection that also carries events, which are kept for `next_event`."""

    def next_event(self, timeout_ms: float | None) -> bytes:
        """The next event line.

        Raises:
            CallTimeout: none came in time.
            ConnectionLost: the connection ended, or events were left out; all that came before are taken.
        """

    def stale(self) -> bool:
        """Whether the server has closed the connection while it was idle."""

    def close(self) -> None:
        """Close; a thread that waits here is woken."""


class SocketWire:
    """A `Wire` over a socket, encrypted or not."""

    __slots__ = ("_events", "_server", "_socket", "_splitter", "_timeout_ms", "answered", "generation", "used_at")

    def __init__(self, connected: Stream, server: str, generation: int) -> None:
        self._socket = connected
        self._server = server
        self._splitter = LineSplitter()
        self._events: deque[bytes] = deque()
        self._timeout_ms: float | None = -1
        self.generation = generation
        self.used_at = now_ms()
        self.answered = False

    def ask(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request and wait for its answer.

        Raises:
            ConnectionLost: the connection ended first.
            CallTimeout: no answer in time. In both cases the connection is of no use any more.
        """
        try:
            # A system call's worth of time is saved when the timeout stays the same, which it does.
            if timeout_ms != self._timeout_ms:
                self._set_timeout(timeout_ms)
            self._socket.sendall(line)
            answer = self._socket.recv(ANSWER_BYTES)
            # The ordinary case: exactly the one line that is due.
            if answer.find(b"\n") != len(answer) - 1 or not answer:
                answer = self._rest_of_answer(answer, timeout_ms)
        except (TimeoutError, BlockingIOError):
            raise self._too_late() from None
        except OSError as error:
            raise self._lost(str(error)) from error
        self.answered = True
        return answer

    def ask_all(self, lines: Sequence[bytes], timeout_ms: float | None) -> list[bytes | BaseException]:
        """Send many requests and gather their answers, reading while writing.

        A server stops reading while its answers are not taken, so writing everything first could wait for ever.

        Returns:
            The answers in order; from the first that did not come on, the error instead.
        """
        pipeline: Pipeline[int] = Pipeline()
        for place in range(len(lines)):
            pipeline.asked(place)
        outcomes: list[bytes | BaseException] = []
        deadline = deadline_of(timeout_ms)
        try:
            self._set_timeout(0)
            self._exchange(memoryview(b"".join(lines)), pipeline, outcomes, deadline)
        except TimeoutError:
            outcomes.extend([self._too_late()] * (len(lines) - len(outcomes)))
        except ConnectionLost as error:
            outcomes.extend([error] * (len(lines) - len(outcomes)))
        except OSError as error:
            outcomes.extend([self._lost(str(error))] * (len(lines) - len(outcomes)))
        self.answered = self.answered or pipeline.answered > 0
        return outcomes

    def ask_beside_events(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request on a connection that also carries events, which are kept for `next_event`."""
        deadline = deadline_of(timeout_ms)
        try:
            self._set_timeout(timeout_ms)
            self._socket.sendall(line)
            while True:
                came = self._read_lines(deadline)
                self._events.extend(filter(is_event, came))
                answers = [line for line in came if not is_event(line)]
                if answers:
                    return answers[0]
        except (TimeoutError, BlockingIOError):
            raise self._too_late() from None
        except OSError as error:
            raise self._lost(str(error)) from error

    def next_event(self, timeout_ms: float | None) -> bytes:
        """The next event line.

        Raises:
            CallTimeout: none came in time.
            ConnectionLost: the connection ended, or events were left out; all that came before are taken.
        """
        deadline = deadline_of(timeout_ms)
        try:
            while not self._events:
                self._events.extend(filter(is_event, self._read_lines(deadline)))
        except (TimeoutError, BlockingIOError):
            raise CallTimeout(f"no event within {timeout_ms} ms") from None
        except OSError as error:
            raise self._lost(str(error)) from error
        return checked_event(self._events.popleft())

    def stale(self) -> bool:
        """Whether the server has closed the connection while it was idle."""
        self._timeout_ms = 0
        return stale(self._socket)

    def close(self) -> None:
        """Close; a thread that waits here is woken."""
        shut(self._socket)

    # inside

    def _set_timeout(self, timeout_ms: float | None) -> None:
        self._timeout_ms = timeout_ms
        set_timeout(self._socket, timeout_ms)

    def _rest_of_answer(self, data: bytes, timeout_ms: float | None) -> bytes:
        """The one line that is due, of which ``data`` is the beginning; its time starts anew with the first bytes."""
        deadline = deadline_of(timeout_ms)
        while True:
            if not data:
                raise self._lost("the server closed the connection")
            lines = self._splitter.feed(data)
            if len(lines) > 1 or (lines and not data.endswith(b"\n")):
                raise self._lost("the server sent what nobody asked for")
            if lines:
                return lines[0]
            self._set_timeout(left_ms(deadline))
            data = self._socket.recv(RECEIVE_BYTES)

    def _read_lines(self, deadline: float) -> list[bytes]:
        """At least one whole line."""
        while True:
            self._set_timeout(left_ms(deadline))
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                raise self._lost("the server closed the connection")
            lines = self._splitter.feed(data)
            if lines:
                return lines

    def _exchange(
        self, unsent: memoryview, pipeline: Pipeline[int], outcomes: list[bytes | BaseException], deadline: float
    ) -> None:
        """Write and read as the socket allows until every answer is here."""
        ready = select.poll()
        ready.register(self._socket, select.POLLIN | select.POLLOUT)
        while len(pipeline):
            happened = ready.poll(left_ms(deadline))
            if not happened:
                raise TimeoutError
            flags = happened[0][1]
            if flags & ~select.POLLOUT:
                # Inside TLS what is there may be a part of a record, which holds nothing to read yet.
                with suppress(BlockingIOError):
                    data = self._socket.recv(RECEIVE_BYTES)
                    if not data:
                        raise self._lost("the server closed the connection")
                    outcomes.extend(answer for _, answer in pipeline.feed(data))
            if flags & select.POLLOUT:
                unsent = unsent[self._socket.send(unsent[:SEND_BYTES]) :]
                if not unsent:
                    ready.modify(self._socket, select.POLLIN)

    def _lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(f"the connection ended: {reason} ({self._server})")

    def _too_late(self) -> CallTimeout:
        return CallTimeout(f"no answer from {self._server} in time; the outcome is unknown")


class SyncConnection:
    """Asks the server, over connections that are opened, greeted, shared between threads and replaced as needed.

    Args:
        address: where and with which token.
        connect_timeout_ms: how long a call tries to connect before `Unreachable`; None: as long as it takes.
        opens: makes a wire of the given generation, within so many ms, in place of one over a socket; for a server in
            the same process.

    Raises:
        BadRequest: the address's file of certificates cannot be read; or it asks for HTTP, and what speaks it is not
            installed, or its token cannot be sent over it.
    """

    def __init__(
        self, address: Address, connect_timeout_ms: int | None, opens: Callable[[int, float], Wire] | None = None
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
        self._generation = 0
        self._idle: list[Wire] = []  # the one used last is taken first, so that a single thread keeps to one
        self._busy: set[Wire] = set()
        self._guard = threading.Lock()
        self._backoff = Backoff()
        self._woken = threading.Event()
        self._closed = False

    def now_ms(self) -> float:
        """A clock that only ever goes forward, in ms."""
        return now_ms()

    def pause(self, ms: float) -> None:
        """Let ``ms`` pass, or less if the client is closed."""
        self._woken.wait(ms / 1000)

    def connect(self) -> None:
        """Open a connection now, so that a wrong address or token shows here and not at the first call.

        Raises:
            Unreachable: no server there within the connect timeout.
            Unauthorized: the token is wrong.
        """
        self._put_back(self._idle_wire() or self._open(None))

    def ask(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request and wait for its answer.

        Args:
            line: the request, ended by a line break.
            timeout_ms: from now to the answer, connecting included; None: as long as it takes.

        Raises:
            Unreachable: there is no connection; nothing was sent.
            ConnectionLost: the connection ended before the answer came.
            CallTimeout: no answer in time.
        """
        wire = self._idle_wire()
        if wire is None:
            asked_at = now_ms()
            wire = self._open(timeout_ms)
            timeout_ms = _less(timeout_ms, now_ms() - asked_at)
        try:
            answer = wire.ask(line, timeout_ms)
        except BaseException:
            self._discard(wire)
            raise
        self._put_back(wire)
        return answer

    def ask_all(self, lines: Sequence[bytes], timeout_ms: float | None) -> list[bytes | BaseException]:
        """Send many requests without waiting in between; answers in order, or what became of them."""
        wire = self._idle_wire() or self._open(timeout_ms)
        try:
            outcomes = wire.ask_all(lines, timeout_ms)
        except BaseException:
            self._discard(wire)
            raise
        if outcomes and isinstance(outcomes[-1], BaseException):
            self._discard(wire)
        else:
            self._put_back(wire)
        return outcomes

    def wait(self, request: Request, wait_ms: int | None, timeout_ms: float | None) -> bytes:
        """Send a request whose answer the server may hold back, and wait for it.

        Args:
            request: a pull, or what else waits.
            wait_ms: how long the server may hold it; None: for ever.
            timeout_ms: how long the answer may take beyond that.
        """
        patience = None if wait_ms is None or timeout_ms is None else wait_ms + timeout_ms
        return self.ask(encode(request), patience)

    def authenticate(self, token: str, timeout_ms: float | None) -> None:
        """Present another token, on every connection from now on."""
        line = encode(calls.auth(token).request)
        calls.read_ok(self.ask(line, timeout_ms))
        self._auth = line
        self._generation += 1

    def greet(self, hello: Struct, timeout_ms: float | None) -> None:
        """Say who we are, on every connection from now on."""
        line = encode(hello)
        calls.read_ok(self.ask(line, timeout_ms))
        self._hello = line
        self._generation += 1

    def forget_greeting(self) -> None:
        """Later connections belong to no worker."""
        self._hello = None
        self._generation += 1

    def open_wire(self, timeout_ms: float | None) -> Wire:
        """A connection of its own, authenticated: for a subscription. Whoever asked for it closes it."""
        try:
            return self._dial(deadline_of(timeout_ms), self._auth, None)
        except OSError as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Close; whoever waits for an answer gets `ConnectionLost`. Closing twice is no mistake."""
        with self._guard:
            self._closed = True
            wires = [*self._idle, *self._busy]
            self._idle.clear()
        self._woken.set()
        for wire in wires:
            wire.close()

    # inside

    def _idle_wire(self) -> Wire | None:
        """A connection that is open and unused; None if there is none."""
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return None
            self._busy.add(wire)
            if self._closed:
                self._busy.discard(wire)
                wire.close()
                raise Unreachable("the client is closed")
            if wire.generation != self._generation:
                self._busy.discard(wire)
                wire.close()
            elif now_ms() - wire.used_at > IDLE_MS and wire.stale():
                self._discard(wire, idle=True)
            else:
                return wire

    def _put_back(self, wire: Wire) -> None:
        wire.used_at = now_ms()
        self._busy.discard(wire)
        self._idle.append(wire)
        if self._closed:
            wire.close()

    def _discard(self, wire: Wire, *, idle: bool = False) -> None:
        """The connection is of no use; whether it ever was decides how soon the next one is tried.

        One over HTTP that ended while it was idle says nothing about its server.
        """
        self._busy.discard(wire)
        wire.close()
        if idle and self.address.http:
            return
        if wire.answered:
            self._backoff.lost()
        else:
            self._backoff.failed()

    def _open(self, timeout_ms: float | None) -> Wire:
        """Connect, again and again until it works or the time is up."""
        allowed = [ms for ms in (timeout_ms, self._connect_timeout_ms) if ms is not None]
        limit = now_ms() + min(allowed) if allowed else NEVER
        # Each thread counts its own attempts: together they would be taken for a server that is long gone.
        backoff = copy(self._backoff)
        pause_ms = backoff.delay_ms(random())  # noqa: S311 - spreads clients, guards nothing
        while True:
            self._woken.wait(pause_ms / 1000)
            if self._closed:
                raise Unreachable("the client is closed")
            try:
                wire = self._dial(limit, self._auth, self._hello)
            except (OSError, ConnectionLost, CallTimeout) as error:
                backoff.failed(error)
                pause_ms = backoff.delay_ms(random())  # noqa: S311
                if now_ms() + pause_ms >= limit or tls.untrusted(error):
                    raise self._unreachable(error) from error
            else:
                self._backoff.connected()
                return self._enlist(wire)

    def _enlist(self, wire: Wire) -> Wire:
        """Note a new connection, so that `close` finds it."""
        with self._guard:
            if not self._closed:
                self._busy.add(wire)
                return wire
        wire.close()
        raise Unreachable("the client is closed")

    def _dial(self, limit: float, *greetings: bytes | None) -> Wire:
        """One attempt to connect and to say who we are.

        Raises:
            OSError: nobody there.
            FlashQError: the server refused the greeting or hung up.
        """
        limit = min(limit, now_ms() + DIAL_LIMIT_S * 1000)
        generation = self._generation
        wire = self._opens(generation, max(1.0, limit - now_ms()))
        try:
            for greeting in greetings:
                if greeting is not None:
                    calls.read_ok(wire.ask(greeting, left_ms(limit)))
        except BaseException:
            wire.close()
            raise
        return wire

    def _open_socket(self, generation: int, timeout_ms: float) -> Wire:
        if self.address.http:
            return HttpWire(self.address, self._socket, generation, timeout_ms)
        return SocketWire(self._socket(timeout_ms / 1000), str(self.address), generation)

    def _socket(self, seconds: float) -> Stream:
        if self.address.unix_socket:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connected.settimeout(seconds)
                connected.connect(self.address.unix_socket)
            except BaseException:
                connected.close()
                raise
            return connected
        connected = socket.create_connection((self.address.host, self.address.port), timeout=seconds)
        tune(connected)
        if self._tls is None:
            return connected
        return tls.TlsStream(connected, self._tls, self.address.host, seconds)

    def _unreachable(self, error: BaseException) -> Unreachable:
        reason = str(error) or "no answer in time"
        return Unreachable(f"no connection to {self.address}: {reason}; the request was not sent")


def _less(timeout_ms: float | None, spent_ms: float) -> float | None:
    """What connecting has left of a call's time; at least a millisecond, for 0 would mean not to wait at all."""
    return None if timeout_ms is None else max(1.0, timeout_ms - spent_ms)
