"""Unit tests of `flashq.server.runtime`."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from msgspec import Raw

from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.errors import StorageError
from flashq.model import Instant, JobSpec
from flashq.observe.ring import Told
from flashq.server import runtime as runtime_module
from flashq.server.runtime import (
    AWAY_LOOKS,
    EXIT_BROKEN,
    EXIT_STORAGE,
    LOOK_MS,
    MAX_SLEEP_MS,
    STALL_MS,
    UNKNOWN,
    Runtime,
)
from flashq.storage.journal import Journal


class FakeWriter:
    """Takes groups; the test says when they are safe."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    def submit(self, number: int, blob: bytes) -> None:
        """Take one."""
        self.groups.append(number)


class Door:
    """A connection, as the runtime sees it: notes what is asked of it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.sent = 0

    def send(self) -> None:
        """What was answered leaves."""
        self.sent += 1

    def release(self, durable: int) -> None:
        """Something is safe."""
        self.heard.append(("release", durable))

    def refuse(self, error: StorageError) -> None:
        """Nothing is."""
        self.heard.append(("refuse", str(error)))

    def hold_back(self) -> None:
        """Stop reading."""
        self.heard.append("hold back")

    def go_on(self) -> None:
        """Read."""
        self.heard.append("go on")

    def answer(self, jobs: list[Any], now: Instant) -> "Door":
        """A pull is answered."""
        self.heard.append(("answer", [job.id for job in jobs]))
        return self

    def tell(self, run: list[Told]) -> None:
        """Events."""
        self.heard += [("event", told.event.event_type) for told in run]


class Pull:
    """One of several calls of a door that wait."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def answer(self, jobs: list[Any], now: Instant) -> Door:
        """It is answered."""
        return self._door.answer(jobs, now)


class Rig:
    """A runtime on the running loop, with the test as writer and clock."""

    def __init__(self, *, journal: bool = True) -> None:
        numbers = count(1)
        self.now = Instant(1_700_000_000_000, 1_000)
        self.engine = Engine(Settings(), nonce=lambda: f"{next(numbers):x}", now=self.now, recording=journal)
        self.journal = Journal(0) if journal else None
        self.failed: list[tuple[str, int]] = []
        self.writer = FakeWriter()
        self.runtime = Runtime(self.engine, asyncio.get_running_loop(), lambda: self.now, self._fail, self.journal)
        self.barred: list[bool] = []
        self.runtime.refuse_commands = self.barred.append
        self.runtime.start(self.writer if journal else None)  # type: ignore[arg-type]

    def push(self, data: bytes = b"1", **members: Any) -> int:
        """What a PUSH does, up to its answer. Returns what the answer depends on."""
        queue = self.engine.queues.make("q")
        self.engine.intake.push(queue, JobSpec(data=Raw(data), **members), data, self.now)
        depends_on = self.runtime.gather()
        self.runtime.hand_over(self.now)
        return depends_on

    def park(self, door: Door | Pull, wait_ms: int | None = None) -> None:
        """What a PULL does that finds nothing."""
        self.engine.dispatch.park(door, ("q",), 1, wait_ms, self.now)
        self.runtime.hand_over(self.now)

    def pass_time(self, ms: int) -> None:
        """The clocks go on."""
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)

    def look(self, times: int = AWAY_LOOKS) -> None:
        """Time passes, and the runtime looks whether the storage answers."""
        for _ in range(times):
            self.pass_time(LOOK_MS)
            self.runtime._look()

    def _fail(self, error: BaseException, exit_code: int) -> None:
        self.failed.append((str(error), exit_code))


async def turn() -> None:
    """Let the loop do what was asked of it for now."""
    await asyncio.sleep(0)


async def test_a_commit_is_asked_for_at_the_end_of_the_turn() -> None:
    """Everything that happens in one turn of the loop is one group."""
    rig = Rig()
    assert [rig.push() for _ in range(3)] == [1, 1, 1]
    assert rig.writer.groups == []
    await turn()
    assert rig.writer.groups == [1]
    assert rig.runtime.durable == 0
    rig.runtime.committed(1)
    assert rig.runtime.durable == 1
    rig.runtime.stop()


