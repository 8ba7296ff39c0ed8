"""What is measured of one contestant, and the order in which they take turns.

A round of a contestant has a broker of its own and goes: push tasks one by one while no worker runs; start the worker
and let it work them off; then one task at a time, from the push to its result. So the start of a worker is the time
from the start of its process to the first task that it runs, whatever it calls ready. Being idle is looked at for all
of them together, since that takes a while and nobody disturbs anybody.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TypeVar

from msgspec import json

from benchmarks.latency import percentile
from benchmarks.report import Size
from benchmarks.versus.brokers import Broker, FlashQBroker, RedisBroker
from benchmarks.versus.contestants import Contestant, Promise
from benchmarks.versus.driver import BROKER, ENQUEUE, FIRST, LAST, MARKS, RESULTS, TRIPS, WARM_UP
from benchmarks.versus.environments import ROOT, binaries
from benchmarks.versus.processes import Program

T = TypeVar("T")

PATIENCE_SECONDS: Final = 60
"""For any step of a round; each is meant to take some seconds."""

ROUNDS: Final = 3
ROUNDS_SECONDS: Final = 500
"""How many at most, and how long they may take together: with what comes before and behind them under ten minutes."""

ROUND_TRIPS: Final = 300
SETTLE_SECONDS: Final = 3
IDLE_SECONDS: Final = 20
"""Before a worker counts as idle, and how long it is watched then: a tick of the processor's clock is 0.05 % of it."""


@dataclass(frozen=True)
class Round:
    """What came of one round.

    Attributes:
        pushed: tasks a second, one by one.
        drained: tasks a second.
        start: seconds from the start of the worker's process to the first task it ran.
        trip_ms: milliseconds from push to result that half of the round trips took at most.
        slow_trip_ms: and 99 % of them.
    """

    pushed: float
    drained: float
    start: float
    trip_ms: float
    slow_trip_ms: float


@dataclass(frozen=True)
class Idle:
    """A worker without work.

    Attributes:
        resident: bytes that its processes hold in RAM, added up.
        proportional: the same, but pages that processes share count once.
        cpu: part of a core, 0 to 1.
    """

    resident: int
    proportional: int
    cpu: float


def turns(contestants: Sequence[Contestant], number: int) -> Iterator[tuple[Contestant, Promise]]:
    """Everybody once with each promise; each round starts with another one.

    So a machine that changes its pace changes it for all, and nobody always comes first.

    Args:
        contestants: who plays.
        number: of the round.
    """
    at = number * len(contestants) // ROUNDS
    for contestant in (*contestants[at:], *contestants[:at]):
        for promise in contestant.promises:
            yield contestant, promise


def another(done: int, seconds: float, limit: float) -> bool:
    """Whether one more round will fit into the time; the first always does.

    Args:
        done: rounds so far.
        seconds: that they took.
        limit: that all of them may take.
    """
    return done == 0 or seconds * (done + 1) / done <= limit


def play(contestant: Contestant, promise: Promise, size: Size, *, pinned: bool = False) -> Round:
    """One round.

    Args:
        contestant: who.
        promise: of the broker.
        size: part of the tasks and round trips.
        pinned: our own server gets the first core to itself.

    Raises:
        RuntimeError: a step failed or took too long, or jobs were lost.
    """
    jobs = size.jobs(contestant.jobs)
    with broker_of(contestant, promise, pinned=pinned) as broker, _folder() as folder:
        environment = _environment(broker.url, folder)
        seconds = _drive(contestant, environment, ENQUEUE, jobs, float)
        with _worker(contestant, environment, folder) as worker:
            worker.wait_for(folder / LAST, PATIENCE_SECONDS)
            if not contestant.results_apart:
                trips = _trips(contestant, environment, size)
        if contestant.results_apart:
            environment |= {RESULTS: "1"}
            with _worker(contestant, environment, folder):
                trips = _trips(contestant, environment, size)
        broker.check(jobs + len((FIRST, LAST)) + WARM_UP + len(trips))
        first, last = (float((folder / mark).read_text(encoding="ascii")) for mark in (FIRST, LAST))
    if first >= last:
        raise RuntimeError("the task that was pushed last ran before the first")
    return Round(
        pushed=jobs / seconds,
        drained=jobs / (last - first),
        start=first - worker.started,
        trip_ms=1_000 * percentile(trips, 50),
        slow_trip_ms=1_000 * percentile(trips, 99),
    )


def idle(contestants: Iterable[Contestant], seconds: float = IDLE_SECONDS) -> list[Idle]:
    """All workers at once without work, in their order.

    Args:
        contestants: who; several times the same is several workers.
        seconds: how long they are watched.

    Raises:
        RuntimeError: one did not start, or ended meanwhile.
    """
    with ExitStack() as stack:
        workers = [_started(one, stack) for one in contestants]
        sleep(min(SETTLE_SECONDS, seconds))
        began = monotonic()
        before = [worker.cpu_seconds() for worker in workers]
        sleep(seconds)
        used = [worker.cpu_seconds() - then for worker, then in zip(workers, before, strict=True)]
        passed = monotonic() - began
        return [
            Idle(worker.resident_bytes(), worker.proportional_bytes(), cpu / passed)
            for worker, cpu in zip(workers, used, strict=True)
        ]


def broker_of(contestant: Contestant, promise: Promise, *, pinned: bool = False) -> Broker:
    """The one that a contestant needs."""
    return RedisBroker(promise) if contestant.requirements else FlashQBroker(promise, pinned=pinned)


def _started(contestant: Contestant, stack: ExitStack) -> Program:
    """A worker that has done a task, and so has everything in memory that it needs for one."""
    broker = stack.enter_context(broker_of(contestant, contestant.promises[0]))
    folder = stack.enter_context(_folder())
    environment = _environment(broker.url, folder)
    _drive(contestant, environment, ENQUEUE, 1, float)
    worker = stack.enter_context(_worker(contestant, environment, folder))
    worker.wait_for(folder / LAST, PATIENCE_SECONDS)
    return worker


@contextmanager
def _folder() -> Iterator[Path]:
    """For the marks and the worker's log."""
    with tempfile.TemporaryDirectory(prefix="versus-") as name:
        yield Path(name)


def _environment(url: str, folder: Path) -> dict[str, str]:
    """What drivers and workers see: nothing of the settings that happen to be around."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "TMPDIR", "LANG"}}
    return kept | {"PYTHONPATH": str(ROOT), BROKER: url, "RQ_REDIS_URL": url, MARKS: str(folder)}


def _worker(contestant: Contestant, environment: dict[str, str], folder: Path) -> Program:
    program, *words = contestant.command
    return Program([str(binaries(contestant) / program), *words], environment, folder)


def _trips(contestant: Contestant, environment: dict[str, str], size: Size) -> list[float]:
    """Seconds, in their order by size."""
    return sorted(_drive(contestant, environment, TRIPS, size.jobs(ROUND_TRIPS), list[float]))


def _drive(contestant: Contestant, environment: dict[str, str], what: str, count: int, answer: type[T]) -> T:
    """Let the driver do something in the contestant's environment; what it printed."""
    python = binaries(contestant) / "python"
    command = [str(python), "-m", "benchmarks.versus.driver", contestant.app, what, str(count)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise RuntimeError(f"{what} took longer than {PATIENCE_SECONDS} s") from late
    if done.returncode:
        raise RuntimeError(f"{what} failed: {done.stderr[-2_000:]}")
    return json.decode(done.stdout, type=answer)
