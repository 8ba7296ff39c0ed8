"""JSON lines over TCP and Unix sockets: one object per connection, no task per line.

Order: commands take effect in the order in which they came, answers leave in that order. A command with a ``reqId``
may be answered out of order; only a call that waits ever is.

Waiting: a call that finds nothing to answer is parked with the engine. While a pull without ``reqId`` is parked,
further pulls without one stand behind it. Any other command without ``reqId`` ends that waiting at once with the
answer of a wait that is over, so that a connection can never wait for itself. What comes behind a call whose answer
is on its way (`Parked.brief`) stays unread until it has come.

Back-pressure: reading stops while the client does not read its answers, while too many answers wait for the disk,
and while the disk is far behind; it goes on by itself.
"""

from asyncio import BaseTransport, Protocol, TimerHandle, Transport, get_running_loop
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from msgspec.json import decode

from flashq.commands.execute import execute, over
from flashq.commands.jobs import marked
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.commands.table import BEFORE_AUTH
from flashq.errors import FlashQError, Overloaded, StorageError, TooLarge, Unauthorized
from flashq.model import Instant, JobView
from flashq.observe.ring import Told
from flashq.protocol.codec import decode_request, encode, failure, request_mark
from flashq.protocol.limits import MAX_PULLS_BEHIND, MAX_WAITS_PER_CONNECTION
from flashq.protocol.lines import LineSplitter
from flashq.protocol.replies import Failed, Pulled, PulledBatch, Reply
from flashq.protocol.requests import AnyRequest, Pull, PullAny, PullBatch
from flashq.transports.base import BREATH_BYTES, Turns, check_unfinished, peer_of

WRITE_HIGH_BYTES: Final = 4 * 1024 * 1024
WRITE_LOW_BYTES: Final = 1024 * 1024
"""Answers a client has not read at which reading its commands stops, and at which it goes on."""

MAX_HELD: Final = 1_024
"""Chunks of answers that wait for the disk at which reading stops."""

MAX_EVENT_BACKLOG_BYTES: Final = 1024 * 1024
"""Unread bytes at which a connection's events are dropped (and counted) instead of buffered."""

_EVENT: Final = b'{"event":'

STUCK_SECONDS: Final = 30
"""A client that has stopped reading for so long, with its buffer full, is cut off."""

LINGER_SECONDS: Final = 2
"""How long a connection that the server ends may take to read its last answers."""

TURN_LINES: Final = 512
"""Lines that are carried out in one turn of the loop: some milliseconds. Of the shortest a read can hold a hundred
thousand, for which everybody else would wait a second."""

AUTH_SECONDS: Final = 10
AUTH_BYTES: Final = 4_096
AUTH_TRIES: Final = 3
"""What a connection gets before it has shown a valid token."""


DOOR: Final = "lines"
"""What the history of jobs calls this door."""

_PULLS: Final = (Pull, PullBatch, PullAny)


class _Held(NamedTuple):
    """Answers that wait for the disk: the group they depend on, their lines, and the jobs that are among them."""

    depends_on: int
    lines: list[bytes]
    handed_out: list[list[JobView]]


class _Wait:
    """A call of one connection that waits; the engine knows it as the call's token."""

    __slots__ = ("_connection", "parked", "req_id")

    def __init__(self, connection: "LineConnection", parked: Parked, req_id: str | None) -> None:
        self._connection = connection
        self.parked = parked
        self.req_id = req_id

    def answer(self, delivered: Any, now: Instant) -> "LineConnection":  # noqa: ANN401 - what it is, its command knows
        self._connection.answer_wait(self, delivered, now)
        return self._connection