async def test_after_its_lease_an_answer_waits_for_a_commit() -> None:
    """One that began afterwards, also of a command that changes nothing; while the lease holds none is asked for."""
    rig = Rig()
    runtime, held_until = rig.runtime, [rig.now.steady + 1]
    runtime.hold_under(lambda: held_until[0])
    assert (runtime.clock(), runtime.gather()) == (rig.now, 0)
    rig.push()
    await turn()
    rig.pass_time(1)
    assert (runtime.clock(), runtime.gather()) == (rig.now, 2)
    await turn()
    assert rig.writer.groups == [1]
    runtime.committed(1)
    assert rig.writer.groups == [1, 2]
    assert runtime.durable == 1
    runtime.committed(2)
    assert runtime.durable == 2
    await turn()
    assert rig.writer.groups == [1, 2]
    held_until[0] += 1
    assert (runtime.clock(), runtime.gather()) == (rig.now, 2)
    runtime.stop()


async def test_nothing_falls_due_unseen_after_the_lease() -> None:
    """A job whose delay is over is handed out once a commit has shown that it is still ours to hand out."""
    rig, door = Rig(), Door()
    rig.push(delay=50)
    rig.park(door)
    await turn()
    rig.runtime.committed(1)
    rig.runtime.hold_under(lambda: rig.now.steady)
    rig.pass_time(50)
    rig.runtime.tick()
    assert rig.runtime.gather() == 2
    rig.runtime.stop()


async def test_the_next_group_fills_while_one_is_written() -> None:
    """It is written as soon as the other is safe; until then nothing of it is."""
    rig = Rig()
    door = Door()
    rig.push()
    await turn()
    assert rig.push() == 2
    rig.runtime.wait(door)
    await turn()
    assert rig.writer.groups == [1]
    rig.runtime.committed(1)
    assert rig.writer.groups == [1, 2]
    assert door.heard == [("release", 1)]
    rig.runtime.wait(door)
    rig.runtime.committed(2)
    assert door.heard == [("release", 1), ("release", 2)]
    assert rig.runtime.settled()
    rig.runtime.stop()


async def test_events_wait_for_what_they_tell() -> None:
    """An event is published when its change is safe, and events keep their order."""
    rig = Rig()
    ear = Door()
    rig.runtime.hub.subscribe(ear, "*", frozenset())
    rig.push()
    await turn()
    rig.push()
    assert ear.heard == []
    rig.runtime.committed(1)
    assert ear.heard == [("event", "pushed")]
    rig.engine.dispatch.pull(rig.engine.queues.make("q"), 1, rig.now)
    rig.runtime.hand_over(rig.now)
    rig.runtime.committed(2)
    assert ear.heard == [("event", "pushed"), ("event", "pushed"), ("event", "active")]
    rig.runtime.stop()


async def test_calls_of_webhooks_depend_on_what_they_tell() -> None:
    """Whoever makes them is told the group that holds both the change and the call, behind every turn with events."""
    rig = Rig()
    told: list[int] = []
    rig.runtime.owed = told.append
    rig.push()
    assert told == []
    rig.engine.webhooks.add("https://example.org/", [], None, None, rig.now.wall)
    await turn()
    rig.runtime.committed(1)
    group = rig.push()
    assert told == [group]
    assert rig.runtime.durable < group
    rig.runtime.stop()


async def test_events_of_commands_that_run_during_a_release_are_not_first() -> None:
    """A connection that goes on when it is released may cause events: those that waited come before them."""
    rig = Rig()
    ear = Door()
    rig.runtime.hub.subscribe(ear, "*", frozenset())

    class Eager(Door):
        def release(self, durable: int) -> None:
            rig.engine.dispatch.pull(rig.engine.queues.make("q"), 1, rig.now)
            rig.runtime.hand_over(rig.now)

    rig.push()
    rig.runtime.wait(Eager())
    await turn()
    rig.runtime.committed(1)
    assert ear.heard == [("event", "pushed"), ("event", "active")]
    rig.runtime.stop()


async def test_without_storage_nothing_waits() -> None:
    """Answers depend on nothing, events are told at once."""
    rig = Rig(journal=False)
    ear = Door()
    rig.runtime.hub.subscribe(ear, "q", frozenset())
    assert rig.push() == 0 == rig.runtime.durable
    assert ear.heard == [("event", "pushed")]
    assert rig.runtime.settled()
    rig.runtime.stop()


async def test_a_failed_commit_ends_everything_once() -> None:
    """All that is held is refused, the server is told once, and what comes later is neither committed nor released."""
    rig = Rig()
    held, free = Door(), Door()
    rig.runtime.attach(held)
    rig.runtime.attach(free)
    rig.push()
    rig.runtime.wait(held)
    await turn()
    rig.runtime.commit_failed(OSError("the disk is on fire"))
    rig.runtime.commit_failed(OSError("again"))
    rig.runtime.committed(1)
    rig.push()
    await turn()
    assert held.heard == [("refuse", "The storage failed: the disk is on fire")]
    assert free.heard == []
    assert rig.failed == [("the disk is on fire", EXIT_STORAGE)]
    assert rig.writer.groups == [1]
    assert rig.runtime.settled()
    late = Door()
    rig.runtime.wait(late)
    await turn()
    assert late.heard == [("refuse", "The storage failed: the disk is on fire")]


