"""Unit tests of `flashq.server.gauges`: what a server knows about itself, and what the looking costs its loop."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from msgspec import Raw

from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.model import Instant, JobSpec
from flashq.observe.history import EVERY_MS
from flashq.server.gauges import LOOK_EVERY_MS, QUEUES_A_SLICE, About, Gauges
from flashq.server.runtime import Runtime
from flashq.storage.journal import Journal


class Rig:
    """An engine with its runtime and gauges, and the test as their clock."""

    def __init__(self, *, journal: bool = False) -> None:
        numbers = count(1)
        self.now = Instant(1_700_000_000_000, 1_000)
        self.us = 0
        loop = asyncio.get_running_loop()
        self.engine = Engine(
            Settings(max_bytes=10**6), nonce=lambda: f"{next(numbers):x}", now=self.now, recording=journal
        )
        self.runtime = Runtime(self.engine, loop, lambda: self.now, self._fail, Journal(0) if journal else None)
        self.gauges = Gauges(self.runtime, loop, About("1.2", "sqlite", "full"), lambda: 7, lambda: self.us)

    def push(self, name: str = "q", **members: Any) -> int:
        """One job."""
        queue = self.engine.queues.make(name)
        return self.engine.intake.push(queue, JobSpec(data=Raw(b"1"), **members), b"1", self.now)[0]

    def pull(self, name: str = "q") -> int:
        """One job."""
        (job,) = self.engine.dispatch.pull(self.engine.queues.make(name), 1, self.now)
        return job.id

    def go_on(self, ms: int) -> None:
        """Time passes."""
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)

    def _fail(self, error: BaseException, exit_code: int) -> None:
        raise AssertionError(error)


async def test_the_figures_of_a_moment() -> None:
    """Every number comes from where it is kept: one job each way through the queue, and one that waits."""
    rig = Rig(journal=True)
    done, buried, retried, cancelled = rig.push(), rig.push(max_attempts=1), rig.push(backoff=0), rig.push()
    for _ in range(3):
        rig.pull()
    rig.go_on(40)
    rig.engine.settle.ack(done, None, None, rig.now)
    rig.engine.settle.fail(buried, None, "why", rig.now)
    rig.engine.settle.fail(retried, None, "why", rig.now)
    rig.engine.settle.cancel(cancelled, rig.now)
    rig.push("idle", ttl=5)
    rig.go_on(60)
    rig.engine.tick(rig.now)
    rig.engine.control.hello("w", [], 1, None, None, rig.now)
    rig.runtime.gather()
    rig.gauges.committed(1_500)
    rig.gauges.look(900, rig.now)
    figures = await rig.gauges.figures()
    assert figures.totals == (5, 1, 1, 1, 1, 0)
    assert (figures.stats.queued, figures.stats.dlq) == (1, 1)
    assert [queue.name for queue in figures.queues] == ["q", "idle"]
    assert figures.queues[0].waiting_since == rig.now.wall - 60
    assert (figures.retried, figures.timed_out) == (1, 0)
    assert figures.latency_ms == 40.0
    assert (sum(figures.waits.counts), figures.runs.total) == (3, 120)
    assert (figures.commits.total, figures.commits.unit) == (1_500, 1_000_000)
    assert figures.lags.total == 900
    assert (figures.workers, figures.crons, figures.connections, figures.calls_waiting) == (1, 0, 7, 0)
    assert (figures.memory, figures.memory_bound) == (rig.engine.jobs.bytes, 10**6)
    assert figures.unsynced_bytes == rig.runtime.unsynced_bytes > 0
    assert (figures.wall, figures.version, figures.storage, figures.durability) == (
        rig.now.wall, "1.2", "sqlite", "full",
    )  # fmt: skip


async def test_a_queue_on_which_somebody_only_waits_is_not_shown() -> None:
    """Its name may be anything that a client made up; it has no job and no setting."""
    rig = Rig()
    rig.engine.dispatch.park("call", ("made-up",), 1, None, rig.now)
    figures = await rig.gauges.figures()
    assert figures.queues == []
    assert figures.calls_waiting == 1


async def test_many_queues_are_looked_at_in_slices() -> None:
    """The loop goes on between two slices, and a queue that comes meanwhile is no harm."""
    rig = Rig()
    for number in range(5 * QUEUES_A_SLICE):
        rig.push(f"q{number}")
    turns = 0
    taking = asyncio.ensure_future(rig.gauges.figures())
    while not taking.done():
        await asyncio.sleep(0)
        turns += 1
        rig.push(f"late-{turns}")
    assert turns > 5
    assert len(taking.result().queues) == 5 * QUEUES_A_SLICE


async def test_a_point_every_five_seconds() -> None:
    """Each tenth look is a point, and says what happened since the one before."""
    rig = Rig()
    looks = EVERY_MS // LOOK_EVERY_MS
    rig.push()
    for _ in range(2 * looks):
        rig.go_on(LOOK_EVERY_MS)
        rig.gauges.look(0, rig.now)
    rig.push()
    for _ in range(looks - 1):
        rig.go_on(LOOK_EVERY_MS)
        rig.gauges.look(0, rig.now)
    first, second = rig.gauges.history.points()
    assert (first.pushed_per_second, second.pushed_per_second) == (0.2, 0.0)
    assert first.timestamp + EVERY_MS == second.timestamp
    assert (first.queued, first.memory) == (1, second.memory)


class Timer:
    """A loop that has one timer, which the test lets ring."""

    def __init__(self) -> None:
        self.armed: tuple[float, Callable[[], None]] | None = None

    def call_later(self, seconds: float, function: Callable[..., None], *arguments: Any) -> "Timer":
        """Part of a loop."""
        self.armed = seconds, lambda: function(*arguments)
        return self

    def cancel(self) -> None:
        """Part of a timer."""
        self.armed = None

    def ring(self) -> None:
        """It is time."""
        assert self.armed is not None
        self.armed[1]()


async def test_it_looks_by_itself_until_it_is_stopped() -> None:
    """How late the loop is, is what the clock says beyond the time that was asked for; then the next look is due."""
    rig = Rig()
    timer = rig.gauges._loop = Timer()  # type: ignore[assignment]
    rig.gauges.start()
    for late_us in (3_000, 0, 500):
        assert timer.armed is not None
        assert timer.armed[0] == LOOK_EVERY_MS / 1_000
        rig.us += LOOK_EVERY_MS * 1_000 + late_us
        timer.ring()
    lags = (await rig.gauges.figures()).lags
    assert (sum(lags.counts), lags.total) == (3, 3_500)
    rig.gauges.stop()
    assert timer.armed is None
    rig.gauges.stop()
