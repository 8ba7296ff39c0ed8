"""The simulated world: one real server, its clients, its disk and its two clocks, all run from one seed.

The server is the real one from the command layer down to the encoded group: commands, engine, runtime, journal, fold
and restore. Simulated are the event loop, the clocks, the disk and the network: `World` is the loop, so nothing happens
that it did not decide, and the same seed gives the same run.

Everything that the server does is done by the naive model as well, and compared at once. What a client is told is
compared a second time, by its consequences: after a crash the model keeps exactly what the disk kept, and the world
fails if anybody had been told more than that.
"""

import heapq
import logging
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from msgspec import UNSET, structs
from tests.simulation.disk import Disk
from tests.simulation.model import Model, Numbers, Refused

from flashq.commands.execute import AWAY, execute, over
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.commands.table import WITHOUT_STORAGE
from flashq.engine.check import check
from flashq.engine.engine import Engine
from flashq.engine.jobs import CHUNK_BITS
from flashq.engine.lifecycle import MOVES
from flashq.engine.queue import Queues
from flashq.engine.records import Changed, Completed, Dropped, Record
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.errors import FlashQError, StorageError
from flashq.model import ACTIVE, DELAYED, STATE_NAMES, WAITING, Event, Instant, JobView
from flashq.protocol import replies, requests
from flashq.server.runtime import STALL_MS, Runtime
from flashq.storage.journal import Journal

_HINTED: Final = frozenset({requests.AckBatch, requests.Bye, requests.Hello})
_PULLS: Final = frozenset({requests.Pull, requests.PullBatch, requests.PullAny})
_LIVE_BYTE: Final = re.compile(rb"[^\0]")
_EVENT_MEMBERS: Final = ("data", "error", "progress")


class Violation(AssertionError):
    """The server did what it must not."""


class Handle:
    """A timer that can be called off; what ``call_later`` returns."""

    __slots__ = ("call", "off")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.off = False

    def cancel(self) -> None:
        """It shall not ring."""
        self.off = True


class SpyJournal(Journal):
    """The real journal, which also remembers what the newest turn appended."""

    def __init__(self, newest: int) -> None:
        super().__init__(newest)
        self.turn: list[Record] = []

    def append(self, records: Sequence[Record]) -> None:
        """See `Journal.append`."""
        self.turn.extend(records)
        super().append(records)


class SpyRuntime(Runtime):
    """The real runtime, which also notes where in the turn the newest tick began."""

    def __init__(self, journal: SpyJournal, *arguments: Any) -> None:
        super().__init__(*arguments, journal)
        self.spied = journal
        self.ticked_at = 0

    def tick(self) -> None:
        """See `Runtime.tick`."""
        self.ticked_at = len(self.spied.turn)
        super().tick()


class Wait:
    """A call that waits: what the engine knows as its token."""

    __slots__ = ("call", "client", "parked")

    def __init__(self, client: "Client", call: int, parked: Parked) -> None:
        self.client = client
        self.call = call
        self.parked = parked

    def answer(self, delivered: Any, now: Instant) -> "Client":
        """What it waited for; nothing when its time is over."""
        reply: replies.Reply | FlashQError
        try:
            reply = self.parked.reply(delivered) if delivered else over(self.client.world.context, self.parked)
        except FlashQError as error:
            reply = error.with_traceback(None)
        self.client.world.answers.append((self, reply))
        self.client.waits.pop(self.call, None)
        self.client.out.append(_jobs_of(reply))
        return self.client


_Delivered = tuple[Wait, replies.Reply | FlashQError]