async def test_a_broken_invariant_ends_the_server_too() -> None:
    """With another exit code, since the disk is innocent."""
    rig = Rig()
    rig.runtime.broken(RuntimeError("impossible"))
    assert rig.failed == [("impossible", EXIT_BROKEN)]


async def test_doors_are_held_back_while_the_disk_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the mark nobody reads; below half of it all read again. Those who left are not asked."""
    monkeypatch.setattr(runtime_module, "MAX_UNSYNCED_BYTES", 1_000)
    rig = Rig()
    door, gone = Door(), Door()
    rig.runtime.attach(door)
    rig.runtime.attach(gone)
    rig.runtime.detach(gone)
    rig.push(b'"' + b"x" * 600 + b'"')
    await turn()
    assert not rig.runtime.held_back
    rig.push(b'"' + b"x" * 600 + b'"')
    assert rig.runtime.held_back
    rig.push()
    rig.runtime.committed(1)
    assert rig.runtime.held_back
    await turn()
    rig.runtime.committed(2)
    assert not rig.runtime.held_back
    assert door.heard == ["hold back", "go on"]
    assert gone.heard == []
    rig.runtime.stop()


async def test_those_who_let_others_go_first_go_on_one_by_one() -> None:
    """One in each turn of the loop, in the order in which they asked."""
    rig = Rig(journal=False)
    doors = [Door() for _ in range(3)]
    for door in doors:
        rig.runtime.after_others(door)
    for number in range(3):
        assert [door.heard for door in doors] == [["go on"]] * number + [[]] * (3 - number)
        await turn()
    rig.runtime.after_others(doors[0])
    await turn()
    assert doors[0].heard == ["go on"] * 2
    rig.runtime.stop()


async def test_it_wakes_for_what_falls_due() -> None:
    """No polling: the timer is set for the next thing, and earlier if something earlier comes."""
    rig = Rig(journal=False)
    timers: list[float] = []
    loop = asyncio.get_running_loop()
    real = loop.call_later

    def call_later(delay: float, callback: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        timers.append(delay)
        return real(3_600, callback, *arguments)

    loop.call_later = call_later  # type: ignore[method-assign,assignment]
    rig.push(delay=400)
    rig.push(delay=100)
    rig.push(delay=200)
    assert timers == [0.4, 0.1]
    door = Door()
    rig.park(door)
    rig.now = Instant(rig.now.wall + 100, rig.now.steady + 100)
    rig.runtime.tick()
    assert door.heard == [("answer", [2])]
    rig.runtime.stop()
    loop.call_later = real  # type: ignore[method-assign]


async def test_it_looks_at_the_wall_clock_at_least_every_second() -> None:
    """Somebody may set it, and schedules follow it."""
    rig = Rig(journal=False)
    rig.push(delay=3_600_000)
    assert rig.runtime._timer is not None
    assert rig.runtime._wakes_at - rig.now.steady == 1_000
    rig.now = Instant(rig.now.wall + 7_200_000, rig.now.steady + 1_000)
    rig.runtime.tick()
    assert rig.engine.lookup.stats().queued == 1
    assert rig.runtime.clock_jumps == 1
    rig.runtime.stop()


async def test_a_stopped_runtime_has_no_timer() -> None:
    """What falls due after a stop falls due after the next start."""
    rig = Rig(journal=False)
    rig.push(delay=100)
    rig.runtime.stop()
    assert rig.runtime._timer is None
    rig.runtime.stop()


async def test_a_wait_that_times_out_is_answered_with_nothing() -> None:
    """The engine says when, the runtime tells the door."""
    rig = Rig(journal=False)
    door = Door()
    rig.park(door, wait_ms=50)
    rig.now = Instant(rig.now.wall + 50, rig.now.steady + 50)
    rig.runtime.tick()
    assert door.heard == [("answer", [])]
    rig.runtime.stop()


async def test_a_door_sends_what_waited_once() -> None:
    """A thousand calls of one connection that time out together are one write and not a thousand."""
    rig = Rig(journal=False)
    doors = Door(), Door()
    for number in range(20):
        rig.park(Pull(doors[number % 2]), wait_ms=50)
    rig.now = Instant(rig.now.wall + 50, rig.now.steady + 50)
    rig.runtime.tick()
    assert [len(door.heard) for door in doors] == [10, 10]
    assert [door.sent for door in doors] == [1, 1]
    rig.runtime.stop()


# --- a storage that does not answer ---


async def test_a_storage_that_does_not_answer_is_away() -> None:
    """After four seconds what is held is refused, once, and commands are, until the commit returns."""
    rig = Rig()
    door = Door()
    rig.runtime.attach(door)
    rig.push()
    rig.runtime.wait(door)
    await turn()
    rig.look(AWAY_LOOKS - 1)
    assert (door.heard, rig.runtime.away) == ([], False)
    rig.look(1)
    assert AWAY_LOOKS * LOOK_MS == 4_000
    assert door.heard == [("refuse", UNKNOWN)]
    assert (rig.barred, rig.runtime.away) == ([True], True)
    rig.look(5)
    assert door.heard == [("refuse", UNKNOWN)]
    assert not rig.failed
    rig.runtime.committed(1)
    assert (rig.barred, rig.runtime.away) == ([True, False], False)
    assert rig.push() == 2
    rig.runtime.stop()


async def test_each_commit_has_its_own_patience() -> None:
    """Many that each take a while are a slow disk, and nobody is refused for it."""
    rig = Rig()
    for number in range(1, 6):
        rig.push()
        await turn()
        rig.look(AWAY_LOOKS - 1)
        rig.runtime.committed(number)
    assert not rig.barred
    rig.runtime.stop()


async def test_looking_ends_when_nothing_is_written() -> None:
    """An idle server has no timer for it, a busy one has one at a time."""
    rig = Rig()
    rig.push()
    await turn()
    assert rig.runtime._look_timer is not None
    rig.push()
    await turn()
    rig.runtime.committed(1)
    rig.runtime.committed(2)
    rig.look(1)
    assert rig.runtime._look_timer is None
    rig.runtime.stop()


async def test_a_machine_that_stood_still_is_no_outage() -> None:
    """A minute that nobody saw is one look: the commit that ended meanwhile is told before the next."""
    rig = Rig()
    rig.push()
    await turn()
    rig.pass_time(60_000)
    rig.look(1)
    assert not rig.runtime.away
    rig.runtime.committed(1)
    rig.runtime.stop()


async def test_while_storage_is_away_answers_depend_on_nothing_and_events_still_do() -> None:
    """What is answered then promises nothing; an event tells what is true, and waits."""
    rig = Rig()
    ear = Door()
    rig.runtime.hub.subscribe(ear, "*", frozenset())
    rig.push()
    await turn()
    rig.look()
    assert rig.push() == 0 == rig.runtime.durable
    assert ear.heard == []
    assert not rig.runtime.settled()
    rig.runtime.committed(1)
    assert ear.heard == [("event", "pushed")]
    rig.runtime.committed(2)
    assert ear.heard == [("event", "pushed")] * 2
    assert rig.runtime.settled()
    rig.runtime.stop()


async def test_leases_outlast_an_outage() -> None:
    """Nobody can renew one then: an attempt, a worker and a job's own timeout last as much longer as none was heard."""
    rig = Rig()
    rig.push(timeout=10_000)
    rig.push()
    queue = rig.engine.queues.by_name["q"]
    rig.engine.dispatch.pull(queue, 1, rig.now)
    worker = rig.engine.control.hello("w", ["q"], 1, None, None, rig.now)
    rig.engine.dispatch.pull(queue, 1, rig.now, worker)
    await turn()
    rig.look()
    rig.pass_time(60_000)
    rig.runtime.tick()
    rig.runtime.committed(1)
    assert rig.engine.lookup.stats().processing == 2
    rig.pass_time(10_000 - AWAY_LOOKS * LOOK_MS - 1)
    rig.runtime.tick()
    assert rig.engine.lookup.stats().processing == 2
    rig.pass_time(1)
    rig.runtime.tick()
    assert rig.engine.lookup.stats().processing == 1
    rig.pass_time(20_000)
    rig.runtime.tick()
    assert rig.engine.lookup.stats().processing == 0
    assert not rig.engine.workers
    rig.runtime.stop()


