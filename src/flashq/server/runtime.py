"""The turn: what a command or the clock caused goes to the journal, and what depends on it waits for the disk.

One rule keeps every promise: **nothing leaves before what it depends on is durable.** A reply, a delivery or an event
depends on the newest group of records at the moment it was made. With nothing pending it leaves at once; otherwise it
waits with its connection until the writer has reported that group. Without storage nothing ever waits.

Where another server can take over what is remembered, an answer that nothing waits for could be wrong: a process that
was frozen does not know what happened meanwhile. So once its lease may have run out, every answer depends on a commit,
of nothing if nothing happened: only the owner's succeed.

If a commit fails, what is in memory is ahead of what is remembered, and none of it can be told. So the process ends
and recovers from disk; there is no code that rolls anything back.

If a commit neither succeeds nor fails, because a database restarts or a disk hangs, the storage is *away*. Then

- what waits for it is refused with words that say that the outcome is not known. The change stays in memory and on its
  way to storage: it is made when the storage is back, or lost with the process, as after a crash;
- what needs storage is refused before it is carried out, so that memory does not run ahead without bound;
- time stands still for leases: who cannot be heard is not taken for dead. Nothing else falls due either, and is caught
  up with afterwards, as after a restart;
- calls that wait go on waiting, and those whose time is over are refused: a worker's pull outlives a short outage and
  gets its jobs at once, and a thousand workers do not come back together to be refused again and again;
- events and calls of webhooks wait on behind the gate.

Time stands still for leases too when the process itself stood still: what it was told meanwhile it has not read yet.
"""

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable
from itertools import groupby
from typing import Final, cast

from flashq.engine.engine import Engine
from flashq.engine.trail import Ring
from flashq.errors import StorageError
from flashq.model import Event, Instant, JobView
from flashq.observe.events import Hub
from flashq.storage.journal import Journal
from flashq.storage.writer import Writer
from flashq.transports.base import Door, Gated, Patient, Sender, Waiting

log = logging.getLogger("flashq")

EXIT_STORAGE: Final = 74
EXIT_BROKEN: Final = 70
"""Exit codes, named after sysexits.h: an error of input or output, an error in the software itself."""

MAX_SLEEP_MS: Final = 1_000
"""The longest sleep of the ticker. Schedules follow the wall clock, and nobody tells us when that is set."""

MAX_UNSYNCED_BYTES: Final = 64 * 1024 * 1024
"""Payload bytes on their way to the disk at which the doors stop reading; at half of it they go on."""

STALL_MS: Final = 1_000
"""A ticker that wakes so much later than it should was kept from it: the process stood still, or one turn took so long.
Less is little beside a lease, unless WORKER_SILENCE is set that short, and not worth a look at all of them."""

LOOK_MS: Final = 500
AWAY_LOOKS: Final = 8
"""The storage is away when the same commit has been under way at so many looks, one each half second: clients are
answered within five seconds. Looks are counted, and not time: a machine that stood still sees the commit that ended
meanwhile at the next one."""

UNKNOWN: Final = "The storage does not answer: whether this was carried out is not known; ask again with the same key"

CLOCK_JUMP_MS: Final = 1_000
"""A difference between the two clocks' progress that is worth a line in the log."""


def _to_nobody(_: int) -> None:
    """Nobody calls webhooks, or refuses commands."""


