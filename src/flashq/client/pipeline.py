"""What a client knows about one connection without touching it: which answers are due, and when to try again.

Pure: no socket, no clock, no chance. Time and random numbers come in as arguments, so that a whole lost connection
is played through in a test without waiting.

Answers come in the order of the requests, except those that carry a ``reqId``. A request whose caller has given
up stays in line as an empty place: its answer, when it comes, must be taken from the stream and dropped, or every
later caller would get his neighbour's answer.
"""

from collections import deque
from typing import Final, Generic, TypeVar

from msgspec import UNSET, DecodeError, Struct, UnsetType, field, json

from flashq.errors import ConnectionLost, FlashQError

W = TypeVar("W")

NEVER: Final = float("inf")
"""A deadline that does not come."""

BACKOFF_BASE_MS: Final = 100
"""Range of the first wait before reconnecting: longer than a server's listening gap, too short to be noticed."""

BACKOFF_CAP_MS: Final = 10_000
"""The longest wait: a server that was away for an hour is found again within ten seconds."""

MAX_REPEATS: Final = 3
"""How often one call is sent again. A request that lost four connections in a row may well be what ends them."""

REPEAT_SHARE: Final = 0.1
"""Repeats earned by each call: over time at most a tenth of the traffic is repetition, so that a struggling server
is not met by its own echo."""

REPEAT_RESERVE: Final = 1_000
"""Repeats that may be saved up, and that a new client starts with: one lost connection full of pipelined calls."""


STORAGE_PAUSE_MS: Final = 1_000
"""The wait before a call is sent again that the server refused because its storage does not answer: it says so at once,
and is back within seconds or for good."""


class Unreachable(ConnectionLost):
    """There is no connection and none could be made. Nothing was sent: here the outcome is known."""


class LineSplitter:
    """Bytes in, whole lines out; keeps the unfinished rest.

    Chunks of a long line are kept apart until its end arrives: joining at every chunk would copy a line of many
    megabytes hundreds of times.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what was read and give the lines that it completes, without their ends."""
        if b"\n" not in data:
            self._parts.append(data)
            return []
        if self._parts:
            self._parts.append(data)
            data = b"".join(self._parts)
            self._parts.clear()
        lines = data.split(b"\n")
        rest = lines.pop()
        if rest:
            self._parts.append(rest)
        return lines


class _Marks(Struct, gc=False):
    """The two members that say where a line belongs."""

    req_id: str | UnsetType = field(default=UNSET, name="reqId")


_read_marks = json.Decoder(_Marks).decode


_TOLD: Final = (b'{"event":', b'{"lagged":')
"""How lines begin that answer nothing: they have one member."""


def is_event(line: bytes) -> bool:
    """Whether the line is an event, or the mark where some were left out, rather than an answer."""
    return line.startswith(_TOLD)


def checked_event(line: bytes) -> bytes:
    """The line again, if it is an event.

    Raises:
        ConnectionLost: events were left out here. A subscriber is told so rather than left with a silent gap.
    """
    if line.startswith(_TOLD[1]):
        raise ConnectionLost("events were lost: they came faster than they were read")
    return line


