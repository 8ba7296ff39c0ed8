"""Why a job does not run: everything that keeps it where it is, put together when somebody asks.

Read only, and bounded: whatever is many is counted and its first few are named. The reasons are facts; the one thing
that is not, when the job will start, is told together with the numbers that it follows from, or not at all.
"""

from heapq import nsmallest
from typing import Final

from flashq.engine.clocks import expires_at
from flashq.engine.dependencies import Graph
from flashq.engine.finished import Finished
from flashq.engine.jobs import CHUNK_BITS, MASK, Extra, Jobs
from flashq.engine.leases import Lease, Worker
from flashq.engine.listing import Listing
from flashq.engine.queue import Queue
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
    Instant,
)
from flashq.reasons import (
    Ahead,
    AnyReason,
    Basis,
    Completed,
    Concurrency,
    Delayed,
    Dependencies,
    Explanation,
    Failed,
    Gone,
    Holder,
    NoWorker,
    Parent,
    Paused,
    RateLimited,
    Running,
    WorkersBusy,
)

MOST_HOLDERS: Final = 10
MOST_PARENTS: Final = 100
"""As many as somebody reads."""

EFFORT: Final = 20_000
"""Entries of a line that are counted from each of its ends: some ms of the event loop. A batch is one entry, however
long, so this falls short only in the middle of a long line of single pushes to several queues at once."""

MINUTE_MS: Final = 60_000

_NOTHING: Final = Extra()