class Client:
    """A connection: it holds answers until they are durable, as the doors do."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.session = Session(None, self)
        self.out: list[list[JobView]] = []
        self.held: deque[tuple[int, list[JobView]]] = deque()
        self.waits: dict[int, Wait] = {}
        self.told = 0
        world.runtime.attach(self)

    def hold(self, jobs: list[JobView], depends_on: int) -> None:
        """An answer, with the jobs in it: let go when the group it depends on is durable."""
        runtime = self.world.runtime
        if depends_on <= runtime.durable and not self.held:
            self.world.released(depends_on, jobs)
        else:
            self.held.append((depends_on, jobs))
            runtime.wait(self)

    def send(self) -> None:
        """Calls that waited were answered, with these jobs."""
        depends_on = self.world.runtime.gather()
        out, self.out = self.out, []
        for jobs in out:
            self.hold(jobs, depends_on)

    def release(self, durable: int) -> None:
        """Let go what depends on groups up to ``durable``."""
        held = self.held
        while held and held[0][0] <= durable:
            self.world.released(*held.popleft())
        if held:
            self.world.runtime.wait(self)

    def refuse(self, error: StorageError) -> None:
        """Nobody knows whether what is held will be true."""
        world = self.world
        for _, jobs in self.held:
            if jobs:
                world.runtime.give_back(jobs, world.now)
                world.unread.append([(job.id, str(job.token)) for job in jobs])
        world.stats["answers refused while the storage was away"] += len(self.held)
        self.held.clear()

    def hold_back(self) -> None:
        """The simulated clients obey nobody."""

    def go_on(self) -> None:
        """See `hold_back`."""

    def tell(self, event: bytes) -> None:
        """An event that this connection subscribed to."""
        self.told += 1


class World:
    """One server and everything around it.

    Attributes:
        known: what clients were told about their attempts: (job, token).
        unread: deliveries of (job, token) in answers that were refused because the storage was away.
        stats: how often each command met each outcome, and each fault happened.
    """

    def __init__(self, settings: Settings, *, first_id: int = 1, careful: int = 0) -> None:
        """Start a server on an empty disk.

        Args:
            settings: of the engine.
            first_id: the id of the first job, as if there had been others.
            careful: compare everything after every so many commands; 0 = only after crashes.
        """
        self.settings = settings
        self.now = Instant(1_700_000_000_000, 0)
        self.careful = careful
        self.stats: Counter[str] = Counter()
        self.known: list[tuple[int, str]] = []
        self.unread: list[list[tuple[int, str]]] = []
        self.answers: list[_Delivered] = []
        self.disk = Disk(first_id, self._write_begins)
        self.latency_ms: Callable[[], int] = lambda: 0
        self.clients: dict[int, Client] = {}
        self.commands = 0
        self.died: BaseException | None = None
        self._calls = 0
        self._nonces = 0
        self._deaths = 0
        self._released = 0
        self._inputs: list[tuple[Any, ...]] = []
        self._heap: list[tuple[int, int, Handle]] = []
        self._soon: list[Callable[[], None]] = []
        self._timers = 0
        self._told: list[tuple[int, tuple[Any, ...]]] = []
        self._early: list[list[tuple[Any, ...]]] = []
        self._stood_still_ms = 0
        self.runtime: SpyRuntime
        self.context: Context
        self.journal: SpyJournal
        self.model = Model(Numbers(**{name: getattr(settings, name) for name in Numbers.__struct_fields__}), first_id)
        self._boot()
        self._go()

    # --- the event loop, as the runtime sees it ---

    def call_soon(self, call: Callable[[], None]) -> None:
        """When the loop goes round; see `turn`."""
        self._soon.append(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Handle:
        """On the steady clock."""
        return self._at(self.now.steady + round(seconds * 1_000), call)

    def clock(self) -> Instant:
        """This moment."""
        return self.now

    def _at(self, steady: int, call: Callable[[], None]) -> Handle:
        self._timers += 1
        handle = Handle(call)
        heapq.heappush(self._heap, (steady, self._timers, handle))
        return handle

    def turn(self) -> None:
        """Let the loop go round: what was put off till soon happens."""
        while self._soon:
            calls, self._soon = self._soon, []
            for call in calls:
                call()

    # --- time ---

    def pass_time(self, ms: int) -> None:
        """Let time pass; everything happens at its moment."""
        self.turn()
        end = self.now.steady + ms
        while self._heap and self._heap[0][0] <= end:
            due = self._heap[0][0]
            if due > self.now.steady:
                self.stall(due - self.now.steady)
            self.catch_up()
            if self.died is not None:
                return
        self.stall(end - self.now.steady)

    def stall(self, ms: int) -> None:
        """Time passes and nobody notices: the loop is busy."""
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)

    def set_clock(self, ms: int) -> None:
        """Somebody sets the system time."""
        self.now = Instant(self.now.wall + ms, self.now.steady)

    def catch_up(self) -> None:
        """Do what is due, late or not."""
        while self._heap and self._heap[0][0] <= self.now.steady and self.died is None:
            due, _, handle = heapq.heappop(self._heap)
            if handle.off:
                continue
            if handle.call == self.runtime._wake:
                self._tick(handle.call, self.now.steady - due)
            else:
                handle.call()
            self.turn()

    def _tick(self, call: Callable[[], None], late_ms: int = 0) -> None:
        self.journal.turn.clear()
        self._stood_still_ms = 0
        call()
        if self.runtime.away:
            self._tick_while_away()
            return
        lost_ms = late_ms if late_ms >= STALL_MS else 0
        if self._stood_still_ms != lost_ms:
            raise Violation(f"leases last {self._stood_still_ms} ms longer, nobody was heard for {lost_ms} ms")
        hint = _ids(self.journal.turn)
        served = self._served()
        self.model.stand_still(lost_ms, self.now)
        self.model.tick(self.now, hint, served)
        names = self._compare_deliveries()
        depends_on = self.journal.tail
        self._expect_events(depends_on)
        self._inputs.append((depends_on, "tick", lost_ms, self.now, hint, served, names))
        due, expected = self.runtime.engine.wait(self.now), self.model.next_due(self.now)
        if expected is not None and (due is None or due > expected):
            raise Violation(f"the server wants to sleep for {due} ms, something is due in {expected} ms")

    def _tick_while_away(self) -> None:
        if self.journal.turn:
            raise Violation(f"changes were made while the storage was away: {self.journal.turn}")
        self.model.give_up(self.now, Refused("storage_error", AWAY))
        self._compare_deliveries()
        self._inputs.append((self.journal.tail, "give_up", self.now))

    def _served(self) -> list[str]:
        return [job.queue for _, reply in self.answers for job in _jobs_of(reply)]

    # --- the disk ---

    def _write_begins(self) -> None:
        self._at(self.now.steady + self.latency_ms(), self._written)

    def _written(self) -> None:
        number = self.disk.sync()
        away = self.runtime.away
        self.journal.turn.clear()
        self.runtime.committed(number)
        if away:
            self._came_back()
        self._no_event_missing()

    def _refuse_commands(self, refuse: bool) -> None:
        self.context.set_away(refuse)
        if refuse:
            self.stats["fault: storage away"] += 1

    def _came_back(self) -> None:
        ms, unread, served = self._stood_still_ms, self.unread, self._served()
        self.unread = []
        hint = _ids(self.journal.turn[self.runtime.ticked_at :])
        self.model.come_back(ms, unread, self.now, hint, served)
        names = self._compare_deliveries()
        depends_on = self.journal.tail
        self._expect_events(depends_on)
        self._inputs.append((depends_on, "back", ms, unread, self.now, hint, served, names))

    def fail_disk(self, *, written: bool) -> None:
        """The write in flight fails, though its bytes may be there; the process ends and comes back."""
        self.stats["fault: write error"] += 1
        self.runtime.commit_failed(OSError(5, "Input/output error"))
        self.crash(written=written, fault="after a write error")

    # --- clients ---

    def connect(self) -> Client:
        """A new connection."""
        self._calls += 1
        client = self.clients[self._calls] = Client(self, self._calls)
        return client

    def close(self, client: Client) -> None:
        """A connection ends, as `flashq.transports.tcp` ends one."""
        self.stats["fault: connection closed"] += 1
        self.journal.turn.clear()
        engine, now = self.runtime.engine, self.now
        for wait in client.waits.values():
            engine.parking.unpark(wait)
            self.model.unpark(wait.call)
        calls = list(client.waits)
        unread = [[(job.id, str(job.token)) for job in jobs] for _, jobs in client.held if jobs]
        for delivery in unread:
            for token, part in groupby(delivery, itemgetter(1)):
                engine.settle.hand_back([id for id, _ in part], token, now)
            self.stats["fault: answer never read"] += 1
        del self.clients[client.number]
        client.held.clear()
        self.runtime.detach(client)
        self.runtime.gather()
        self.runtime.hand_over(now)
        self.model.close(client.number, unread, now)
        names = self._compare_deliveries()
        self._expect_events(self.journal.tail)
        self._inputs.append((self.journal.tail, "close", client.number, calls, unread, now, names))

    def released(self, depends_on: int, jobs: list[JobView]) -> None:
        """An answer has reached its client."""
        self._released = max(self._released, depends_on)
        for job in jobs:
            self.known.append((job.id, str(job.token)))

    def call(self, client: Client, request: requests.AnyRequest) -> replies.Reply | FlashQError | None:
        """A client sends a request. Returns what the server made of it; None when it waits."""
        self.commands += 1
        self._calls += 1
        call, now, runtime = self._calls, self.now, self.runtime
        turn = self.journal.turn
        turn.clear()
        reply: Any
        try:
            reply = execute(self.context, client.session, request, now)
            if type(reply) is Parked:
                wait = client.waits[call] = Wait(client, call, reply)
                reply.park(wait, now)
                reply = None
        except FlashQError as error:
            reply = error.with_traceback(None)  # which would keep this frame, and the frame keeps it
        if runtime.away and type(request) not in WITHOUT_STORAGE:
            return self._refused(request, reply)
        depends_on = runtime.gather()
        jobs = _jobs_of(reply)
        if reply is not None:
            client.hold(jobs, depends_on)
        runtime.hand_over(now)
        hint = _ids(turn) if type(request) in _HINTED else ()
        outcome = self._compare(request, client.number, call, now, hint, reply)
        self.stats[outcome] += 1
        names = self._compare_deliveries(jobs)
        if self.model.events or self._told:
            self._expect_events(depends_on)
        self._inputs.append((depends_on, "run", request, client.number, call, now, hint, names))
        if self.careful and not self.commands % self.careful:
            self.compare_everything()
        return reply  # type: ignore[no-any-return]

    def _refused(self, request: requests.AnyRequest, reply: Any) -> FlashQError:
        """The storage is away, and nothing has changed."""
        if not isinstance(reply, StorageError) or self.runtime.engine.outbox.take_records():
            raise Violation(f"{request} must be refused while the storage is away, was answered {reply}")
        self.stats[f"{type(request).__name__}: {reply.code}"] += 1
        return reply

    # --- comparing ---

    def _compare(
        self, request: requests.AnyRequest, session: int, call: int, now: Instant, hint: Sequence[Any], reply: Any
    ) -> str:
        name = type(request).__name__
        try:
            expected = self.model.run(request, session, call, now, hint)
        except Refused as refused:
            if not isinstance(reply, FlashQError):
                raise Violation(f"{request} must be refused as {refused.code}, was answered {reply}") from None
            if (refused.code, refused.text, refused.id) != (reply.code, str(reply), getattr(reply, "id", 0)):
                raise Violation(f"{request} must be refused as {refused}, was as {reply!r} ({reply.code})") from None
            return f"{name}: {refused.code}"
        if isinstance(reply, FlashQError):
            raise Violation(f"{request} was refused as {reply!r} ({reply.code}), expected {expected}")
        if expected is not None and reply is not None:
            _blank(expected, reply)
        if reply != expected:
            raise Violation(f"{request}\n was answered {reply}\n expected     {expected}")
        if reply is None:
            return f"{name}: parked"
        return f"{name}: nothing" if type(request) in _PULLS and not _jobs_of(reply) else f"{name}: ok"

    def _compare_deliveries(self, jobs: Sequence[JobView] = ()) -> list[tuple[int, str]]:
        """What parked clients got, and the names of the new attempts."""
        got, expected = self.answers, self.model.deliveries
        if got or expected:
            self._same_deliveries(got, expected)
            jobs = [*jobs, *(job for _, reply in got for job in _jobs_of(reply))]
            self.answers.clear()
            self.model.deliveries.clear()
        if not jobs and not self.model.unnamed:
            return []
        names = [(job.id, str(job.token)) for job in jobs]
        try:
            self.model.learn(names)
        except AssertionError as error:
            raise Violation(str(error)) from None
        return names

    def _same_deliveries(self, got: list[_Delivered], expected: list[tuple[Any, Any]]) -> None:
        plain = [(wait.call, _nameless(reply)) for wait, reply in got]
        expected = [(call, _nameless(reply)) for call, reply in expected]
        # Which of several clients is answered first within one moment is nobody's business, unless they share jobs.
        if plain != expected and sorted(plain, key=_first) != sorted(expected, key=_first):
            raise Violation(f"delivered\n {plain}\nexpected\n {expected}")
        for _, reply in got:
            if isinstance(reply, FlashQError):
                away = isinstance(reply, StorageError)
                self.stats["a wait ended while the storage was away" if away else "a BEAT that waited was refused"] += 1
            elif isinstance(reply, replies.EndedAttempts):
                self.stats["told of ended attempts" if reply.ended else "a BEAT that waited was told nothing"] += 1
            elif isinstance(reply, replies.Ended):
                self.stats[f"told of a job that is {reply.state}"] += 1
            else:
                self.stats["delivered to a parked pull" if _jobs_of(reply) else "a parked pull gave up"] += 1

    def compare_everything(self) -> None:
        """The engine's own invariants, and all that can be asked of it against the model."""
        engine = self.runtime.engine
        wrong = check(engine)
        if wrong:
            raise Violation(f"the engine is broken: {wrong}")
        _same(fingerprint(engine), self.model.facts(), "the engine and the model differ")

    # --- events ---

    def _expect_events(self, depends_on: int) -> None:
        """The events of this turn must be told, once they are durable."""
        events, self.model.events = self.model.events, []
        early, self._early = self._early, []
        self._told += [(depends_on, event) for event in events]
        for told in early:
            self._match_events(told)
        if depends_on <= self.runtime.durable:
            self._no_event_missing()

    def _publish(self, events: list[Event]) -> None:
        self._hub_publish(events)
        told = [_event(event) for event in events]
        if len(self._told) < len(told):  # told within the turn, which the model has not done yet
            self._early.append(told)
        else:
            self._match_events(told)

    def _match_events(self, told: list[tuple[Any, ...]]) -> None:
        expected = [event for _, event in self._told[: len(told)]]
        if sorted(told, key=_job_of_event) != sorted(expected, key=_job_of_event):
            raise Violation(f"told the events\n {told}\nexpected\n {expected}")
        if told:
            self._released = max(self._released, self._told[len(told) - 1][0])
        del self._told[: len(told)]
        for event in told:
            self.stats[f"event: {event[0]}"] += 1

    def _no_event_missing(self) -> None:
        if self._told and self._told[0][0] <= self.runtime.durable and not self._early:
            raise Violation(f"an event was not told: {self._told[0][1]}")

    # --- death and recovery ---

    def crash(self, *, written: bool, fault: str = "crash") -> None:
        """The server dies and comes back; ``written``: what was in flight is on the disk."""
        self.stats[f"fault: {fault}"] += 1
        for state in _states(self.runtime.engine):
            self.stats[f"{fault} with {state} jobs"] += 1
        tail = self.journal.tail
        self.disk.crash(written=written)
        kept = self.disk.newest
        if self._released > kept:
            raise Violation(f"clients were told what depends on group {self._released}, the disk has only {kept}")
        self.stats["recovered everything" if kept == tail else "recovered less than there was"] += 1
        if kept != tail:
            self._replay(kept)
        # Against the dead engine as well, now and then: it costs as much as the rest of a recovery.
        self._deaths += 1
        compared = kept == tail and not self._deaths % 4
        everything = fingerprint(self.runtime.engine, restarted_at=self.now) if compared else {}
        self.dismantle()
        self._boot()
        if compared:
            restored = fingerprint(self.runtime.engine, restarted_at=self.now)
            _same(restored, everything, "the restored engine differs from the one that died")
        self._go()

    def _replay(self, kept: int) -> None:
        """The model forgets what the disk has lost."""
        model = self._base
        for depends_on, what, *arguments in self._inputs:
            if depends_on > kept:
                break
            _REPLAY[what](model, *arguments)
            model.deliveries.clear()
            model.events.clear()
        self.model = model

    def dismantle(self) -> None:
        """Let go of the engine. Its leanest objects are unknown to the garbage collector, so their cycles are cut."""
        engine = self.runtime.engine
        for queue in engine.queues.by_name.values():
            queue.forget_options()
            queue.waiters.line.clear()
        for worker in engine.workers.values():
            worker.leases.clear()
        engine.parking.calls.clear()
        engine.beats.waiting.clear()
        engine.clocks.waits.entries().clear()

    def _boot(self) -> None:
        self._heap.clear()
        self._soon.clear()
        self.clients.clear()
        self.answers.clear()
        self._told.clear()
        self._early.clear()
        self._inputs.clear()
        self.unread = []
        self.died = None
        newest = self.disk.open()
        self._released = newest
        self.journal = SpyJournal(newest)
        engine = restore(self.disk.load(), self.settings, nonce=self._nonce, now=self.now)
        self.model.restart(self.now)
        wrong = check(engine)
        if wrong:
            raise Violation(f"the restored engine is broken: {wrong}")
        _same(fingerprint(engine), self.model.facts(), "the restored engine and the model differ")
        self._base = self.model.clone()
        self.runtime = SpyRuntime(self.journal, engine, self, self.clock, self._failed)
        self.context = Context(engine, self.runtime.hub)
        self.runtime.refuse_commands = self._refuse_commands
        self._stand_still = engine.stood_still
        engine.stood_still = self._stood_still  # type: ignore[method-assign]
        self._hub_publish = self.runtime.hub.publish
        self.runtime.hub.publish = self._publish  # type: ignore[method-assign]

    def _go(self) -> None:
        self._tick(lambda: self.runtime.start(self.disk))  # type: ignore[arg-type]
        self.turn()

    def _stood_still(self, ms: int, now: Instant) -> None:
        self._stood_still_ms = ms
        self._stand_still(ms, now)

    def _failed(self, error: BaseException, exit_code: int) -> None:
        self.died = error

    def _nonce(self) -> str:
        self._nonces += 1
        return f"n{self._nonces}"