async def test_leases_outlast_a_process_that_stood_still() -> None:
    """It heard nobody meanwhile: whoever spoke to it in time is not taken for dead when it wakes up."""
    rig = Rig()
    rig.push()
    worker = rig.engine.control.hello("w", ["q"], 1, None, None, rig.now)
    rig.engine.dispatch.pull(rig.engine.queues.by_name["q"], 1, rig.now, worker)
    rig.runtime.hand_over(rig.now)
    silence_ms = rig.engine.settings.worker_silence
    rig.pass_time(MAX_SLEEP_MS + silence_ms)
    rig.runtime._wake()
    assert rig.engine.lookup.stats().processing == 1
    rig.pass_time(silence_ms - MAX_SLEEP_MS - 1)
    rig.runtime.tick()
    assert rig.engine.lookup.stats().processing == 1
    rig.pass_time(1)
    rig.runtime.tick()
    assert rig.engine.lookup.stats().processing == 0
    rig.runtime.stop()


async def test_a_busy_loop_makes_no_lease_longer() -> None:
    """What is late by less is heard in time anyway, and to look at all leases costs more."""
    rig = Rig()
    worker = rig.engine.control.hello("w", ["q"], 1, None, None, rig.now)
    rig.runtime.hand_over(rig.now)
    deadline = worker.deadline
    rig.pass_time(MAX_SLEEP_MS + STALL_MS - 1)
    rig.runtime._wake()
    assert worker.deadline == deadline
    rig.pass_time(MAX_SLEEP_MS + STALL_MS)
    rig.runtime._wake()
    assert worker.deadline == deadline + STALL_MS
    rig.runtime.stop()


