"""One connection on the bench: a real engine and real commands, and a transport, clock and disk of which the test is
the master.
"""

import json
from itertools import count
from typing import Any

from tests.fakes.transport import FakeTransport

from flashq.commands.session import Context
from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.model import Event, Instant, JobView
from flashq.observe.events import Hub
from flashq.security.access import Access
from flashq.transports.base import Door, Gated, Patient
from flashq.transports.tcp import LineConnection

Answer = dict[str, Any]


class FakeTurns:
    """A runtime without a loop: what is durable is what the test says.

    Attributes:
        now: this moment.
        lazy: groups become durable only by `sync`.
        broke: what was reported as broken.
        away: the storage does not answer, and jobs that nobody read are only remembered, in ``unread``.
    """

    def __init__(self, engine: Engine, *, lazy: bool = False) -> None:
        self.engine = engine
        self.hub = Hub(self._watch)
        self.now = Instant(1_700_000_000_000, 1_000)
        self.held_back = False
        self.lazy = lazy
        self.durable = 0
        self.tail = 0
        self.waiting: dict[Gated, None] = {}
        self.doors: dict[Door, None] = {}
        self.patient: list[Patient] = []
        self.broke: list[BaseException] = []
        self.events: list[Event] = []
        self.handed_over = 0
        self.away = False
        self.unread: list[JobView] = []

    def clock(self) -> Instant:
        """This moment."""
        return self.now

    def gather(self) -> int:
        """One group for each turn that changed something."""
        if self.engine.outbox.take_records():
            self.tail += 1
            if not self.lazy:
                self.durable = self.tail
        return self.durable if self.away else self.tail

    def hand_over(self, now: Instant) -> None:
        """Deliver, and tell events at once."""
        self.handed_over += 1
        outbox = self.engine.outbox
        while outbox.deliveries:
            for waiting, jobs in outbox.take_deliveries():
                waiting.answer(jobs, now).send()  # type: ignore[attr-defined]
        events = outbox.take_events()
        self.events += events
        self.hub.publish(events)

    def wait(self, gated: Gated) -> None:
        """Remember who holds something."""
        self.waiting[gated] = None

    def give_back(self, jobs: list[JobView], now: Instant) -> None:
        """They go back at once, or are remembered while the storage is away."""
        if self.away:
            self.unread += jobs
            return
        for job in jobs:
            self.engine.settle.hand_back([job.id], str(job.token), now)

    def after_others(self, gated: Patient) -> None:
        """Remember who lets others go first."""
        self.patient.append(gated)

    def next_turn(self) -> None:
        """The one whose turn it is goes on."""
        self.patient.pop(0).go_on()

    def attach(self, door: Door) -> None:
        """A connection is there."""
        self.doors[door] = None

    def detach(self, door: Door) -> None:
        """A connection is gone."""
        self.doors.pop(door, None)
        self.waiting.pop(door, None)
        self.hub.leave(door)

    def broken(self, error: BaseException) -> None:
        """Remember it."""
        self.broke.append(error)

    def sync(self, durable: int | None = None) -> None:
        """Groups up to this one (all of them) are durable."""
        self.durable = self.tail if durable is None else durable
        waiting, self.waiting = self.waiting, {}
        for gated in waiting:
            gated.release(self.durable)

    def pass_time(self, ms: int) -> None:
        """Time goes by, and what is due is done."""
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)
        self.engine.tick(self.now)
        self.gather()
        self.hand_over(self.now)

    def _watch(self, watched: bool) -> None:
        self.engine.outbox.watched = watched


class Bench:
    """An engine, its runtime, and as many connections as the test makes."""

    def __init__(
        self,
        *,
        lazy: bool = False,
        tokens: tuple[str, ...] = (),
        room: int = 1_000,
        max_bytes: int = 1 << 30,
    ) -> None:
        numbers = count(1)
        settings = Settings(max_bytes=max_bytes)
        start = Instant(1_700_000_000_000, 1_000)
        self.engine = Engine(settings, nonce=lambda: f"{next(numbers):x}", now=start, recording=True)
        self.turns = FakeTurns(self.engine, lazy=lazy)
        self.context = Context(self.engine, self.turns.hub, Access(tokens))
        self.room = room
        self.connected: list[LineConnection] = []
        self.left: list[LineConnection] = []

    def connect(self) -> "Line":
        """A new connection."""
        return Line(self)

    def make(self) -> LineConnection:
        """The protocol object, not connected yet."""
        return LineConnection(self.context, self.turns, admit=self._admit, left=self.left.append)

    def _admit(self, connection: LineConnection) -> bool:
        self.connected.append(connection)
        return len(self.connected) <= self.room


class Line:
    """One connection and the client's end of it."""

    def __init__(self, bench: Bench) -> None:
        self.transport = FakeTransport()
        self.connection = bench.make()
        self.transport.connection = self.connection
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self._read = 0

    def send(self, cmd: str, **members: object) -> list[Answer]:
        """Send one command; returns the answers that came."""
        self.feed(json.dumps({"cmd": cmd, **members}).encode() + b"\n")
        return self.answers()

    def feed(self, data: bytes) -> None:
        """Send bytes in one piece."""
        self.connection.data_received(data)

    def answers(self) -> list[Answer]:
        """What was written since the last call."""
        new = bytes(self.transport.written[self._read :])
        assert not new or new.endswith(b"\n")
        self._read = len(self.transport.written)
        return [json.loads(line) for line in new.split(b"\n")[:-1]]

    def lose(self) -> None:
        """The connection is gone."""
        self.transport.closed = True
        self.connection.connection_lost(None)
