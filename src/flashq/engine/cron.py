"""The table of schedules: what is set, what is due, what comes next.

A firing is one instant of one schedule. The newest fired instant is remembered together with the job it made, so a
crash can neither lose a firing nor repeat one. Instants that were missed make one firing, never all of them.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from msgspec import Raw, Struct, structs

from flashq.engine.cronexpr import Schedule, parse
from flashq.engine.records import CronRow
from flashq.errors import BadRequest, LimitReached
from flashq.model import JobSpec
from flashq.protocol.limits import MAX_CRON_BYTES, MAX_CRONS

NOTHING: Final = JobSpec(data=Raw())
"""A schedule that says no more about its jobs than their payload and priority."""


def job_of(row: CronRow) -> JobSpec:
    """What a firing of this schedule pushes; its payload is the row's."""
    return JobSpec(
        data=Raw(),
        priority=row.priority,
        timeout=row.timeout,
        ttl=row.ttl,
        backoff=row.backoff,
        max_attempts=row.max_attempts,
        unique_key=row.unique_key,
        tags=row.tags,
    )


def _size(data: bytes, tags: list[str] | None) -> int:
    return len(data) + sum(len(tag.encode()) for tag in tags or ())


class _Cron(Struct):
    row: CronRow
    schedule: Schedule


class Crons:
    """All schedules by name, and a heap of what is due next. Times are wall ms."""

    __slots__ = ("_by_name", "_heap")

    def __init__(self) -> None:
        self._by_name: dict[str, _Cron] = {}
        self._heap: list[tuple[int, str]] = []  # an entry is stale unless it is its schedule's next_run

    def __len__(self) -> int:
        return len(self._by_name)

    def set(
        self,
        name: str,
        queue: str,
        data: bytes,
        schedule: str,
        priority: int,
        timezone: str,
        now: int,
        given: JobSpec = NOTHING,
    ) -> CronRow:
        """Set or replace a schedule. What it fired before is kept, so that no instant fires twice.

        Args:
            name: of the schedule.
            queue: where its jobs go.
            data: payload of its jobs.
            schedule: the expression.
            priority: of its jobs.
            timezone: in which the expression is read.
            now: wall ms.
            given: what else its jobs are given: timeout, ttl, backoff, max_attempts, unique_key, tags.

        Raises:
            BadRequest: the expression or the zone is wrong, or it would never fire.
            LimitReached: there are as many schedules as there may be.
        """
        parsed = parse(schedule, timezone)
        old = self._by_name.get(name)
        if old is None and len(self._by_name) >= MAX_CRONS:
            raise LimitReached(f"Too many crons (max {MAX_CRONS})")
        held = sum(_size(cron.row.data, cron.row.tags) for other, cron in self._by_name.items() if other != name)
        size = held + _size(data, given.tags)
        if size > MAX_CRON_BYTES:
            raise LimitReached(f"The payloads of all crons are too large ({size} bytes, max {MAX_CRON_BYTES})")
        last_run = old.row.last_run if old else 0
        next_run = parsed.next_after(max(now, last_run))
        if next_run is None:
            raise BadRequest(f"Invalid cron expression '{schedule}': it never fires")
        row = CronRow(
            name, queue, data, schedule, priority, timezone, next_run, last_run, given.timeout, given.ttl,
            given.backoff, given.max_attempts, given.unique_key, given.tags,
        )  # fmt: skip
        self.put(row, parsed)
        return row

    def put(self, row: CronRow, schedule: Schedule | None = None) -> None:
        """Take a schedule as it is, from where it is remembered."""
        self._by_name[row.name] = _Cron(row, schedule or parse(row.schedule, row.timezone))
        heappush(self._heap, (row.next_run, row.name))
        if len(self._heap) > 2 * len(self._by_name) + 100:
            self._heap = [(cron.row.next_run, name) for name, cron in self._by_name.items()]
            heapify(self._heap)

    def delete(self, name: str) -> bool:
        """Remove a schedule. Tells whether there was one."""
        return self._by_name.pop(name, None) is not None

    def rows(self) -> list[CronRow]:
        """All schedules by name."""
        return [self._by_name[name].row for name in sorted(self._by_name)]

    def next_due(self) -> int | None:
        """When the next schedule fires; None when there is none."""
        heap = self._heap
        while heap and not self._is_next(*heap[0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: int, most: int) -> list[CronRow]:
        """Up to ``most`` firings that are due, each schedule already moved on past ``now``.

        The row's ``last_run`` is the instant that fires.
        """
        fired: list[CronRow] = []
        while len(fired) < most and (instant := self.next_due()) is not None and instant <= now:
            cron = self._by_name[heappop(self._heap)[1]]
            following = cron.schedule.next_after(max(instant, now))
            row = structs.replace(cron.row, next_run=following or 0, last_run=instant)
            fired.append(row)
            if following is None:  # a schedule that has come to its end
                del self._by_name[row.name]
            else:
                cron.row = row
                heappush(self._heap, (following, row.name))
        return fired

    def _is_next(self, instant: int, name: str) -> bool:
        cron = self._by_name.get(name)
        return cron is not None and cron.row.next_run == instant
