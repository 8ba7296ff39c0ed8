"""The clients' ends of connections into an in-process server: one for `FlashQ`, one for `AsyncFlashQ`.

Everything above them is the real client: encoding, errors, repeats, pipelines, subscriptions, orphaned pulls.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flashq.client.async_connection import Wire as AsyncWire
from flashq.client.pipeline import checked_event, is_event
from flashq.errors import CallTimeout, ConnectionLost
from flashq.testing.host import GIVE_UP_MS, SLICES, Host

LONG_AGO: float = 0.0
"""When an ended connection was used last: the client looks whether it is stale before it uses it."""


class LocalWire:
    """A `flashq.client.sync_connection.Wire` whose other end is in this process."""

    def __init__(self, host: Host, generation: int) -> None:
        self._host = host
        self._answers: deque[bytes] = deque()
        self._events: deque[bytes] = deque()
        self._ended = False
        self.generation = generation
        self.answered = False
        self.used_at = LONG_AGO
        self._door = host.connect(self._received, self._lost)

    def ask(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request and wait for its answer."""
        outcome = self.ask_all([line], timeout_ms)[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def ask_all(self, lines: Sequence[bytes], timeout_ms: float | None) -> list[bytes | BaseException]:
        """Send requests and gather their answers; from the first that did not come on, the error instead."""
        self._door.feed(b"".join(lines))
        failed: BaseException = self._gone()
        try:
            self._host.wait(lambda: len(self._answers) == len(lines) or self._ended, timeout_ms)
        except CallTimeout as late:
            failed = late
        outcomes: list[bytes | BaseException] = list(self._answers)
        self._answers.clear()
        self.answered = self.answered or bool(outcomes)
        return outcomes + [failed] * (len(lines) - len(outcomes))

    def ask_beside_events(self, line: bytes, timeout_ms: float | None) -> bytes:
        """Send one request on a connection that also carries events."""
        return self.ask(line, timeout_ms)

    def next_event(self, timeout_ms: float | None) -> bytes:
        """The next event line."""
        self._host.wait(lambda: bool(self._events) or self._ended, timeout_ms)
        if not self._events:
            raise self._gone()
        return checked_event(self._events.popleft())

    def stale(self) -> bool:
        """Whether the server has ended it."""
        return self._ended

    def close(self) -> None:
        """Close; a thread that waits here is woken."""
        self._door.cut()

    def _received(self, data: bytes) -> None:
        for line in data.split(b"\n")[:-1]:
            (self._events if is_event(line) else self._answers).append(line)

    def _lost(self) -> None:
        self._ended = True
        self.used_at = LONG_AGO

    def _gone(self) -> ConnectionLost:
        return ConnectionLost("the connection ended: the in-process server was restarted or closed")


class LocalLink(asyncio.Transport):
    """Carries an `AsyncWire` to a server in this process, and sees to it that no wait lasts for ever."""

    def __init__(self, host: Host, wire: AsyncWire) -> None:
        super().__init__()
        self._host = host
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._door = host.connect(self._received, self._lost)
        self._alarm: asyncio.TimerHandle | None = None
        self._idle_ms = 0
        wire.connection_made(self)

    # --- what the wire asks of its transport ---

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """Send requests."""
        self._door.feed(bytes(data))
        self._watch()

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._door.closed

    def close(self) -> None:
        """End it."""
        self._door.cut()

    def abort(self) -> None:
        """End it."""
        self._door.cut()

    def pause_reading(self) -> None:
        """A test's events fit into its memory."""

    def resume_reading(self) -> None:
        """Never paused."""

    # --- inside ---

    def _received(self, data: bytes) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._wire.data_received, data)

    def _lost(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._wire.pause_writing()  # whoever asks before the end has arrived waits for it, and connects anew
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wire.connection_lost, None)

    def _watch(self) -> None:
        """Look again after a while if anything waits."""
        if self._alarm is None and self._door.owed and not self._door.closed:
            self._wait(self._host.activity, SLICES)

    def _wait(self, seen: int, slices: int) -> None:
        """Let so many parts of the patience pass, or fewer if something happens meanwhile."""
        if slices and self._host.activity == seen:
            slice_s = self._host.patience_ms / 1_000 / SLICES
            self._alarm = self._loop.call_later(slice_s, self._wait, seen, slices - 1)
        else:
            self._look(seen)

    def _look(self, seen: int) -> None:
        """Nothing may have happened since: then let time pass, and in the end give up."""
        self._alarm = None
        owed, began = self._door.owed, self._host.now
        if not owed:
            return
        if self._host.activity != seen or self._host.advance_until(lambda: self._door.owed < owed):
            self._idle_ms = 0
        else:
            self._idle_ms += self._host.patience_ms
        if self._idle_ms >= GIVE_UP_MS or (self._idle_ms and self._host.now != began):
            self._wire.give_up(self._host.stuck())
            self.abort()
        self._watch()
