"""Listeners over HTTP: what each is to be sent next, and when one is to be let go.

A stream holds what its listener asked for and has not been sent, up to a bound. Its door takes portions of it, as fast
as the listener reads. A listener that is further behind, or comes back, is sent what it lacks out of the newest events
that all share; what is not among these any more it has lost, and it is told how much.

One clock for all of them, a tick a second, gives signs of life to the quiet, lets go those whose token was taken back,
and cuts off those that have stopped reading. Between ticks an idle stream costs nothing: no task, no timer, no buffer.

Listeners come back when a connection breaks. So the newest events are kept as long as there are streams, and a minute
longer: see `flashq.observe.ring`.
"""

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from flashq.observe.backlog import Backlog, Total
from flashq.observe.events import Hub
from flashq.observe.ring import PORTION_EVENTS, Told

TICK_SECONDS: Final = 1

TOGETHER: Final = 10
"""Listeners that are sent a portion in one turn of the event loop: some milliseconds, and then others have theirs."""

BEAT_SECONDS: Final = 15
"""Silence after which a stream gives a sign of life: proxies give up after 30 or 60."""

STUCK_SECONDS: Final = 30
"""How long a listener may read nothing of what waits for it, until it is told to go."""

LINGER_SECONDS: Final = 2
"""How long it may then take to read that."""

KEEP_SECONDS: Final = 60
"""How long events are kept for listeners that come back, once the last has left: longer than any reconnect waits."""


class Ending(IntEnum):
    """Why a stream ends, as WebSockets number it."""

    GOING_AWAY = 1001
    UNSUPPORTED = 1003
    REVOKED = 1008
    TOO_SLOW = 1013


class Outlet(Protocol):
    """The door's side of a stream."""

    def wake(self) -> None:
        """There is something to send: a portion, a sign of life, or the end. Must not wait."""

    def go_on(self) -> None:
        """Send some of it: it asked for its turn by `Streams.in_turn`, and this is it. Must not wait."""

    def unread(self) -> int:
        """Bytes that were sent and that the listener has not read."""

    def turn_out(self, ending: Ending) -> None:
        """Say so, in front of nothing else, and close."""

    def cut(self) -> None:
        """Close without a word."""


class Loop(Protocol):
    """What an event loop does for streams."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> object:
        """Call something after so many seconds."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call something in the next turn."""


class Portion(NamedTuple):
    """What to send next.

    Attributes:
        reset: what the listener missed is not known: it has to look at the whole again.
        lagged: how many events it lost since the last portion; they came before these.
        events: the next ones.
    """

    reset: bool
    lagged: int
    events: list[Told]


