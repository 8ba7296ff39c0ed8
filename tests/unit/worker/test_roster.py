"""Unit tests of `flashq.worker.roster`."""

import asyncio
import logging
from collections.abc import Iterable

import pytest
from tests.unit.worker.jobs import job, until

from flashq import JobRecord
from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed
from flashq.worker import roster as module
from flashq.worker.executors import DELIVERED_AGAIN, TIMED_OUT, WORKER_LOST
from flashq.worker.fetch import Pace
from flashq.worker.roster import Roster


class FakeExecutor:
    """Begins what it is told to and ends nothing by itself."""

    def __init__(self) -> None:
        self.started: list[JobRecord] = []
        self.cancelled: list[tuple[JobRecord, str]] = []

    async def open(self) -> None:
        """Nothing to get ready."""

    def start(self, record: JobRecord) -> None:
        self.started.append(record)

    def cancel(self, record: JobRecord, reason: str) -> None:
        self.cancelled.append((record, reason))

    async def stop(self, timeout_ms: int) -> list[JobRecord]:
        return []


class FakeAcks:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[JobRecord, Outcome]] = []
        self.released: list[JobRecord] = []
        self.full = False

    def add(self, record: JobRecord, outcome: Outcome) -> None:
        self.told.append((record, outcome))

    def release(self, records: Iterable[JobRecord]) -> None:
        self.released.extend(records)


class Stage:
    """A roster between fakes.

    Attributes:
        hungry: how often it said that there is room again.
    """

    def __init__(self, concurrency: int = 2, prefetch: int | None = 2) -> None:
        self.executor = FakeExecutor()
        self.acks = FakeAcks()
        self.hungry = 0
        self.pace = Pace(concurrency, prefetch)
        self.roster = Roster(
            concurrency,
            self.pace,
            self.acks,  # type: ignore[arg-type]
            self._count,
            lambda _: self.executor,
        )

    def _count(self) -> None:
        self.hungry += 1

    @property
    def started(self) -> list[int]:
        """The ids of the jobs that have begun."""
        return [record.id for record in self.executor.started]


async def test_as_many_begin_as_there_are_places() -> None:
    """The rest waits in the order of its coming, and each end lets one begin."""
    stage = Stage()
    records = [job(id) for id in range(4)]
    assert stage.roster.room() == 4
    stage.roster.take(records)
    assert (stage.started, stage.roster.running) == ([0, 1], 2)
    stage.roster.finished(records[1], Done())
    assert (stage.started, stage.roster.running, stage.roster.ended) == ([0, 1, 2], 2, 1)
    assert stage.acks.told == [(records[1], Done())]


async def test_room_is_what_is_not_held() -> None:
    """Running and waiting jobs both count; when all is held there is none, and that is told when it changes."""
    stage = Stage()
    records = [job(id) for id in range(4)]
    stage.roster.take(records[:3])
    assert stage.roster.room() == 1
    stage.roster.take(records[3:])
    assert stage.roster.room() == 0
    stage.roster.finished(records[0], Done())
    assert stage.hungry == 1
    assert stage.roster.room() == 1
    stage.roster.finished(records[1], Done())
    assert stage.hungry == 1  # nobody was told that there is no room


async def test_a_few_places_are_not_worth_a_pull() -> None:
    """With jobs at hand the next pull waits until a quarter of what is taken ahead is free."""
    stage = Stage(2, 8)
    records = [job(id) for id in range(10)]
    stage.roster.take(records)
    assert stage.roster.room() == 0
    stage.roster.finished(records[0], Done())
    assert stage.hungry == 0
    assert stage.roster.room() == 0
    stage.roster.finished(records[1], Done())
    assert stage.hungry == 1
    assert stage.roster.room() == 2


async def test_untold_outcomes_leave_no_room() -> None:
    """While the server takes no outcomes the worker takes no jobs."""
    stage = Stage()
    stage.acks.full = True
    assert stage.roster.room() == 0
    stage.acks.full = False
    stage.roster.look_again()
    assert (stage.hungry, stage.roster.room()) == (1, 4)


async def test_run_times_are_measured() -> None:
    """What a job took is what the pace learns."""
    stage = Stage(2, None)
    assert stage.roster.room() == 2
    record = job(1)
    stage.roster.take([record])
    stage.roster.finished(record, Done())
    assert stage.roster.room() > 2


async def test_a_timeout_counts_from_the_delivery() -> None:
    """The executor is told when the time is over; a job that ends before is not cancelled."""
    stage = Stage()
    late, early = job(1, timeout=20), job(2, timeout=20)
    stage.roster.take([late, early])
    stage.roster.finished(early, Done())
    await until(lambda: stage.executor.cancelled)
    await asyncio.sleep(0.03)
    assert stage.executor.cancelled == [(late, TIMED_OUT)]


async def test_a_job_whose_time_was_over_before_its_turn() -> None:
    """It does not begin: the server has ended it already."""
    stage = Stage(1)
    first, late = job(1), job(2, timeout=1)
    stage.roster.take([first, late])
    await asyncio.sleep(0.01)
    stage.roster.finished(first, Done())
    assert (stage.started, stage.roster.running) == ([1], 0)


async def test_the_server_ends_an_attempt() -> None:
    """One that runs is cancelled, one that waits never begins, another attempt of the job is not meant."""
    stage = Stage(1)
    runs, waits = job(1), job(2)
    stage.roster.take([runs, waits])
    stage.roster.end(1, "another", "cancelled")
    assert stage.executor.cancelled == []
    stage.roster.end(1, "t1", "cancelled")
    stage.roster.end(2, "t1", "cancelled")
    assert stage.executor.cancelled == [(runs, "cancelled")]
    stage.roster.finished(runs, Gone())
    assert (stage.started, stage.roster.running) == ([1], 0)