class LineConnection(Protocol):
    """One client."""

    def __init__(
        self,
        context: Context,
        turns: Turns,
        *,
        admit: Callable[["LineConnection"], bool],
        left: Callable[["LineConnection"], None],
    ) -> None:
        """Build it for one client that is about to come.

        Args:
            context: what commands work on.
            turns: the runtime.
            admit: asked once whether there is room for this connection.
            left: told once that it is gone.
        """
        self._context = context
        self._turns = turns
        self._admit = admit
        self._left = left
        self._session = Session(BEFORE_AUTH, self, door=DOOR)
        anonymous = context.access.anonymous
        self._needs_auth = anonymous is None
        if anonymous is not None:
            self._session.identify(anonymous)
        self._splitter = LineSplitter()
        self._transport: Transport = cast("Transport", None)  # until the connection is made
        # What this turn answers, and the jobs among it.
        self._out: list[bytes] = []
        self._handed_out: list[list[JobView]] = []
        self._held: deque[_Held] = deque()
        self._owed = 0  # bytes of both
        self._later: list[bytes] = []  # lines for whose answers there is no room yet
        # The parked call without a reqId, and what stands behind it: pulls, or answers that must keep their place.
        self._waiting: _Wait | None = None
        self._behind: deque[Pull | PullBatch | PullAny | bytes] = deque()
        self._waits: dict[_Wait, None] = {}
        self._brief = 0  # how many of them are
        self._client_slow = False
        self._reading = True
        self._breathing = False
        self._ending = False  # no more commands are taken
        self._said_goodbye = False
        self._client_done = False
        self._half_closes = True  # inside TLS a connection ends in both directions or in none
        self._tries = 0
        self._asked = 0  # bytes before it showed a token
        self._unfinished = 0  # bytes of a line that has not ended, as counted
        self._timer: TimerHandle | None = None
        self._unread = 0
        self._lagged = 0

    # --- asyncio's side ---

    def connection_made(self, transport: BaseTransport) -> None:
        """A client is there."""
        self._transport = cast("Transport", transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)
        self._session.peer = peer_of(transport)
        self._half_closes = transport.get_extra_info("sslcontext") is None
        self._turns.attach(self)
        if not self._admit(self):
            self._end(Overloaded("Too many connections"))
        elif self._needs_auth:
            self._timer = get_running_loop().call_later(
                AUTH_SECONDS, self._end, Unauthorized("Authentication required")
            )
        if self._turns.held_back:
            self._watch_reading()

    def data_received(self, data: bytes) -> None:
        """The client sent something: carry out every whole line of it, then answer all of them in one write."""
        if self._ending:
            return
        try:
            lines = self._splitter.feed(data)
        except TooLarge as error:
            self._end(error)
            return
        if self._needs_auth:
            self._asked += sum(map(len, lines)) + len(lines)
        if self._later:  # what had been read already when reading stopped
            self._later += lines
            lines = []
        now = self._turns.clock()
        self._carry_out(lines, now)
        if self._needs_auth and self._asked + self._splitter.held > AUTH_BYTES:
            self._end(Unauthorized("Authentication required"))
            return
        if lines:
            self._finish_turn(now)
        if self._splitter.held != self._unfinished:
            self._count_unfinished(self._splitter.held)
        if len(data) >= BREATH_BYTES:
            self._breathe()

    def eof_received(self) -> bool:
        """The client will send no more, but may still read: answer what it asked for, then close."""
        self._client_done = True
        if self._ending or not (self._later or self._brief):
            self._finish()
        return self._half_closes

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone: unpark it, and give back the jobs whose answers never left."""
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()
        now = self._turns.clock()
        engine = self._context.engine
        for wait in self._waits:
            engine.parking.unpark(wait)
        self._waits.clear()
        self._waiting = None
        for held in self._held:
            self._give_back(held.handed_out, now)
        self._held.clear()
        self._later = []
        # Ends the cycle of connection and session: what it holds may be megabytes, and the collector comes late.
        self._session.subscriber = None
        self._forget_input()
        self._turns.detach(self)
        self._left(self)
        self._turns.gather()
        self._turns.hand_over(now)

    def pause_writing(self) -> None:
        """The client does not read its answers: do not read its commands."""
        self._client_slow = True
        self._watch_reading()
        self._unread = self._transport.get_write_buffer_size()
        self._timer = get_running_loop().call_later(STUCK_SECONDS, self._still_stuck)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._client_slow = False
        if self._said_goodbye:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell_lag()
        self._go_on()

    # --- the runtime's side ---

    def send(self) -> None:
        """Send what was answered, or hold them until what they depend on is durable."""
        turns = self._turns
        depends_on = turns.gather()
        if not self._out:
            return
        lines, self._out = self._out, []
        handed_out = self._handed_out
        if handed_out:
            self._handed_out = []
        if depends_on <= turns.durable and not self._held:
            if handed_out and self._transport.is_closing():
                self._give_back(handed_out, turns.clock())
            self._write(lines)
        else:
            self._held.append(_Held(depends_on, lines, handed_out))
            turns.wait(self)
            if len(self._held) >= MAX_HELD:
                self._watch_reading()

    def release(self, durable: int) -> None:
        """Send what depends on groups up to ``durable``."""
        if self._transport.is_closing():  # it is about to be lost, and what is held goes back then
            return
        lines: list[bytes] = []
        held = self._held
        while held and held[0].depends_on <= durable:
            lines += held.popleft().lines
        if held:
            self._turns.wait(self)
        if lines:
            self._write(lines)
        self._go_on()
        self._close_when_done()

    def refuse(self, error: StorageError) -> None:
        """Answer everything that is held with this error; events among it are true nevertheless."""
        if self._transport.is_closing():  # it is about to be lost, and what is held goes back then
            return
        now = self._turns.clock()
        held, self._held = self._held, deque()
        for each in held:
            self._give_back(each.handed_out, now)
            lines = [line if line.startswith(_EVENT) else _refusal(line, error) for line in each.lines]
            self._owed += sum(map(len, lines)) - sum(map(len, each.lines))
            self._write(lines)
        self._go_on()
        self._close_when_done()

    def hold_back(self) -> None:
        """The disk is far behind: do not read."""
        self._watch_reading()

    def go_on(self) -> None:
        """The disk has caught up, or the others have had their turn."""
        self._breathing = False
        self._go_on()

    def answer_wait(self, wait: _Wait, delivered: Any, now: Instant) -> None:  # noqa: ANN401 - see `Parked.reply`
        """A call that waited is answered; pulls that stood behind it have their turn."""
        self._waits.pop(wait, None)
        if delivered:
            self._reply(_answered(wait.parked, delivered), wait.req_id)
        else:
            self._answer_over(wait.parked, wait.req_id)
        if wait is self._waiting:
            self._waiting = None
            self._serve_behind(now, may_wait=True)
        if wait.parked.brief:
            self._brief -= 1
            self._turns.after_others(self)  # what came behind it

    def tell(self, run: list[Told]) -> None:
        """Events that this connection subscribed to."""
        if self._said_goodbye:
            return
        for told in run:
            self._tell(told.json)

    def drain(self) -> None:
        """The server is leaving: end all waiting, answer what is held, and close."""
        self._stop_waiting(self._turns.clock())
        self._ending = True
        self._close_when_done()

    def leave_if_revoked(self) -> None:
        """The tokens have changed: who is no longer welcome is told so and let go."""
        if self._session.revoked:
            self._end(Unauthorized("Token revoked"))

    def abort(self) -> None:
        """Cut it off."""
        self._transport.abort()

    # --- a turn ---

    def _carry_out(self, lines: list[bytes], now: Instant) -> None:
        """Carry out lines, as long as there is room for their answers: a short line may have a long one."""
        if len(lines) > TURN_LINES:
            lines, self._later = lines[:TURN_LINES], lines[TURN_LINES:]
            self._breathe()
        for place, line in enumerate(lines, 1):
            self._line(line, now)
            if self._ending:  # what stands behind the last straw is not carried out
                return
            if self._waiting is not None and self._waiting.parked.brief:
                self._later = lines[place:] + self._later
                self._watch_reading()
                return
            if self._owed > WRITE_HIGH_BYTES:
                self.send()
                if self._client_slow or self._owed > WRITE_HIGH_BYTES:
                    self._later = lines[place:] + self._later
                    self._watch_reading()
                    return

    def _breathe(self) -> None:
        """Stop until the others have had their turn."""
        if not self._breathing:
            self._breathing = True
            self._watch_reading()
            self._turns.after_others(self)

    def _go_on(self) -> None:
        """Something that stood in the way may be gone."""
        if (self._later or self._client_done) and self._may_go_on() and not self._ending:
            lines, self._later = self._later, []
            now = self._turns.clock()
            self._carry_out(lines, now)
            self._finish_turn(now)
            if self._client_done and not (self._later or self._brief):
                self._finish()
        self._watch_reading()

    def _line(self, line: bytes, now: Instant) -> None:
        try:
            request = decode_request(line)
        except FlashQError as error:
            mark = request_mark(line)
            if mark is None and self._waiting is not None:
                self._end_wait(now)
            self._reply(failure(error), mark)
            return
        req_id = request.req_id
        if req_id is None and self._waiting is not None:
            if isinstance(request, _PULLS) and self._waiting.parked.in_line:
                self._stand_behind(request)
                return
            self._end_wait(now)
        self._serve(request, req_id, now, may_wait=True)

    def _serve(self, request: AnyRequest, req_id: str | None, now: Instant, *, may_wait: bool) -> None:
        try:
            reply = execute(self._context, self._session, request, now)
            if type(reply) is Parked:
                self._park(reply, req_id, now, may_wait=may_wait)
                return
        except FlashQError as error:
            self._refused(error, req_id)
            return
        except Exception as error:
            self._turns.broken(error)
            raise
        self._reply(reply, req_id)  # type: ignore[arg-type]  # the type test above is faster than one mypy follows
        if self._needs_auth and self._session.allowed is not BEFORE_AUTH:
            self._authenticated()

    def _reply(self, reply: Reply | Failed, req_id: str | None) -> None:
        if req_id is not None:
            reply = marked(reply, req_id)
        if type(reply) is Pulled:
            if reply.job is not None:
                self._handed_out.append([reply.job])
        elif type(reply) is PulledBatch and reply.jobs:
            self._handed_out.append(reply.jobs)
        line = encode(reply)
        self._owed += len(line)
        self._out.append(line)

    def _refused(self, error: FlashQError, req_id: str | None) -> None:
        self._reply(failure(error), req_id)
        if isinstance(error, Unauthorized) or (self._needs_auth and isinstance(error, Overloaded)):
            self._tries += 1
            if self._tries >= AUTH_TRIES:
                self._ending = True

    def _finish_turn(self, now: Instant) -> None:
        if self._ending:
            self._stop_waiting(now)
            self._close_when_done()
            return
        self.send()
        self._turns.hand_over(now)

    def _write(self, lines: list[bytes]) -> None:
        lines.append(b"")
        data = b"\n".join(lines)
        self._owed -= len(data) - len(lines) + 1
        self._transport.write(data)

    def _give_back(self, handed_out: list[list[JobView]], now: Instant) -> None:
        for jobs in handed_out:
            self._turns.give_back(jobs, now)

    # --- waiting ---

    def _park(self, parked: Parked, req_id: str | None, now: Instant, *, may_wait: bool) -> None:
        if not may_wait:
            self._answer_over(parked, req_id)
            return
        if len(self._waits) >= MAX_WAITS_PER_CONNECTION:
            raise Overloaded(f"Too many waiting calls on this connection (max {MAX_WAITS_PER_CONNECTION})")
        wait = _Wait(self, parked, req_id)
        parked.park(wait, now)
        self._brief += parked.brief
        self._waits[wait] = None
        if req_id is None:
            self._waiting = wait

    def _answer_over(self, parked: Parked, req_id: str | None) -> None:
        """Answer it without what it waits for."""
        try:
            reply: Reply | Failed = over(self._context, parked)
        except FlashQError as error:
            reply = failure(error)
        self._reply(reply, req_id)

    def _stand_behind(self, request: Pull | PullBatch | PullAny) -> None:
        if len(self._behind) < MAX_PULLS_BEHIND:
            self._behind.append(request)
            return
        refused = Overloaded(f"Too many pulls behind one that waits (max {MAX_PULLS_BEHIND})")
        self._behind.append(encode(failure(refused)))
        if len(self._behind) > 10 * MAX_PULLS_BEHIND:
            self._ending = True

    def _end_wait(self, now: Instant) -> None:
        """Something else comes behind the call that waits: answer it, and pulls behind it, without waiting."""
        wait = self._waiting
        if wait is not None:
            self._waiting = None
            self._context.engine.parking.unpark(wait)
            self._waits.pop(wait, None)
            self._answer_over(wait.parked, None)
        self._serve_behind(now, may_wait=False)

    def _serve_behind(self, now: Instant, *, may_wait: bool) -> None:
        behind = self._behind
        while behind and self._waiting is None:
            item = behind.popleft()
            if isinstance(item, bytes):
                self._owed += len(item)
                self._out.append(item)
            else:
                self._serve(item, None, now, may_wait=may_wait)

    def _stop_waiting(self, now: Instant) -> None:
        for wait in [wait for wait in self._waits if wait is not self._waiting]:
            if self._context.engine.parking.unpark(wait):  # else its answer is on the way
                self._waits.pop(wait)
                self._answer_over(wait.parked, wait.req_id)
        self._end_wait(now)
        self.send()
        self._turns.hand_over(now)

    # --- reading and ending ---

    def _count_unfinished(self, held: int) -> None:
        context = self._context
        context.unfinished += held - self._unfinished
        self._unfinished = held
        try:
            check_unfinished(held, context.unfinished)
        except Overloaded as error:
            self._end(error)

    def _forget_input(self) -> None:
        self._splitter = LineSplitter()
        self._context.unfinished -= self._unfinished
        self._unfinished = 0

    def _watch_reading(self) -> None:
        """Read exactly when client, disk and gate all allow it, and what was read is carried out."""
        may = self._said_goodbye or (self._may_go_on() and not self._later and not self._breathing)
        if may != self._reading and not self._transport.is_closing():
            self._reading = may
            if may:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _may_go_on(self) -> bool:
        return not (
            self._client_slow
            or self._turns.held_back
            or len(self._held) >= MAX_HELD
            or self._owed > WRITE_HIGH_BYTES
            or (self._waiting is not None and self._waiting.parked.brief)
        )

    def _still_stuck(self) -> None:
        size = self._transport.get_write_buffer_size()
        if size >= self._unread:
            self._transport.abort()
        else:
            self._unread = size
            self._timer = get_running_loop().call_later(STUCK_SECONDS, self._still_stuck)

    def _authenticated(self) -> None:
        self._needs_auth = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, error: FlashQError) -> None:
        """Say why, behind what is still to be answered, and close."""
        if not self._ending:
            self._ending = True
            self._stop_waiting(self._turns.clock())
            self._reply(failure(error), None)
            self.send()
        self._forget_input()
        self._close_when_done()

    def _finish(self) -> None:
        """The client has said all it has to say, and all of it was carried out."""
        self._stop_waiting(self._turns.clock())
        self._ending = True
        if self._said_goodbye:
            self._transport.close()
        self._close_when_done()

    def _close_when_done(self) -> None:
        """Once nothing is held: say that no more will come, and give the client a moment to read it.

        Closing at once would throw away what the client has sent and we have not read, and the reset that follows
        would throw away our last answers with it.
        """
        if not self._ending or self._held or self._said_goodbye or self._transport.is_closing():
            return
        self._said_goodbye = True
        if self._client_done or not self._half_closes:
            self._transport.close()  # what was written leaves before; TLS waits for the client's goodbye by itself
            return
        self._watch_reading()
        self._transport.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._unread = self._transport.get_write_buffer_size()
        self._timer = get_running_loop().call_later(LINGER_SECONDS, self._linger)

    def _linger(self) -> None:
        """Go on waiting only while the client reads. Closing is no way out: it waits for the client as well."""
        size = self._transport.get_write_buffer_size()
        if not 0 < size < self._unread:
            self._transport.abort()
            return
        self._unread = size
        self._timer = get_running_loop().call_later(LINGER_SECONDS, self._linger)

    def _tell(self, event: bytes) -> None:
        if self._transport.get_write_buffer_size() + self._owed > MAX_EVENT_BACKLOG_BYTES:
            self._lagged += 1
        elif self._held:  # the answer to SUBSCRIBE may be among what is held, and comes first
            line = b"%b%b}" % (_EVENT, event)
            self._owed += len(line)
            self._held[-1].lines.append(line)
        else:
            self._tell_lag()
            self._transport.write(b"%b%b}\n" % (_EVENT, event))

    def _tell_lag(self) -> None:
        if self._lagged:
            self._transport.write(b'{"lagged":%d}\n' % self._lagged)
            self._lagged = 0


def _answered(parked: Parked, delivered: Any) -> Reply | Failed:  # noqa: ANN401 - see `Parked.reply`
    try:
        return parked.reply(delivered)
    except FlashQError as error:
        return failure(error)


def _refusal(line: bytes, error: StorageError) -> bytes:
    """The error in place of an answer that will never be true, with the same ``reqId``."""
    return encode(marked(failure(error), decode(line).get("reqId")))