def fingerprint(engine: Engine, *, restarted_at: Instant | None = None) -> dict[str, Any]:
    """Everything that matters about an engine, in a form that can be compared; the same shape as `Model.facts`.

    Args:
        engine: it is only read.
        restarted_at: as it would be after a restart at this moment: what is active waits, lines are in their old order,
            and who is delayed follows from the clock alone.
    """
    jobs: dict[int, Any] = {}
    tokens: dict[int, str] = {}
    for number, chunk in engine.jobs.chunks.items():
        for hit in _LIVE_BYTE.finditer(chunk.state):
            slot = hit.start()
            id = (number << CHUNK_BITS) + slot
            state, view = chunk.state[slot], engine.lookup.job(id)
            assert view is not None
            extra = engine.jobs.extras.get(id)
            if restarted_at is not None and state in (WAITING, DELAYED, ACTIVE):
                if state == ACTIVE:
                    view.started_at = extra.started_at if extra else 0
                state = DELAYED if view.run_at > restarted_at.wall else WAITING
            elif chunk.lease[slot] is not None:
                tokens[id] = chunk.lease[slot].token
            jobs[id] = (STATE_NAMES[state], view, extra.returns if extra else 0)
    queues: dict[str, Any] = {}
    lines = _lines(engine, jobs, restarted=restarted_at is not None)
    for name, q in engine.queues.by_name.items():
        if q.listed:
            dead = sorted(q.dead, key=lambda id: (jobs[id][1].run_at, id)) if restarted_at else list(q.dead)
            limits = q.limits
            queues[name] = (
                lines.get(name, []),
                dead,
                (limits.paused, limits.concurrency, limits.rate),
                (q.pushed, q.counts[4], q.failed, q.cancelled, q.expired, q.purged),
            )
    return {
        "next_id": engine.jobs.next_id,
        "completions": engine.finished.completions,
        "jobs": jobs,
        "tokens": tokens,
        "queues": queues,
        "keys": {(name, key): id for name, q in engine.queues.by_name.items() for key, id in q.keys.items()},
        "customs": dict(engine.jobs.customs),
        "finished": engine.finished.ids(),
        "results": dict(engine.finished.results),
        "dropped": set(engine.finished.dropped),
        "crons": engine.lookup.crons(),
        "parents": engine.graph.waiting(),
    }