class Stream:
    """One listener.

    Attributes:
        ending: why it ends, once it does; what it still holds goes first.
        beat: a sign of life is due.
    """

    __slots__ = (
        *("_active_at", "_backlog", "_beats", "_behind", "_lacks", "_outlet", "_reset", "_revoked", "_streams"),
        *("_turned_out", "_unread", "beat", "ending"),
    )

    def __init__(self, streams: "Streams", outlet: Outlet, revoked: Callable[[], bool], *, beats: bool) -> None:
        """Build it; it hears nothing before it is subscribed at the hub.

        Args:
            streams: all of them.
            outlet: where its portions go.
            revoked: whether its listener may no longer hear what it hears.
            beats: it gives signs of life; without, its door sees to them.
        """
        self._streams = streams
        self._outlet = outlet
        self._revoked = revoked
        self._beats = beats
        self._backlog = Backlog(streams.total)
        # What comes behind the backlog is not in it: since the event of this number, so many, None = nobody counted.
        self._behind: int | None = None
        self._lacks: int | None = None
        self._reset = False
        self._active_at = streams.ticks
        self._unread = 0
        self._turned_out = False
        self.beat = False
        self.ending: Ending | None = None

    def replay(self, number: int | None) -> None:
        """Tell what came behind the event of this number first; None: of something that is no longer known."""
        known = number is not None and self._streams.hub.missed(self, number) is not None
        self._behind = number if known else None
        self._lacks = None
        self._reset = not known

    def tell(self, run: list[Told]) -> None:
        """Events. Many at once, or more than there is room for, are left where all share them."""
        if self.ending is not None:
            return
        if self._behind is None and (len(run) > PORTION_EVENTS or self._backlog.full):
            self._behind, self._lacks = run[0].number - 1, 0
        if self._behind is None:
            for told in run:
                self._backlog.add(told)
        elif self._lacks is not None:
            self._lacks += len(run)
        self._outlet.wake()

    def end(self, ending: Ending) -> None:
        """Hear no more."""
        if self.ending is None:
            self.ending = ending
            self._streams.hub.leave(self)
            self._behind = None
            if ending is not Ending.GOING_AWAY:
                self._backlog.clear()
            self._outlet.wake()

    def close(self) -> None:
        """Its listener is gone. Hold nothing for it, and know nothing: nothing may be asked of it any more."""
        self._streams.hub.leave(self)
        self._backlog.clear()
        del self._outlet, self._revoked  # they know it as well, and the collector comes late

    def take(self) -> Portion | None:
        """The next portion, None when there is none; asked again only when what was taken has been sent."""
        self._active_at = self._streams.ticks
        lagged, events = 0, self._backlog.take()
        if not events and self._behind is not None:
            lagged, events = self._catch_up(self._behind)
        reset, self._reset = self._reset, False
        portion = Portion(reset, lagged, events)
        return portion if any(portion) else None

    @property
    def position(self) -> int | None:
        """The number of the event up to which the listener has been told everything; None when that is not so."""
        return None if self.pending else self._streams.hub.position

    @property
    def pending(self) -> bool:
        """Whether there is a portion to take."""
        return bool(self._backlog) or self._reset or self._behind is not None

    def tick(self) -> None:
        """A second has passed."""
        now = self._streams.ticks
        if self._turned_out:
            if now - self._active_at >= LINGER_SECONDS:
                self._outlet.cut()
            return
        if self._revoked():
            self.end(Ending.REVOKED)
        unread = self._outlet.unread()
        if unread < self._unread:
            self._active_at = now
        self._unread = unread
        silent = now - self._active_at
        if unread:
            if silent >= STUCK_SECONDS:
                self._turn_out()
        elif self._beats and silent >= BEAT_SECONDS:
            self._active_at = now
            self.beat = True
            self._outlet.wake()

    def _turn_out(self) -> None:
        self.end(Ending.TOO_SLOW)
        self._turned_out = True
        self._active_at = self._streams.ticks
        self._outlet.turn_out(Ending.TOO_SLOW)

    def _catch_up(self, behind: int) -> tuple[int, list[Told]]:
        """Events that did not fit into the backlog, and how many before them are lost."""
        hub = self._streams.hub
        found = hub.missed(self, behind)
        lagged = 0
        if found is None:
            if self._lacks is None:
                self._reset, self._behind = True, None
                return 0, []
            left, start = hub.left(self)
            lagged, self._lacks = self._lacks - left, left
            found = hub.missed(self, start) or ([], hub.position)
        events, reached = found
        self._behind = reached if reached < hub.position else None
        if self._lacks is not None:
            self._lacks -= len(events)
        return lagged, events


class Streams:
    """All streams, and the clock that they share.

    Attributes:
        hub: where they are subscribed.
        total: what all of them hold.
        ticks: seconds since the first stream.
    """

    def __init__(self, hub: Hub, loop: Loop) -> None:
        """Build it without streams.

        Args:
            hub: where streams are subscribed.
            loop: the event loop.
        """
        self.hub = hub
        self._loop = loop
        self._line: deque[Outlet] = deque()
        self.total = Total()
        self.ticks = 0
        self._open: dict[Stream, None] = {}
        self._ticking = False
        self._leaving = False
        self._forget_at = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, stream: Stream) -> None:
        """A stream that is to be subscribed: from now on events are kept."""
        self._open[stream] = None
        self.hub.remember()
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_SECONDS, self._tick)

    def remove(self, stream: Stream) -> None:
        """Its listener is gone."""
        stream.close()
        self._open.pop(stream, None)
        self._forget_at = self.ticks + KEEP_SECONDS

    def end(self) -> None:
        """The server leaves: end all of them, and the clock."""
        self._leaving = True
        for stream in list(self._open):
            stream.end(Ending.GOING_AWAY)

    def in_turn(self, outlet: Outlet) -> None:
        """Let ``outlet`` go on, once those have that asked before it."""
        self._line.append(outlet)
        if len(self._line) == 1:
            self._loop.call_soon(self._next_turn)

    @property
    def busy(self) -> bool:
        """Whether any waits for its turn."""
        return bool(self._line)

    def _next_turn(self) -> None:
        for _ in range(min(TOGETHER, len(self._line))):
            self._line.popleft().go_on()
        if self._line:
            self._loop.call_soon(self._next_turn)

    def _tick(self) -> None:
        self.ticks += 1
        for stream in list(self._open):
            stream.tick()
        if self._open or (self.ticks < self._forget_at and not self._leaving):
            self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._ticking = False
            self.hub.forget()