class Pipeline(Generic[W]):
    """Requests that were sent on one connection, matched with the answers that come in.

    ``W`` is whatever the caller wants back with an answer: a future, a number, a name.

    Attributes:
        answered: answers matched so far; a connection that never answered anything is not a working one.
        events: event lines that came in between, oldest first; whoever subscribed takes them out.
    """

    __slots__ = ("_by_id", "_in_order", "_splitter", "answered", "events")

    def __init__(self) -> None:
        self._splitter = LineSplitter()
        self._in_order: deque[tuple[W | None, float]] = deque()
        self._by_id: dict[str, tuple[W | None, float]] = {}
        self.answered = 0
        self.events: deque[bytes] = deque()

    def __len__(self) -> int:
        """Answers that are due, including those that nobody waits for any more."""
        return len(self._in_order) + len(self._by_id)

    def asked(self, waiter: W, deadline: float = NEVER, req_id: str | None = None) -> None:
        """Note a request in the order of sending.

        Args:
            waiter: handed back with the answer.
            deadline: when `expire` gives it up, on the caller's own clock.
            req_id: set if the request carries it; its answer may overtake others.
        """
        if req_id is None:
            self._in_order.append((waiter, deadline))
        else:
            self._by_id[req_id] = (waiter, deadline)

    def feed(self, data: bytes) -> list[tuple[W, bytes]]:
        """Take in what was read and give (waiter, answer) for every answer it completes.

        Raises:
            ConnectionLost: the server said something that nobody asked for. Order can no longer be trusted, so
                the connection must be closed; the sentence says what came.
        """
        matched: list[tuple[W, bytes]] = []
        in_order = self._in_order
        for line in self._splitter.feed(data):
            if is_event(line):
                self.events.append(line)
                continue
            # While nothing may overtake, the order alone says whose answer this is: no need to look inside.
            if self._by_id and b'"reqId"' in line and self._take_by_id(line, matched):
                continue
            if not in_order:
                raise ConnectionLost(f"the server sent what nobody asked for: {_shown(line)}")
            waiter, _ = in_order.popleft()
            self.answered += 1
            if waiter is not None:
                matched.append((waiter, line))
        return matched

    def _take_by_id(self, line: bytes, matched: list[tuple[W, bytes]]) -> bool:
        """Whether the line belongs to a request with an id; its name may also just stand inside a payload."""
        try:
            req_id = _read_marks(line).req_id
        except DecodeError:
            return False
        if req_id is UNSET:
            return False
        if req_id not in self._by_id:
            raise ConnectionLost(f"the server answered a request that is not there: {_shown(line)}")
        waiter, _ = self._by_id.pop(req_id)
        self.answered += 1
        if waiter is not None:
            matched.append((waiter, line))
        return True

    def next_deadline(self) -> float:
        """The earliest deadline of all that are due; `NEVER` if there is none."""
        in_order = min((deadline for _, deadline in self._in_order), default=NEVER)
        return min(in_order, min((deadline for _, deadline in self._by_id.values()), default=NEVER))

    def expire(self, now: float) -> list[W]:
        """Give up all whose deadline has come; their places stay, so that late answers are dropped."""
        late = [waiter for waiter, deadline in self._in_order if deadline <= now and waiter is not None]
        if late:
            self._in_order = deque(
                (waiter, deadline) if deadline > now else (None, NEVER) for waiter, deadline in self._in_order
            )
        for req_id, (waiter, deadline) in self._by_id.items():
            if deadline <= now and waiter is not None:
                late.append(waiter)
                self._by_id[req_id] = (None, NEVER)
        return late

    def forget(self, req_id: str) -> None:
        """A request with an id was taken back before it was answered: no answer is due any more."""
        self._by_id.pop(req_id, None)

    def give_up(self) -> list[W]:
        """The connection has ended: everyone who still waits, in the order of asking."""
        waiting = [waiter for waiter, _ in self._in_order if waiter is not None]
        waiting.extend(waiter for waiter, _ in self._by_id.values() if waiter is not None)
        self._in_order.clear()
        self._by_id.clear()
        return waiting


def _shown(line: bytes) -> str:
    """A line from a stranger, short and harmless enough for an error text."""
    return ascii(line[:200].decode(errors="replace"))


class Backoff:
    """How long to wait before connecting again: full jitter, so that a thousand clients do not come back as one.

    Attributes:
        failures: attempts in a row that came to nothing.
    """

    __slots__ = ("_due", "_least_ms", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self._due = False
        self._least_ms = 0

    def delay_ms(self, chance: float) -> float:
        """The wait before the next attempt.

        Args:
            chance: a random number from 0 up to 1; the wait is that share of the range.

        Returns:
            Milliseconds; 0 if nothing went wrong since the last connection, as for a client's first. More than the
            last failure asked for, so that those who were all told the same do not come back as one either.
        """
        if not self._due:
            return 0.0
        # Past the tenth doubling the cap decides anyway; the bound keeps the number small.
        return self._least_ms + chance * min(BACKOFF_CAP_MS, BACKOFF_BASE_MS << min(self.failures, 10))

    def connected(self) -> None:
        """There is a connection. Whether it is of use shows when it ends."""
        self._due = False

    def lost(self) -> None:
        """A connection that had been of use ended: its server may be restarting, and everybody comes back."""
        self.failures = 0
        self._due = True
        self._least_ms = 0

    def failed(self, error: BaseException | None = None) -> None:
        """An attempt failed, or a connection ended without a single answer.

        Args:
            error: why; it may say how long to wait at least.
        """
        self.failures += 1
        self._due = True
        self._least_ms = error.retry_after_ms if isinstance(error, FlashQError) else 0


class RepeatBudget:
    """How many calls may be sent again after lost connections: a share of all calls, with a bounded reserve.

    Attributes:
        calls: all calls so far; the caller counts them here.
    """

    __slots__ = ("_counted", "_left", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self._counted = 0
        self._left = float(REPEAT_RESERVE)

    def take(self) -> bool:
        """Whether one more repeat may be sent; it is used up by the question."""
        self._left = min(REPEAT_RESERVE, self._left + REPEAT_SHARE * (self.calls - self._counted))
        self._counted = self.calls
        if self._left < 1:
            return False
        self._left -= 1
        return True
