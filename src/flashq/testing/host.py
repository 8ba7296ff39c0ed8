"""The inside of an in-process server: the real engine, runtime, journal and doors, and a clock that is moved by hand.

Nothing runs by itself: no thread, no event loop, no timer. What a command causes happens inside the call that sends it;
what the clock causes happens while the clock is moved, each thing at exactly its moment. Storage is the list of groups
of `flashq.storage.memory`, so a restart goes through the same restoring as a real one.

A call that waits (a pull on an empty queue, the result of a job that has not run) must not hang a test:

- In the thread that made the server nobody else can act while it waits. So time passes at once, step by step to what
  falls due next, until the answer is there.
- In any other thread, and in coroutines, others may act. So the same happens only after nothing has been asked of the
  server for ``patience_ms`` of real time.
- When nothing that is going to happen would answer, the call raises `CallTimeout` (in the second case after
  `GIVE_UP_MS`).
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Final, cast

from flashq.commands.session import Context
from flashq.engine.check import check
from flashq.engine.engine import Engine
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.errors import CallTimeout
from flashq.model import Instant
from flashq.server.runtime import Runtime
from flashq.storage.journal import Journal
from flashq.storage.memory import MemoryStorage
from flashq.storage.writer import Writer
from flashq.transports.tcp import LineConnection

MAX_JUMP_MS: Final = 26 * 60 * 60 * 1_000
"""How far one call that waits for ever may move the clock: past every daily schedule, and no further, for a schedule
that fires each second would otherwise never let it end."""

GIVE_UP_MS: Final = 2_000
"""Real time without any call after which a wait that nothing would answer is given up: longer than a test that does
something else meanwhile, short enough to be waited for when a test is wrong."""

SLICES: Final = 10
"""The patience is counted in so many parts, one after the other: a machine that halts uses up no more than one of them,
and whoever was about to act still has the others."""


class StillLoop:
    """What the runtime takes for an event loop: does at the end of a turn what was put off, and never wakes up."""

    def __init__(self) -> None:
        self._soon: deque[Callable[[], object]] = deque()

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:  # noqa: ANN401 - whatever the call takes
        """At the end of this turn."""
        self._soon.append(partial(call, *args))

    def call_later(self, _: float, __: Callable[..., object], *___: Any) -> "NoTimer":  # noqa: ANN401
        """Never: whoever moves the clock looks himself for what is due."""
        return NoTimer()

    def go_round(self) -> None:
        """Do what was put off, and what that puts off."""
        while self._soon:
            self._soon.popleft()()


class NoTimer:
    """A timer that does not run."""

    def cancel(self) -> None:
        """It would not have come anyway."""


class Commits:
    """What the runtime takes for its writer: a group is safe as soon as the turn goes round."""

    def __init__(self, storage: MemoryStorage, loop: StillLoop, done: Callable[[int], None]) -> None:
        self._storage = storage
        self._loop = loop
        self._done = done

    def submit(self, number: int, blob: bytes) -> None:
        """Commit a group."""
        self._storage.commit(number, blob)
        self._loop.call_soon(self._done, number)


class Door(asyncio.Transport):
    """The server's end of one connection.

    Attributes:
        owed: requests that were sent and not answered yet.
        closed: nothing more is sent or answered.
    """

    def __init__(self, host: "Host", received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        """Connect.

        Args:
            host: the server.
            received: takes what the server sends; must return at once.
            lost: told once that the connection has ended.
        """
        super().__init__()
        self._host = host
        self._received = received
        self._lost = lost
        self._connection = host.connection()
        self.owed = 0
        self.closed = False
        self._connection.connection_made(self)

    def feed(self, data: bytes) -> None:
        """The client sends whole lines; what they cause has happened when this returns."""
        with self._host.turn():
            if not self.closed:
                self.owed += data.count(b"\n")
                self._connection.data_received(data)

    def cut(self) -> None:
        """End the connection, from either side."""
        with self._host.turn():
            if not self.closed:
                self.closed = True
                self._host.left(self)
                self._connection.connection_lost(None)
                self._lost()

    # --- what the connection asks of its transport ---

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """The server answers, or tells events."""
        sent = bytes(data)
        self.owed -= sum(not line.startswith((b'{"event":', b'{"lagged":')) for line in sent.split(b"\n")[:-1])
        self._received(sent)

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self.closed

    def get_write_buffer_size(self) -> int:
        """Nothing is ever buffered here."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered here."""

    def pause_reading(self) -> None:
        """What was sent has been read already."""

    def resume_reading(self) -> None:
        """What was sent has been read already."""

    def write_eof(self) -> None:
        """The server has said its last word."""
        self._host.soon(self.cut)

    def close(self) -> None:
        """The server ends it."""
        self._host.soon(self.cut)

    def abort(self) -> None:
        """The server cuts it off."""
        self._host.soon(self.cut)