def _lines(engine: Engine, jobs: dict[int, Any], *, restarted: bool) -> dict[str, list[int]]:
    """Who is waiting, in the order of delivery."""
    lines: dict[str, list[int]] = {}
    if restarted:
        waiting = [(-view.priority, view.run_at, id) for id, (state, view, _) in jobs.items() if state == "waiting"]
        for _, _, id in sorted(waiting):
            lines.setdefault(jobs[id][1].queue, []).append(id)
        return lines
    for name, q in engine.queues.by_name.items():
        left = dict(q.ready.left)  # places that their jobs have left, to stand elsewhere perhaps
        line = lines[name] = []
        for id in q.ready.ids():
            if left.get(id):
                left[id] -= 1
            elif engine.jobs.state(id) == WAITING:
                line.append(id)
    return lines


@contextmanager
def watched_moves() -> Iterator[set[tuple[int, int]]]:
    """While this lasts, every move of a job from state to state is noted, and one that is not in the table fails.

    The server's log is silent meanwhile: a simulated life is full of warnings.
    """
    real = Queues.move
    log = logging.getLogger("flashq")
    disabled, log.disabled = log.disabled, True
    seen: set[tuple[int, int]] = set()

    def move(self: Queues, queue: Any, before: int, after: int, count: int = 1) -> None:
        if (before, after) not in seen:
            if (before, after) not in MOVES:
                raise Violation(f"a job went from {STATE_NAMES[before]} to {STATE_NAMES[after]}")
            seen.add((before, after))
        real(self, queue, before, after, count)

    Queues.move = move  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Queues.move = real  # type: ignore[method-assign]
        log.disabled = disabled