async def test_what_falls_due_during_an_outage_happens_after_it() -> None:
    """A delay that ends meanwhile changes a job, and memory must not run ahead; afterwards it is caught up with."""
    rig = Rig()
    door = Door()
    rig.push(delay=5_000)
    rig.park(door)
    await turn()
    rig.look()
    rig.pass_time(10_000)
    rig.runtime.tick()
    assert door.heard == []
    assert rig.journal is not None
    assert rig.journal.tail == 1
    rig.runtime.committed(1)
    assert door.heard == [("answer", [1])]
    rig.runtime.stop()


async def test_waits_end_during_an_outage_and_no_others() -> None:
    """Whoever said how long he waits is answered then, and the loop does not spin over what must not be done."""
    rig = Rig()
    patient, hasty = Door(), Door()
    rig.push(delay=5_000)
    rig.park(patient)
    rig.park(hasty, wait_ms=6_000)
    await turn()
    rig.look()
    rig.runtime.tick()
    assert rig.runtime._wakes_at == rig.now.steady + 1_000
    rig.pass_time(2_000)
    rig.runtime.tick()
    assert (patient.heard, hasty.heard) == ([], [("answer", [])])
    assert rig.runtime._timer is None
    rig.runtime.committed(1)
    assert patient.heard == [("answer", [1])]
    rig.runtime.stop()


async def test_jobs_of_refused_answers_go_back_when_storage_answers() -> None:
    """Not before, for that is a change; then uncounted, and first in line."""
    rig = Rig()
    rig.push()
    (job,) = rig.engine.dispatch.pull(rig.engine.queues.by_name["q"], 1, rig.now)
    await turn()
    rig.look()
    rig.runtime.give_back([job], rig.now)
    assert rig.engine.lookup.stats().processing == 1
    rig.runtime.committed(1)
    assert rig.engine.lookup.stats().queued == 1
    again = rig.engine.lookup.job(1)
    assert again is not None
    assert again.attempts == 0
    rig.runtime.stop()


async def test_doors_read_during_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is refused, and for that it must be read, however far the disk is behind."""
    monkeypatch.setattr(runtime_module, "MAX_UNSYNCED_BYTES", 100)
    rig = Rig()
    door = Door()
    rig.runtime.attach(door)
    rig.push(b'"' + b"x" * 600 + b'"')
    await turn()
    assert rig.runtime.held_back
    rig.look()
    assert not rig.runtime.held_back
    rig.push()
    assert door.heard == ["hold back", "go on"]
    rig.runtime.committed(1)
    rig.runtime.stop()


async def test_an_outage_that_ends_in_a_failure_is_a_failure() -> None:
    """The process ends, and nothing is taken again."""
    rig = Rig()
    rig.push()
    await turn()
    rig.look()
    rig.runtime.commit_failed(StorageError("given up"))
    assert rig.failed == [("given up", EXIT_STORAGE)]
    assert rig.barred == [True]
    assert rig.runtime.settled()


async def test_a_stopped_runtime_does_not_catch_up() -> None:
    """A server that leaves does not begin anything because its storage is back."""
    rig = Rig()
    rig.push(delay=1_000)
    await turn()
    rig.look()
    rig.runtime.stop()
    rig.runtime.committed(1)
    assert rig.runtime._timer is None
    assert rig.engine.lookup.stats().delayed == 1