async def test_delivered_again() -> None:
    """The older attempt is cancelled and its end does not count as the newer one's."""
    stage = Stage()
    older, newer = job(1, timeout=20), job(1, token="t2")
    stage.roster.take([older])
    stage.roster.take([newer])
    assert stage.executor.cancelled == [(older, DELIVERED_AGAIN)]
    stage.roster.finished(older, Gone())
    stage.roster.end(1, "t2", "cancelled")
    assert stage.executor.cancelled[1:] == [(newer, "cancelled")]
    stage.roster.finished(newer, Gone())
    assert stage.roster.running == 0


async def test_a_worker_that_was_given_up() -> None:
    """All is cancelled, what waits is forgotten, and each is given back in case it had come after the news."""
    stage = Stage(1)
    runs, waits = job(1), job(2)
    stage.roster.take([runs, waits])
    assert stage.roster.room() == 1
    stage.roster.end_all(WORKER_LOST)
    assert stage.executor.cancelled == [(runs, WORKER_LOST)]
    assert stage.acks.released == [runs, waits]
    stage.roster.finished(runs, Gone())
    assert stage.started == [1]


async def test_a_closed_roster_begins_nothing() -> None:
    """What waits and what still comes is given back; what runs is told as ever."""
    stage = Stage(1)
    runs, waits, comes = job(1), job(2), job(3)
    stage.roster.take([runs, waits])
    stage.roster.close()
    stage.roster.take([comes])
    assert stage.acks.released == [waits, comes]
    assert stage.roster.room() == 0
    stage.roster.finished(runs, Done())
    assert stage.acks.told == [(runs, Done())]
    assert stage.started == [1]


async def test_what_was_abandoned_has_no_alarm() -> None:
    """After a stop no timeout cancels anything any more."""
    stage = Stage(1)
    stage.roster.take([job(1, timeout=10)])
    stage.roster.abandon()
    await asyncio.sleep(0.02)
    assert stage.executor.cancelled == []


async def test_jobs_that_wait_too_long_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was taken ahead and does not begin goes to another worker; one that came later has its own time."""
    # The loop's clock moves when we say so: on a machine that halts, both jobs could have waited too long at once.
    loop = asyncio.get_running_loop()
    began = loop.time()
    passed_ms = 0
    monkeypatch.setattr(loop, "time", lambda: began + passed_ms / 1_000)
    stage = Stage(1, None)
    runs, waits, later = job(1), job(2), job(3)
    stage.roster.take([runs, waits])
    for passed_ms, released in (
        (module.PATIENCE_MS // 2, []),
        (module.PATIENCE_MS - 1, []),
        (module.PATIENCE_MS + 1, [waits]),
        (module.PATIENCE_MS * 3 // 2 - 1, [waits]),
        (module.PATIENCE_MS * 3 // 2 + 1, [waits, later]),
    ):
        if passed_ms == module.PATIENCE_MS // 2:
            stage.roster.take([later])
        for _ in range(5):
            await asyncio.sleep(0)
        assert stage.acks.released == released


async def test_whoever_fixed_the_number_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that were asked for explicitly are kept."""
    monkeypatch.setattr(module, "PATIENCE_MS", 1)
    stage = Stage(1, 5)
    stage.roster.take([job(1), job(2)])
    await asyncio.sleep(0.01)
    assert stage.acks.released == []


@pytest.mark.parametrize(
    ("outcome", "attempts", "level", "message"),
    [
        (Done(), 0, "DEBUG", "completed"),
        (Failed("ValueError: no\n  in line 3"), 0, "WARNING", "failed"),
        (Failed("ValueError: no\n  in line 3"), 2, "ERROR", "failed for good"),
        (Failed("ValueError: no\n  in line 3", dead=True), 0, "ERROR", "failed for good"),
        (Snoozed(500), 0, "INFO", "snoozed"),
        (Gone(), 0, "INFO", "over: the attempt had been ended"),
    ],
)
async def test_every_end_is_one_line(
    caplog: pytest.LogCaptureFixture, outcome: Outcome, attempts: int, level: str, message: str
) -> None:
    """The line names the job, its task, its attempt and its time; a failure's trace comes once, after its sentence."""
    with caplog.at_level(logging.DEBUG, "flashq.worker"):
        stage = Stage()
        record = job(7, attempts=attempts)
        stage.roster.take([record])
        stage.roster.finished(record, outcome)
    (line,) = caplog.records
    assert (line.levelname, line.message) == (level, message)
    facts = line.flashq  # type: ignore[attr-defined]
    assert {name: facts[name] for name in ("job", "queue", "task", "attempt")} == {
        "job": 7,
        "queue": "q",
        "task": "work",
        "attempt": attempts + 1,
    }
    assert facts["duration_ms"] >= 0
    if isinstance(outcome, Failed):
        assert (facts["error"], line.trace) == ("ValueError: no", "  in line 3")  # type: ignore[attr-defined]


async def test_completions_are_not_logged_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """At the usual level a job that went well costs no line."""
    with caplog.at_level(logging.INFO, "flashq.worker"):
        stage = Stage()
        stage.roster.take([record := job(1)])
        stage.roster.finished(record, Done())
    assert caplog.records == []