class Runtime:
    """One engine, its journal and its clock, on one event loop.

    Attributes:
        engine: the queue.
        hub: who listens.
        ring: where a server without storage keeps the history of jobs; None: nowhere.
        held_back: doors must not read; see `MAX_UNSYNCED_BYTES`.
        owed: told after events of the group on which calls of webhooks that they led to depend.
        away: the storage does not answer.
        refuse_commands: told whether commands that need storage are to be refused, when that changes.
    """

    def __init__(
        self,
        engine: Engine,
        loop: AbstractEventLoop,
        clock: Callable[[], Instant],
        fail: Callable[[BaseException, int], None],
        journal: Journal | None = None,
    ) -> None:
        """Wire it up; `start` sets it going.

        Args:
            engine: empty or restored.
            loop: the one loop.
            clock: tells this moment.
            fail: called once with what ended it and the exit code, after every held answer was refused.
            journal: where records gather; None without storage.
        """
        self.engine = engine
        self.hub = Hub(self._watch, engine.epoch)
        self.clock = self._clock = clock
        self.ring: Ring | None = None
        self.held_back = False
        self.owed: Callable[[int], None] = _to_nobody
        self.away = False
        self.refuse_commands: Callable[[bool], None] = _to_nobody
        self._alarm = engine.clocks.alarm
        self._loop = loop
        self._journal = journal
        self._writer: Writer | None = None
        self._fail = fail
        self._gated: dict[Gated, None] = {}
        self._doors: dict[Door, None] = {}
        self._patient: deque[Patient] = deque()
        self._events: list[tuple[int, list[Event]]] = []
        self._commit_soon = False
        self._failed: StorageError | None = None
        self._submitted_at: int | None = None  # steady ms; None: nothing is being written
        self._looks = 0  # at what is being written
        self._look_timer: TimerHandle | None = None
        self._away_since = 0  # steady ms
        self._unread: list[JobView] = []  # to be given back when the storage answers
        self._ticking = False
        self._timer: TimerHandle | None = None
        self._wakes_at = 0
        self._clock_gap = 0
        self.clock_jumps = 0

    def start(self, writer: Writer | None) -> None:
        """Begin to commit and to tick."""
        self._writer = writer
        moment = self.clock()
        self._clock_gap = moment.wall - moment.steady
        self._ticking = True
        self.tick()

    def hold_under(self, held_until_ms: Callable[[], float]) -> None:
        """What is remembered is ours for a time: after it, answers wait until it is known that it still is.

        The question goes with the clock, which is asked before every command and before whatever falls due. Servers
        that nobody can replace keep the plain one.

        Args:
            held_until_ms: until when nobody else can have taken over, on the steady clock.
        """

        def clock() -> Instant:
            now = self._clock()
            if now.steady >= held_until_ms() and self._journal is not None:
                self._journal.begin_group()
                self._commit_in_a_moment()
            return now

        self.clock = clock

    def stop(self) -> None:
        """Tick no more. What is on its way to the disk still arrives."""
        self._ticking = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the gate ---

    @property
    def durable(self) -> int:
        """The newest group that is safe."""
        return self._journal.durable if self._journal is not None else 0

    def gather(self) -> int:
        """Append the turn's records to the journal. Returns the group on which an answer made now depends.

        While the storage is away that is none: what was not refused then promises nothing.
        """
        journal = self._journal
        if journal is None:
            if self.ring is not None:
                self.ring.append(self.engine.outbox.take_records())
            return 0
        records = self.engine.outbox.take_records()
        if records:
            journal.append(records)
            self._commit_in_a_moment()
            if journal.unsynced_bytes > MAX_UNSYNCED_BYTES and not (self.held_back or self.away):
                self.held_back = True
                for door in self._doors:
                    door.hold_back()
        return journal.durable if self.away else journal.tail

    @property
    def tail(self) -> int:
        """The newest group."""
        return self._journal.tail if self._journal is not None else 0

    def wait(self, gated: Gated) -> None:
        """``gated`` holds something back: tell it when more is durable, or at once that nothing will be."""
        if self._failed is None:
            self._gated[gated] = None
        else:
            self._loop.call_soon(gated.refuse, self._failed)

    def give_back(self, jobs: list[JobView], now: Instant) -> None:
        """Jobs of an answer that nobody can read go back, uncounted; while the storage is away, when it is back."""
        if self.away or self._failed is not None:
            self._unread += jobs
            return
        for token, delivery in groupby(jobs, lambda job: str(job.token)):
            self.engine.settle.hand_back([job.id for job in delivery], token, now)

    def after_others(self, patient: Patient) -> None:
        """``patient`` has stopped reading by itself: it goes on in its turn, one of them in each of the loop."""
        self._patient.append(patient)
        if len(self._patient) == 1:
            self._loop.call_soon(self._next_patient)

    def _next_patient(self) -> None:
        patient = self._patient.popleft()
        if self._patient:
            self._loop.call_soon(self._next_patient)
        patient.go_on()

    def attach(self, door: Door) -> None:
        """A connection is there."""
        self._doors[door] = None

    def detach(self, door: Door) -> None:
        """A connection is gone."""
        self._doors.pop(door, None)
        self._gated.pop(door, None)
        self.hub.leave(door)

    @property
    def unsynced_bytes(self) -> int:
        """Payload bytes on their way to the disk, about."""
        return self._journal.unsynced_bytes if self._journal is not None else 0

    # --- the turn ---

    def hand_over(self, now: Instant) -> None:
        """The second half of a turn, after the answer of the command that caused it: deliveries and events."""
        outbox = self.engine.outbox
        while outbox.deliveries:
            answered: dict[Sender, None] = {}  # a connection that waits for many things sends once
            for waiting, delivered in outbox.take_deliveries():
                answered[cast("Waiting", waiting).answer(delivered, now)] = None
            for sender in answered:
                sender.send()
        if outbox.events:
            self.gather()
            depends_on = self.tail
            events = outbox.take_events()
            if depends_on <= self.durable and not self._events:  # those that wait were first
                self.hub.publish(events)
            else:
                self._events.append((depends_on, events))
            self.owed(depends_on)
        if self._alarm.rung:
            self._arm(now)

    def tick(self) -> None:
        """Do what is due and sleep until the next thing is; while the storage is away, only end what waits too long."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self.clock()
        if self.away:
            self.engine.parking.end_overdue(now, self.engine.settings.slice)
        else:
            self._watch_clocks(now)
            self.engine.tick(now)
        self.gather()
        self._alarm.rung = True
        self.hand_over(now)

    def _watch_clocks(self, now: Instant) -> None:
        gap = now.wall - now.steady
        if abs(gap - self._clock_gap) > CLOCK_JUMP_MS:
            self.clock_jumps += 1
            log.warning("the wall clock jumped by %d ms", gap - self._clock_gap)
        self._clock_gap = gap

    def _arm(self, now: Instant) -> None:
        self._alarm.rung = False
        wait = self.engine.parking.wait(now) if self.away else self.engine.wait(now)
        if wait is None:
            return
        wakes_at = now.steady + min(wait, MAX_SLEEP_MS)
        if self._timer is not None:
            if self._wakes_at <= wakes_at:
                return
            self._timer.cancel()
        self._wakes_at = wakes_at
        self._timer = self._loop.call_later((wakes_at - now.steady) / 1_000, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._clock()
        late_ms = now.steady - self._wakes_at
        if late_ms >= STALL_MS and not self.away:
            self.engine.stood_still(late_ms, now)
        self.tick()

    # --- commits ---

    def _commit_in_a_moment(self) -> None:
        if not self._commit_soon:
            self._commit_soon = True
            self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        self._commit_soon = False
        if self._journal is None or self._writer is None or self._failed is not None:
            return
        group = self._journal.next_group()
        if group is not None:
            self._submitted_at = self._clock().steady
            self._looks = 0
            self._writer.submit(*group)
            if self._look_timer is None:
                self._look_timer = self._loop.call_later(LOOK_MS / 1_000, self._look)

    def committed(self, number: int) -> None:
        """A group is safe: let go what waited for it, and write the next one."""
        journal = self._journal
        if journal is None or self._failed is not None:
            return
        journal.committed(number)
        submitted_at, self._submitted_at = self._submitted_at, None
        self._commit()
        if self.away and submitted_at is not None:
            self._come_back(self._clock(), submitted_at)
        released, self._gated = self._gated, {}
        for gated in released:
            gated.release(number)
        events = self._events
        while events and events[0][0] <= number:
            self.hub.publish(events.pop(0)[1])
        if self.held_back and journal.unsynced_bytes < MAX_UNSYNCED_BYTES // 2:
            self._let_read()

    def _let_read(self) -> None:
        self.held_back = False
        for door in list(self._doors):
            door.go_on()

    # --- a storage that does not answer ---

    def _look(self) -> None:
        """Is the storage still there?"""
        self._look_timer = None
        if self._submitted_at is None or self._failed is not None:
            return
        self._looks += 1
        self._look_timer = self._loop.call_later(LOOK_MS / 1_000, self._look)
        if self._looks == AWAY_LOOKS:
            self._go_away()
            log.warning(
                "the storage has not answered for %d ms: commands are refused until it does",
                self._clock().steady - self._submitted_at,
            )

    def _go_away(self) -> None:
        self.away = True
        self._away_since = self._clock().steady
        self.refuse_commands(True)
        self._refuse_held(StorageError(UNKNOWN))
        if self.held_back:  # what comes is refused, and for that it must be read
            self._let_read()

    def _refuse_held(self, error: StorageError) -> None:
        for gated in list(self._gated):
            gated.refuse(error)

    def _come_back(self, now: Instant, submitted_at: int) -> None:
        """The storage answers: nobody is to lose by the time in which he was not heard."""
        self.away = False
        self.refuse_commands(False)
        log.warning("the storage answers again, after %d ms", now.steady - submitted_at)
        self.engine.stood_still(now.steady - self._away_since, now)
        unread, self._unread = self._unread, []
        self.give_back(unread, now)
        self.gather()
        self.hand_over(now)
        if self._ticking:
            self.tick()

    def commit_failed(self, error: BaseException, exit_code: int = EXIT_STORAGE) -> None:
        """Nothing more will be confirmed."""
        if self._failed is not None:
            return
        self.stop()
        told = error if isinstance(error, StorageError) else StorageError(f"The storage failed: {error}")
        self._failed = told
        self._refuse_held(told)
        self._fail(error, exit_code)

    def broken(self, error: BaseException) -> None:
        """A command failed in a way that no command may: memory is no longer to be trusted, the disk is."""
        log.critical("a command broke an invariant; ending, to recover from disk", exc_info=error)
        self.commit_failed(error, EXIT_BROKEN)

    def settled(self) -> bool:
        """Whether everything that happened is durable."""
        journal = self._journal
        self.gather()
        return journal is None or self._failed is not None or journal.durable >= journal.tail

    def _watch(self, watched: bool) -> None:
        self.engine.outbox.watch("listeners", watched)