class Explain:
    """Says why. Changes nothing."""

    def __init__(
        self, jobs: Jobs, graph: Graph, finished: Finished, workers: dict[str, Worker], listing: Listing
    ) -> None:
        self._jobs = jobs
        self._graph = graph
        self._finished = finished
        self._workers = workers
        self._listing = listing

    def job(self, id: int, now: Instant) -> Explanation:
        """Why a job is where it is.

        Raises:
            NotFound: there never was such a job.
        """
        state = self._jobs.state(id)
        if state == UNKNOWN:
            if not 0 < id < self._jobs.next_id:
                raise NotFound(f"Job {id} not found")
            return Explanation(id, None, STATE_NAMES[UNKNOWN], now.wall, [Gone(id in self._finished.dropped)])
        queue = self._jobs.options(id).queue
        extra = self._jobs.extras.get(id, _NOTHING)
        explanation = Explanation(id, queue.name, STATE_NAMES[state], now.wall, [])
        if state != COMPLETED:
            explanation.unique_key = extra.unique_key
        if state not in (COMPLETED, FAILED):
            explanation.expires_at = expires_at(self._jobs, id) or None
        if state == WAITING:
            ahead = self._ahead(id, queue)
            explanation.reasons = self._waiting(queue, ahead, now)
            if not any(isinstance(reason, NoWorker) and not reason.active for reason in explanation.reasons):
                self._estimate(explanation, queue, ahead, now)
        elif state in (DELAYED, WAITING_CHILDREN):
            explanation.reasons = self._put_off(id, state, extra, now)
        else:
            explanation.reasons = [self._begun(id, state, extra, now)]
        if state in (DELAYED, WAITING_CHILDREN) and queue.limits.paused:
            explanation.reasons.append(Paused())
        return explanation

    def _waiting(self, queue: Queue, ahead: Ahead, now: Instant) -> list[AnyReason]:
        """What holds a ready job back."""
        limits, active = queue.limits, queue.counts[ACTIVE]
        reasons: list[AnyReason] = []
        if limits.paused:
            reasons.append(Paused())
        if limits.rate and (frees := limits.wait_for(1, now.steady)):
            reasons.append(RateLimited(limits.rate, frees))
        if 0 < limits.concurrency <= active:
            reasons.append(Concurrency(limits.concurrency, active, self._holders(queue)))
        if ahead.count:
            reasons.append(ahead)
        if not queue.waiters:
            reasons.append(self._nobody_asks(queue, now))
        return reasons

    def _put_off(self, id: int, state: int, extra: Extra, now: Instant) -> list[AnyReason]:
        """What has to come first, before the job is ready."""
        reasons: list[AnyReason] = []
        if state == WAITING_CHILDREN:
            parents = self._graph.waits_for(id)
            few = nsmallest(MOST_PARENTS, parents)
            named = [Parent(parent, STATE_NAMES[self._jobs.state(parent)]) for parent in few]
            reasons.append(Dependencies(len(parents), named))
        created = self._jobs.chunks[id >> CHUNK_BITS].created[id & MASK]
        if state == DELAYED or now.wall < extra.run_at != created:
            reasons.append(Delayed(extra.run_at, extra.attempts > 0, extra.attempts, extra.message))
        return reasons

    def _begun(self, id: int, state: int, extra: Extra, now: Instant) -> AnyReason:
        """How far a job is that has been delivered before."""
        chunk, slot = self._jobs.chunks[id >> CHUNK_BITS], id & MASK
        if state == FAILED:
            return Failed(extra.run_at, extra.attempts, chunk.options[slot].max_attempts, extra.message)
        lease = chunk.lease[slot]
        if state == COMPLETED:
            return Completed(lease.started_at, extra.attempts, id in self._finished.results)
        return _running(lease, extra, now)

    def _ahead(self, id: int, queue: Queue) -> Ahead:
        """How many jobs go first."""

        def waiting(first: int, stop: int) -> int:
            return self._jobs.count(first, stop, WAITING) if queue.ready.tombstones else stop - first

        return Ahead(*queue.ready.ahead(self._jobs.options(id).priority, id, waiting, EFFORT))

    def _holders(self, queue: Queue) -> list[Holder]:
        ids = self._listing.find({queue}, ACTIVE, self._jobs.next_id, MOST_HOLDERS).ids
        chunks = self._jobs.chunks
        return [Holder(id, chunks[id >> CHUNK_BITS].lease[id & MASK].started_at) for id in ids]

    def _nobody_asks(self, queue: Queue, now: Instant) -> AnyReason:
        """No pull waits: is there anybody from whom one could come?"""
        last = queue.pace.last
        since = None if last is None else now.steady - last
        rooms = [worker.concurrency for worker in self._workers.values() if queue.name in worker.queues]
        return WorkersBusy(len(rooms), sum(rooms), since) if rooms else NoWorker(queue.counts[ACTIVE], since)

    def _estimate(self, explanation: Explanation, queue: Queue, ahead: Ahead, now: Instant) -> None:
        """When a waiting job starts, if there is anything to go by.

        While the job waits the queue delivers as fast as it can, so what it delivered since then is the best measure;
        of a job that has just come, the whole last minute is taken.
        """
        limits = queue.limits
        if limits.paused or not ahead.exact:
            return
        extra = self._jobs.extras.get(explanation.id, _NOTHING)
        ready_at = extra.run_at or self._jobs.chunks[explanation.id >> CHUNK_BITS].created[explanation.id & MASK]
        minute = now.steady - MINUTE_MS
        pace = queue.pace
        measured = pace.since(max(minute, now.steady - (now.wall - ready_at)), now.steady)
        delivered, over_ms = measured or pace.since(minute, now.steady) or (0, 0)
        place = ahead.count + 1
        if delivered:
            wait = -(-place * over_ms // delivered)
        elif limits.rate and queue.waiters and not limits.concurrency:
            wait = over_ms = 0
        else:
            return
        if limits.rate:
            wait = max(wait, limits.wait_for(place, now.steady))
        explanation.estimated_start = now.wall + wait
        explanation.estimate_basis = Basis(place, delivered, over_ms, limits.rate or None)


def _running(lease: Lease, extra: Extra, now: Instant) -> Running:
    """An attempt that lives, and what bounds it."""
    worker = lease.worker
    if lease.deadline or worker is None:
        deadline, ends_by = lease.deadline, "lease" if lease.renewable else "timeout"
    else:
        deadline, ends_by = worker.deadline, "silence"
    return Running(
        None if worker is None else worker.name,
        lease.started_at,
        now.wall + deadline - now.steady,
        ends_by,  # type: ignore[arg-type]
        extra.progress,
        extra.message,
    )
