"""The jobs that a worker holds: those it has taken and not begun, and those that run.

The one place that knows how many there are, so the one that says how many more may come and which begins next. Knows
neither server nor executor but by the few methods it calls. The way of a job through here is the worker's hot path.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from flashq.client.results import JobRecord
from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed
from flashq.worker.acks import Acks
from flashq.worker.executors import DELIVERED_AGAIN, TIMED_OUT, Executor, Finished
from flashq.worker.fetch import REFILL_SHARE, Pace
from flashq.worker.logs import facts

log = logging.getLogger("flashq.worker")

PATIENCE_MS: Final = 1_000
"""Jobs taken ahead that have not begun after so long are given back: those before them are slower than what was
measured, and another worker may be idle. Ten times what was expected of them."""


class _Taken(NamedTuple):
    """A job that has not begun. ``at``: when it came, on the loop's clock."""

    record: JobRecord
    at: float


class _Begun(NamedTuple):
    """A job that runs. ``at``: since when, on the loop's clock. ``alarm``: goes off when its timeout is over."""

    record: JobRecord
    at: float
    alarm: asyncio.TimerHandle | None


class Roster:
    """What the worker holds.

    Args:
        concurrency: how many jobs run at once.
        pace: how many are taken ahead.
        acks: told how each ended.
        hungry: called when there is room again after `room` had none.
        executor: makes what runs the jobs, from what is to be told of their end.

    Attributes:
        executor: runs the jobs.
        ended: how many have ended.
    """

    def __init__(
        self,
        concurrency: int,
        pace: Pace,
        acks: Acks,
        hungry: Callable[[], None],
        executor: Callable[[Finished], Executor],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._concurrency = concurrency
        self._pace = pace
        self._acks = acks
        self._hungry = hungry
        self._taken: deque[_Taken] = deque()
        self._begun: dict[int, _Begun] = {}  # the newest attempt of each job, by the job's id
        self._running = 0
        self._full = False
        self._refill_at = 0
        self._impatience: asyncio.TimerHandle | None = None
        self._closed = False
        self._tells_all = log.isEnabledFor(logging.DEBUG)
        self.ended = 0
        self.executor = executor(self.finished)

    @property
    def running(self) -> int:
        """How many run, old attempts included."""
        return self._running

    def records(self) -> list[JobRecord]:
        """The jobs that run or wait here."""
        return [begun.record for begun in self._begun.values()] + [taken.record for taken in self._taken]

    def room(self) -> int:
        """How many jobs may be taken now. After 0, ``hungry`` is called as soon as there is room."""
        ahead = self._pace.ahead()
        held = self._running + len(self._taken)
        room = self._concurrency + ahead - held
        # With jobs at hand nothing is in a hurry, and a pull for each that ends would cost more than it brings.
        least = max(1, ahead // REFILL_SHARE) if self._taken else 1
        if self._closed or self._acks.full:
            room = 0
        self._full = room < least
        self._refill_at = self._concurrency + ahead - least
        return 0 if self._full else room

    def take(self, records: list[JobRecord]) -> None:
        """These came."""
        if self._closed:
            self._acks.release(records)
            return
        now = self._loop.time()
        self._taken.extend([_Taken(record, now) for record in records])
        self._begin()
        if self._taken and self._impatience is None and not self._pace.fixed:
            self._impatience = self._loop.call_later(PATIENCE_MS / 1_000, self._lose_patience)

    def finished(self, record: JobRecord, outcome: Outcome) -> None:
        """A job has ended; the executor calls it."""
        self._running -= 1
        self.ended += 1
        begun = self._begun.get(record.id)
        duration_s = 0.0
        if begun is not None and begun.record is record:
            del self._begun[record.id]
            duration_s = self._loop.time() - begun.at
            self._pace.ended(duration_s)
            if begun.alarm is not None:
                begun.alarm.cancel()
        self._acks.add(record, outcome)
        if self._tells_all or type(outcome) is not Done:
            _tell(record, outcome, duration_s)
        if self._taken:
            self._begin()
        if self._full and (not self._taken or self._running + len(self._taken) <= self._refill_at):
            self.look_again()

    def look_again(self) -> None:
        """Whatever there was no room for may be asked for now."""
        if self._full:
            self._full = False
            self._hungry()

    def end(self, id: int, token: str | None, reason: str) -> None:
        """The server has ended an attempt: reach its code, or forget it if it has not begun."""
        begun = self._begun.get(id)
        if begun is not None and begun.record.token == token:
            log.info("ended by the server: %s", reason, extra={"flashq": facts(begun.record)})
            self.executor.cancel(begun.record, reason)
        else:
            self._taken = deque(taken for taken in self._taken if (taken.record.id, taken.record.token) != (id, token))

    def end_all(self, reason: str) -> None:
        """The server has given up all attempts of this worker.

        Each is given back all the same: what was taken while the news was on its way would otherwise be held by a
        worker that does not run it. What has really ended is refused as stale.
        """
        begun = list(self._begun.values())
        self._acks.release([job.record for job in begun] + [job.record for job in self._taken])
        self._taken.clear()
        for job in begun:
            self.executor.cancel(job.record, reason)
        self.look_again()

    def close(self) -> None:
        """Take and begin nothing more; what has not begun is given back."""
        self._closed = True
        self._give_back(list(self._taken))

    def abandon(self) -> None:
        """Whatever runs will not end here any more."""
        for begun in self._begun.values():
            if begun.alarm is not None:
                begun.alarm.cancel()
        self._begun.clear()

    def _begin(self) -> None:
        """Begin what there is a place for."""
        taken, now = self._taken, self._loop.time()
        while taken and self._running < self._concurrency:
            record, came = taken.popleft()
            alarm = None
            if record.timeout:
                due = came + record.timeout / 1_000
                if due <= now:
                    continue  # the server has ended it while it waited here
                alarm = self._loop.call_at(due, self.executor.cancel, record, TIMED_OUT)
            older = self._begun.get(record.id)
            if older is not None:
                self._replaced(older)
            self._begun[record.id] = _Begun(record, now, alarm)
            self._running += 1
            self.executor.start(record)

    def _replaced(self, older: _Begun) -> None:
        """A job has come again while it runs: the server has forgotten that attempt and would refuse its end."""
        if older.alarm is not None:
            older.alarm.cancel()
        log.warning("delivered again: the attempt that runs is cancelled", extra={"flashq": facts(older.record)})
        self.executor.cancel(older.record, DELIVERED_AGAIN)

    def _lose_patience(self) -> None:
        """Give back what should have begun long ago."""
        self._impatience = None
        limit = self._loop.time() - PATIENCE_MS / 1_000
        late = [taken for taken in self._taken if taken.at <= limit]
        if late:
            log.debug("%d jobs given back that had not begun within %d ms", len(late), PATIENCE_MS)
            self._give_back(late)
        if self._taken:
            self._impatience = self._loop.call_at(self._taken[0].at + PATIENCE_MS / 1_000, self._lose_patience)

    def _give_back(self, oldest: list[_Taken]) -> None:
        for _ in oldest:
            self._taken.popleft()
        self._acks.release([taken.record for taken in oldest])


def _tell(record: JobRecord, outcome: Outcome, duration_s: float) -> None:
    """Write into the log how a job ended."""
    said = {**facts(record), "duration_ms": round(duration_s * 1_000, 1)}
    match outcome:
        case Done():
            log.debug("completed", extra={"flashq": said})
        case Snoozed(delay):
            log.info("snoozed", extra={"flashq": {**said, "delay_ms": delay}})
        case Gone():
            log.info("over: the attempt had been ended", extra={"flashq": said})
        case Failed(error, _, dead):
            sentence, _, trace = error.partition("\n")
            last = dead or record.attempts + 1 == record.max_attempts
            level = logging.ERROR if last else logging.WARNING
            message = "failed for good" if last else "failed"
            log.log(level, message, extra={"flashq": {**said, "error": sentence}, "trace": trace})