class Host:
    """One server in this process.

    Attributes:
        engine: the queue itself; another one after `restart`.
        now: this moment of the server's clocks.
        patience_ms: see the module.
        activity: turns so far.
    """

    def __init__(self, settings: Settings, now: Instant, patience_ms: int) -> None:
        self.now = now
        self.patience_ms = patience_ms
        self.activity = 0
        self.closed = False
        self._settings = settings
        self._changed = threading.Condition()
        self._owner = threading.get_ident()
        self._doors: dict[Door, None] = {}
        self._nonces = map(str, count(1))
        self._storage = MemoryStorage()
        self.engine: Engine
        self._runtime: Runtime
        self._context: Context
        self._loop: StillLoop
        self._boot()

    # --- connections ---

    def connect(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> Door:
        """A new connection; the arguments are those of `Door`.

        Raises:
            ConnectionRefusedError: the server has been closed.
        """
        with self.turn():
            if self.closed:
                raise ConnectionRefusedError("the server has been closed")
            door = Door(self, received, lost)
            self._doors[door] = None
            return door

    def connection(self) -> LineConnection:
        """The protocol of one client."""
        return LineConnection(self._context, self._runtime, admit=lambda _: True, left=lambda _: None)

    def left(self, door: Door) -> None:
        """A connection has ended."""
        self._doors.pop(door, None)

    def cut_all(self) -> None:
        """End all connections."""
        for door in list(self._doors):
            door.cut()

    def restart(self) -> None:
        """End as a killed process does, and come back from what was remembered."""
        with self.turn():
            self.cut_all()
            self._storage = self._storage.reopened()
            self._boot()

    def close(self) -> None:
        """Let nobody in any more."""
        with self.turn():
            self.closed = True
            self.cut_all()

    # --- turns ---

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else does anything to the server meanwhile; afterwards what was put off is done."""
        with self._changed:
            try:
                yield
            finally:
                self._loop.go_round()
                self.activity += 1
                self._changed.notify_all()

    def soon(self, call: Callable[[], None]) -> None:
        """Do this at the end of the turn."""
        self._loop.call_soon(call)

    # --- time ---

    def advance(self, ms: int) -> None:
        """Move both clocks; everything that falls due meanwhile happens at its moment."""
        with self.turn():
            end = self.now.steady + ms
            while (passed := self._step(end - self.now.steady)) is not None:
                del passed
            self._pass(end - self.now.steady)

    def advance_until(self, ready: Callable[[], bool], most_ms: int = MAX_JUMP_MS) -> bool:
        """Move the clocks from one thing that falls due to the next until something has come about.

        Args:
            ready: whether it has.
            most_ms: how far at most.

        Returns:
            Whether it has; if not, the clocks stand where the last thing fell due.
        """
        with self.turn():
            end = self.now.steady + most_ms
            while not ready():
                if self._step(end - self.now.steady) is None:
                    return False
            return True

    def next_due_ms(self) -> int | None:
        """Ms until something falls due; None if nothing will."""
        return self.engine.wait(self.now)

    def wait(self, ready: Callable[[], bool], limit_ms: float | None) -> None:
        """Wait in a plain program; see the module.

        Args:
            ready: whether what is waited for has come.
            limit_ms: of the server's time; None: as long as it takes.

        Raises:
            CallTimeout: it has not come in time, or nothing that is going to happen will bring it.
        """
        most = MAX_JUMP_MS if limit_ms is None else int(limit_ms)
        end = self.now.steady + most
        with self._changed:
            while not ready():
                if self._others_act(ready):
                    continue
                if self.advance_until(ready, max(0, end - self.now.steady)):
                    return
                if limit_ms is None:
                    raise CallTimeout(self.stuck())
                self.advance(max(0, end - self.now.steady))
                raise CallTimeout(f"no answer within {most} ms of the server's time")

    def stuck(self) -> str:
        """Why a wait is given up, for an error."""
        due = self.next_due_ms()
        what = "nothing falls due" if due is None else "of what falls due, nothing answers it within a day"
        return f"this call would wait for ever: no other call is under way, and {what} in this in-process server"

    # --- inside ---

    def _others_act(self, ready: Callable[[], bool]) -> bool:
        """Whether something happened while this thread let others go first."""
        if threading.get_ident() == self._owner:
            return False
        seen = self.activity
        patience = self.patience_ms
        if self.next_due_ms() is None:
            patience = GIVE_UP_MS
        slice_s = patience / 1_000 / SLICES
        return any(self._changed.wait_for(lambda: self.activity != seen or ready(), slice_s) for _ in range(SLICES))

    def _boot(self) -> None:
        loop = StillLoop()
        journal = Journal(self._storage.open())
        engine = restore(self._storage.load(), self._settings, nonce=lambda: next(self._nonces), now=self.now)
        assert check(engine) == []
        self._runtime = Runtime(
            engine, cast("asyncio.AbstractEventLoop", loop), lambda: self.now, self._failed, journal
        )
        self._context = Context(engine, self._runtime.hub)
        self._loop = loop
        self.engine = engine
        self._runtime.start(cast("Writer", Commits(self._storage, loop, self._runtime.committed)))

    def _failed(self, error: BaseException, _: int) -> None:
        """A command broke an invariant: nobody may go on as if nothing were."""
        del error  # it is on its way to whoever sent the command
        self.closed = True
        self.soon(self.cut_all)

    def _step(self, most_ms: int) -> int | None:
        """Move to what falls due next and let it happen; None if that is further away."""
        wait = self.engine.wait(self.now)
        if wait is None or wait > most_ms:
            return None
        self._pass(wait)
        self._runtime.tick()
        self._loop.go_round()
        return wait

    def _pass(self, ms: int) -> None:
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)
