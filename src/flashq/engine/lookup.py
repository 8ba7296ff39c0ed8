"""Read-only answers: a job, its state, its result, lists and counts. Changes nothing, ever."""

from itertools import islice
from operator import attrgetter
from typing import Final

from msgspec import Raw

from flashq.engine.cron import Crons
from flashq.engine.finished import Finished
from flashq.engine.jobs import CHUNK_BITS, JOB_BYTES, MASK, Jobs
from flashq.engine.leases import Worker
from flashq.engine.queue import Queue, Queues
from flashq.engine.rates import Rates
from flashq.engine.views import view
from flashq.engine.watchers import Ending
from flashq.errors import NotFound
from flashq.model import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    FAILED,
    STATE_NAMES,
    UNKNOWN,
    WAITING,
    WAITING_CHILDREN,
    CronView,
    JobView,
    Metrics,
    QueueMetrics,
    QueueView,
    Stats,
    WorkerView,
)
from flashq.protocol.limits import MAX_ANSWER_BYTES

OLDEST_LANES: Final = 16
OLDEST_PLACES: Final = 64
"""Where the oldest waiting job of a queue is looked for: at the heads of so many priorities, and behind so many jobs
that were cancelled and are still in the line. A line beyond both has an oldest job that is not found."""

_pushed: Final = attrgetter("pushed")
_failed: Final = attrgetter("failed")
_cancelled: Final = attrgetter("cancelled")
_expired: Final = attrgetter("expired")
_purged: Final = attrgetter("purged")