def _same(found: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    if found == expected:
        return
    for name, value in expected.items():
        if found[name] == value:
            continue
        if isinstance(value, dict):
            parts = [k for k in {**found[name], **value} if found[name].get(k) != value.get(k)]
            differ = [f"{k}: {_short(found[name].get(k))} and\n     {_short(value.get(k))}" for k in parts[:3]]
            raise Violation(f"{what} in {name}:\n " + "\n ".join(differ))
        raise Violation(f"{what} in {name}:\n {_short(found[name])}\n {_short(value)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 700 else f"{text[:500]} ... {text[-200:]}"


def _states(engine: Engine) -> list[str]:
    return [STATE_NAMES[state] for state, count in enumerate(engine.queues.counts) if count]


def _jobs_of(reply: Any) -> list[JobView]:
    if type(reply) is replies.Pulled:
        return [] if reply.job is None else [reply.job]
    return reply.jobs if type(reply) is replies.PulledBatch else []


def _blank(expected: Any, reply: Any) -> None:
    """Put into the expected answer what the model cannot know: tokens and rates."""
    for mine, its in zip(_jobs_of(expected), _jobs_of(reply), strict=False):
        mine.token = its.token
    if type(reply) is replies.MetricsReply and type(expected) is replies.MetricsReply:
        expected.metrics.jobs_per_second = reply.metrics.jobs_per_second
        expected.metrics.avg_latency_ms = reply.metrics.avg_latency_ms


def _nameless(reply: Any) -> Any:
    """The same answer without the names of attempts; of a refusal what its client reads."""
    if isinstance(reply, FlashQError | Refused):
        return reply.code, getattr(reply, "text", str(reply))
    jobs = [structs.replace(job, token=UNSET) for job in _jobs_of(reply)]
    if type(reply) is replies.PulledBatch:
        return replies.PulledBatch(jobs=jobs)
    return replies.Pulled(job=jobs[0]) if jobs else reply


def _first(delivery: tuple[int, Any]) -> int:
    return delivery[0]


def _job_of_event(event: tuple[Any, ...]) -> int:
    return int(event[2])


def _event(event: Event) -> tuple[Any, ...]:
    rest = tuple(None if (value := getattr(event, name)) is UNSET else value for name in _EVENT_MEMBERS)
    data = None if rest[0] is None else bytes(rest[0])
    return event.event_type, event.queue, event.job_id, event.timestamp, data, *rest[1:]


def _ids(records: Sequence[Record]) -> list[list[int]]:
    """The ids that a turn's records touch, group by group: the order in which the server took them."""
    ids: list[list[int]] = []
    for record in records:
        if type(record) is Changed:
            ids.append([record.id])
        elif type(record) is Completed or type(record) is Dropped:
            ids.append(record.ids)
    return ids


def _replay_run(model: Model, request: Any, session: int, call: int, now: Instant, hint: Any, names: Any) -> None:
    try:
        model.run(request, session, call, now, hint)
    except Refused:
        pass
    if names:
        model.learn(names)


def _replay_tick(model: Model, lost_ms: int, now: Instant, hint: Any, served: Any, names: Any) -> None:
    model.stand_still(lost_ms, now)
    model.tick(now, hint, served)
    if names:
        model.learn(names)


def _replay_give_up(model: Model, now: Instant) -> None:
    model.give_up(now, Refused("storage_error", AWAY))


def _replay_close(model: Model, session: int, calls: list[int], unread: Any, now: Instant, names: Any) -> None:
    for call in calls:
        model.unpark(call)
    model.close(session, unread, now)
    if names:
        model.learn(names)


def _replay_back(model: Model, ms: int, unread: Any, now: Instant, hint: Any, served: Any, names: Any) -> None:
    model.come_back(ms, unread, now, hint, served)
    if names:
        model.learn(names)


_REPLAY: Final[dict[str, Callable[..., None]]] = {
    "run": _replay_run,
    "tick": _replay_tick,
    "give_up": _replay_give_up,
    "close": _replay_close,
    "back": _replay_back,
}