class Lookup:
    """Everything that can be asked."""

    def __init__(
        self, jobs: Jobs, queues: Queues, finished: Finished, rates: Rates, crons: Crons, workers: dict[str, Worker]
    ) -> None:
        self._jobs = jobs
        self._queues = queues
        self._finished = finished
        self._rates = rates
        self._crons = crons
        self._workers = workers

    def job(self, id: int) -> JobView | None:
        """The job, or None when it is not known or no longer remembered."""
        return view(self._jobs, id)

    def queue(self, id: int) -> str | None:
        """The queue of a job, or None when it is not known or no longer remembered."""
        return None if self._jobs.state(id) == UNKNOWN else self._jobs.options(id).queue.name

    def custom(self, custom_id: str) -> int:
        """The id of the job that a client gave this id of its own; 0 when there is none."""
        return self._jobs.customs.get(custom_id, 0)

    def state(self, id: int) -> str:
        """The job's state as a word of the wire contract."""
        return STATE_NAMES[self._jobs.state(id)]

    def result(self, id: int) -> bytes | None:
        """What the job returned, as JSON, while it is remembered."""
        return self._finished.results.get(id)

    def ending(self, id: int) -> Ending:
        """How the job ended; just its state if it has not."""
        state = self._jobs.state(id)
        ending = Ending(STATE_NAMES[state])
        if state == COMPLETED:
            ending.result = self.result(id)
        elif state == FAILED:
            ending.error = self._jobs.extras[id].message
        return ending

    def progress(self, id: int) -> tuple[int, str | None]:
        """Percent and message of a job.

        Raises:
            NotFound: the job is not known or no longer remembered.
        """
        if self._jobs.state(id) == UNKNOWN:
            raise NotFound(f"Job {id} not found")
        extra = self._jobs.extras.get(id)
        return (extra.progress, extra.message) if extra else (0, None)

    def dead_letters(self, name: str, count: int) -> list[JobView]:
        """Up to ``count`` dead letters, oldest first; fewer when more would not fit into one answer."""
        queue = self._queues.by_name.get(name)
        jobs: list[JobView] = []
        size = 0
        for id in islice(queue.dead, count) if queue else ():
            job = view(self._jobs, id)
            assert job is not None
            size += self._jobs.sizes([id])[0] + JOB_BYTES
            if size > MAX_ANSWER_BYTES and jobs:
                break
            jobs.append(job)
        return jobs

    def queues(self) -> list[QueueView]:
        """All queues that hold a job or a setting, by name."""
        return [_queue_view(queue) for queue in self._listed()]

    def stats(self) -> Stats:
        """How many jobs are in which state."""
        counts = self._queues.counts
        return Stats(
            counts[WAITING],
            counts[ACTIVE],
            counts[DELAYED],
            counts[FAILED],
            counts[COMPLETED],
            counts[WAITING_CHILDREN],
        )

    def counted(self) -> tuple[int, int, int]:
        """How many jobs were ever pushed, completed, and buried: how often one entered the dead letters."""
        queues = self._queues.by_name.values()
        return sum(map(_pushed, queues)), self._queues.counts[COMPLETED], sum(map(_failed, queues))

    def gone(self) -> tuple[int, int, int]:
        """How many jobs ever left without completing: cancelled, expired, purged."""
        queues = self._queues.by_name.values()
        return sum(map(_cancelled, queues)), sum(map(_expired, queues)), sum(map(_purged, queues))

    def metrics(self, now: int) -> Metrics:
        """Totals, and rates over the last minute (``now``: wall ms)."""
        queues = self._listed()
        pushed, completed, failed = self.counted()
        return Metrics(
            total_pushed=pushed,
            total_completed=completed,
            total_failed=failed,
            jobs_per_second=self._rates.per_second(now),
            avg_latency_ms=self._rates.average_latency_ms(now),
            queues=[
                QueueMetrics(
                    queue.name,
                    queue.counts[WAITING] + queue.counts[DELAYED],
                    queue.counts[ACTIVE],
                    queue.counts[FAILED],
                    queue.limits.rate or None,
                )
                for queue in queues
            ],
        )

    def waiting_since(self, queue: Queue) -> int:
        """When the job that waits for the longest time became ready (wall ms); 0 when none waits or it is not found.

        It stands at the head of one of the lines, as each is in the order of becoming ready.
        """
        if not queue.counts[WAITING]:
            return 0
        heads = queue.ready.foremost(OLDEST_LANES, OLDEST_PLACES if queue.ready.tombstones else 1)
        found = [next((id for id in ids if self._jobs.state(id) == WAITING), 0) for ids in heads]
        return min((self._ready_since(id) for id in found if id), default=0)

    def cron(self, name: str) -> str | None:
        """The queue that a schedule pushes to; None when there is no such schedule."""
        return next((row.queue for row in self._crons.rows() if row.name == name), None)

    def crons(self) -> list[CronView]:
        """All schedules by name."""
        return [
            CronView(
                row.name,
                row.queue,
                Raw(row.data),
                row.schedule,
                row.priority,
                row.timezone,
                row.next_run,
                row.last_run or None,
                row.timeout,
                row.ttl,
                row.backoff,
                row.max_attempts,
                row.unique_key,
                row.tags or [],
            )
            for row in self._crons.rows()
        ]

    def workers(self) -> list[WorkerView]:
        """All workers that are alive, by name."""
        return [
            WorkerView(
                worker.name,
                worker.queues,
                worker.concurrency,
                worker.host,
                worker.pid,
                worker.last_beat,
                worker.active,
                worker.processed,
                worker.failed,
            )
            for _, worker in sorted(self._workers.items())
        ]

    def _ready_since(self, id: int) -> int:
        extra = self._jobs.extras.get(id)
        return (extra.run_at if extra else 0) or self._jobs.chunks[id >> CHUNK_BITS].created[id & MASK]

    def _listed(self) -> list[Queue]:
        return [queue for _, queue in sorted(self._queues.by_name.items()) if queue.listed]


def _queue_view(queue: Queue) -> QueueView:
    counts, limits = queue.counts, queue.limits
    return QueueView(
        queue.name,
        counts[WAITING] + counts[DELAYED],
        counts[ACTIVE],
        counts[DELAYED],
        counts[FAILED],
        counts[COMPLETED],
        limits.paused,
        limits.rate or None,
        limits.concurrency or None,
    )
